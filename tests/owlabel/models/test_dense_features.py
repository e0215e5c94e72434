from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from owlabel.classes import ClassTable, LabelClass
from owlabel.models import dense_features
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save

CLASSES = ClassTable((LabelClass(0, "sky", (9, 9, 200)), LabelClass(1, "road", (9, 9, 9))))
IMAGE = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)


def test_the_decoder_gives_what_the_last_layer_reads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = {"width": 16, "low_width": 8, "rates": [1, 2, 3]}
    segmenter = Segmenter("mobilenet_v3_small", settings, 2).eval()
    header = save(segmenter, tmp_path / "m.safetensors", name="m", classes=CLASSES)
    name, features = dense_features.decoder(tmp_path / "m.safetensors")
    made = features(IMAGE)
    assert name == header.heads[0].hash
    assert made.shape == (16, 16, 24)
    with torch.inference_mode():
        batch = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255
        expected = segmenter(batch)[0]
        found = segmenter.head(0).embedding(torch.from_numpy(made)[None])[0]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_an_imagenet_network_is_read_from_its_file(tmp_path: Path, suffix: str) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / f"resnet18.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    name, features = dense_features.imagenet("resnet18", path)
    assert name.startswith("resnet18-")
    assert features(IMAGE).shape == (256, 4, 6)


def test_weights_without_the_counters_of_old_files_are_read(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "old.safetensors")
    assert dense_features.imagenet("resnet18", tmp_path / "old.safetensors")[1](IMAGE).shape == (
        256,
        4,
        6,
    )


def test_the_first_difference_of_other_weights_is_named(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    for changes, reason in (
        ({"fc.bias": torch.zeros(10)}, r"resnet18: fc.bias has shape \(10,\) instead of \(1000,\)"),
        ({"x": torch.zeros(1)}, "resnet18: x is unexpected"),
    ):
        save_file({**state, **changes}, tmp_path / "w.safetensors")
        with pytest.raises(ValueError, match=reason):
            dense_features.imagenet("resnet18", tmp_path / "w.safetensors")
    save_file(torchvision.models.vgg19(weights=None).features[:1].state_dict(), tmp_path / "v.pt")
    with pytest.raises(ValueError, match=r"v\.pt is not a weights file"):
        dense_features.imagenet("resnet18", tmp_path / "v.pt")


def test_other_weights_and_files_with_code_are_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"x": Harmful()}, tmp_path / "harmful.pth")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, reason in (
        ("harmful.pth", "not a weights file"),
        ("other.safetensors", "does not hold the weights of resnet18"),
        ("list.pth", "does not hold a state dict"),
        ("missing.pth", "does not exist"),
    ):
        with pytest.raises(ValueError, match=reason) as refused:
            dense_features.imagenet("resnet18", tmp_path / name)
        told = str(refused.value).replace(str(tmp_path), "")
        assert "\n" not in told
        assert len(told) < 120, "no advice of torch to run what is in the file"
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="network must be one of"):
        dense_features.imagenet("resnet19", tmp_path / "other.safetensors")
