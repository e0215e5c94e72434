"""Where models run; torch's fake tensors stand in for a GPU, and refuse to mix devices."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from owlabel.models.device import DEVICE, chosen_device
from owlabel.models.embed import image_features
from owlabel.models.mask.mask_former import MaskFormer, MaskFormerSettings, image_scores
from owlabel.models.residual_block import ResidualBlock, blurred, residual_logits
from owlabel.models.segmenter import Segmenter
from owlabel.ood.registry import all_scores

GPU = torch.device("cuda", 0)


SMALL = {"width": 8, "low_width": 4, "rates": [1, 2, 3]}


def fake_gpu() -> FakeTensorMode:
    """Return a context in which tensors have a device and a shape, and no numbers."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_a_gpu_is_used_where_there_is_one(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEVICE, raising=False)
    assert chosen_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device().type == "cpu"


@pytest.mark.parametrize("said", ["cpu", "cuda", "cuda:0", " cpu "])
def test_the_environment_decides(one_gpu: None, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(DEVICE, said)
    assert chosen_device() == torch.device(said.strip())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("cuda:1", "'cuda:1', but torch sees 1 GPU"),
        ("toaster", "'toaster', which is not a device"),
        ("meta", "'meta', which is not supported"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    one_gpu: None, monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    monkeypatch.setenv(DEVICE, said)
    with pytest.raises(ValueError, match=rf"OWLABEL_DEVICE is {words}: set it to cpu, cuda or"):
        chosen_device()


@pytest.mark.parametrize("kind", ["metric", "softmax"])
@pytest.mark.parametrize("large", ["reduce", "tile"])
def test_all_of_a_segmenter_follows_it_to_the_gpu(kind: str, large: str) -> None:
    segmenter = Segmenter("mobilenet_v3_small", SMALL, 3, kind=kind)  # type: ignore[arg-type]
    segmenter.large_images, segmenter.max_side = large, 640  # type: ignore[assignment]
    block = ResidualBlock(segmenter.backbone.high_channels, segmenter.settings)
    for module in (segmenter, block):
        module.requires_grad_(False)
    with fake_gpu():
        segmenter.to(GPU)
        features = image_features(segmenter, np.zeros((96, 800, 3), np.uint8))
        logits = residual_logits(segmenter, block.to(GPU).eval(), features)
        embeddings = [segmenter.embed(features, 0, points) for points in (None, 1000)]
        made = [*features, *embeddings, blurred(logits[:, :1]), *all_scores(logits[0]).values()]
    assert {one.device for one in made} == {GPU}


def test_a_mask_former_looks_at_an_image_where_it_is() -> None:
    model = MaskFormer("mobilenet_v3_small", MaskFormerSettings(32, 4, 2, 2, 32, 0.1, 64), 3, 16)
    plain = inspect.unwrap(image_scores)  # fake tensors know no inference mode
    with fake_gpu(), torch.no_grad():
        assert plain(model.to(GPU), torch.rand(3, 80, 96), [1]).device == GPU


def test_fake_tensors_do_refuse_to_mix_devices(segmenter: Segmenter) -> None:
    with fake_gpu(), pytest.raises(RuntimeError, match="found at least two devices"):
        segmenter.to(GPU)(torch.zeros(1, 3, 64, 64))
