from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from owlabel.checkpoints.header import CheckpointError
from owlabel.classes import ClassTable, LabelClass
from owlabel.models.mask.mask_former import MaskFormer, MaskFormerSettings
from owlabel.models.mask.weights import (
    KEY,
    load_mask_former,
    on_backbone_of,
    save_mask_former,
)
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save

SETTINGS = MaskFormerSettings(channels=32, queries=6, layers=1, heads=4, feedforward=32)
TABLE = ClassTable(
    (
        LabelClass(0, "sky", (0, 0, 9)),
        LabelClass(1, "road", (9, 9, 9)),
        LabelClass(2, "deer", (9, 0, 0), novel=True),
    )
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = MaskFormer("mobilenet_v3_small", SETTINGS, 3, 16)
    save_mask_former(model, tmp_path / "m.safetensors", "m", TABLE, {"seed": 0})
    return tmp_path / "m.safetensors"


def test_a_network_comes_back_as_it_was(path: Path) -> None:
    torch.manual_seed(0)
    before = MaskFormer("mobilenet_v3_small", SETTINGS, 3, 16).eval()
    after, header = load_mask_former(path)
    assert header.classes == TABLE
    assert header.recipe == {"seed": 0}
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(after(image).mask_logits, before(image).mask_logits)


def test_what_is_damaged_or_newer_is_refused_with_the_file(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    tensors = load_file(path)
    newer, odd, less = (tmp_path / f"{name}.safetensors" for name in ("newer", "odd", "less"))
    save_file(tensors, newer, {KEY: '{"format": 9}'})
    save_file(tensors, odd, {KEY: '{"format": 1}'})
    text = '{"format": 1, "name": "m", "architecture": "mobilenet_v3_small", "output_stride": 16,'
    text += ' "settings": {"channels": 64}, "classes": []}'
    save_file(tensors, less, {KEY: text})
    for name, reason in (("cut", "truncated"), ("newer", "newer OWLabel"), ("odd", "damaged"),
                         ("less", "damaged"), ("none", "none.safetensors")):  # fmt: skip
        with pytest.raises(CheckpointError, match=reason) as error:
            load_mask_former(tmp_path / f"{name}.safetensors")
        assert f"{name}.safetensors" in str(error.value)


def test_a_new_network_stands_on_the_backbone_of_a_segmenter(tmp_path: Path) -> None:
    segmenter = Segmenter("mobilenet_v3_small", {"width": 16, "low_width": 8}, 2).eval()
    base = ClassTable(TABLE.base)
    save(segmenter, tmp_path / "base.safetensors", name="base", classes=base)
    model = on_backbone_of(tmp_path / "base.safetensors", SETTINGS, 3)
    assert model.output_stride == 16
    for key, value in segmenter.backbone.state_dict().items():
        torch.testing.assert_close(model.backbone.state_dict()[key], value)
