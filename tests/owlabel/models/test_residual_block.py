from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from owlabel.checkpoints.header import CheckpointError
from owlabel.checkpoints.residual_header import read_residual_header
from owlabel.models.embed import image_features
from owlabel.models.residual_block import (
    block_for,
    blurred,
    load_block,
    logits_of,
    residual_energy,
    residual_logits,
    save_block,
)
from owlabel.models.segmenter import Segmenter

SETTINGS = {"width": 16, "low_width": 8, "rates": [1, 2, 3], "dropout": 0.1}
BASE = "0123456789abcdef"


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter("mobilenet_v3_small", SETTINGS, 3).eval()


def picture(height: int = 72, width: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def test_the_block_begins_as_a_copy_of_the_aspp(segmenter: Segmenter) -> None:
    block, aspp = block_for(segmenter), segmenter.head(0).aspp
    for key, value in aspp.convs.state_dict().items():
        assert block.branches.state_dict()[key].equal(value)
    assert block.squeeze.weight.equal(aspp.project[0].weight)
    block.squeeze.weight.data.zero_()
    assert aspp.project[0].weight.any(), "a copy, not the same tensor"


def test_a_block_without_residual_changes_nothing(segmenter: Segmenter) -> None:
    block = block_for(segmenter)
    block.residual.weight.data.zero_()
    features = image_features(segmenter, picture())
    with torch.inference_mode():
        plain = logits_of(segmenter, segmenter.head(0).decoder_input(features))
        assert residual_logits(segmenter, block, features).equal(plain)


@pytest.mark.parametrize("kind", ["metric", "softmax"])
def test_the_logits_are_2t_times_the_embedding(kind: str) -> None:
    torch.manual_seed(1)
    segmenter = Segmenter("mobilenet_v3_small", SETTINGS, 3, kind=kind).eval()  # type: ignore[arg-type]
    features = image_features(segmenter, picture())
    with torch.inference_mode():
        z = logits_of(segmenter, segmenter.head(0).decoder_input(features))
        torch.testing.assert_close(z, 6 * segmenter.embed(features))


def test_the_gradient_reaches_the_residual_through_the_frozen_head(segmenter: Segmenter) -> None:
    for parameter in segmenter.parameters():
        parameter.requires_grad_(False)
    block = block_for(segmenter).train()
    with torch.no_grad():
        features = segmenter.features(torch.rand(2, 3, 64, 64))
    residual_logits(segmenter, block, features).logsumexp(1).mean().backward()
    assert float(block.residual.weight.grad.norm()) > 0
    assert float(block.squeeze.weight.grad.norm()) > 0
    assert all(p.grad is None for p in segmenter.parameters())


def test_a_block_goes_to_a_file_and_back(segmenter: Segmenter, tmp_path: Path) -> None:
    block = block_for(segmenter).eval()
    header = save_block(block, tmp_path / "b.safetensors", name="rpl", base_hash=BASE)
    again, read = load_block(tmp_path / "b.safetensors", BASE)
    assert read == header == read_residual_header(tmp_path / "b.safetensors")
    features = image_features(segmenter, picture())
    shape = (72, 96)
    one, two = (residual_energy(segmenter, b, features, shape) for b in (block, again))
    assert one.shape == (18, 24)
    np.testing.assert_array_equal(one, two)


def test_a_block_of_another_base_model_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    save_block(block_for(segmenter), tmp_path / "b.safetensors", name="rpl", base_hash=BASE)
    with pytest.raises(CheckpointError, match="with another base model"):
        load_block(tmp_path / "b.safetensors", "f" * 16)


def test_changed_weights_and_other_files_are_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    save_block(block_for(segmenter), path, name="rpl", base_hash=BASE)
    data = bytearray(path.read_bytes())
    data[-40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"damaged|do not fit"):
        load_block(path, BASE)
    path.write_bytes(data[:-9])
    with pytest.raises(CheckpointError, match="truncated"):
        load_block(path, BASE)
    with pytest.raises(CheckpointError, match="cannot read"):
        load_block(tmp_path / "none.safetensors", BASE)


@given(st.floats(-1e4, 1e4), st.integers(1, 9), st.integers(1, 9))
def test_blurring_keeps_constants_and_shapes(value: float, rows: int, columns: int) -> None:
    flat = torch.full((1, 1, rows, columns), value)
    torch.testing.assert_close(blurred(flat), flat)


def test_blurring_is_the_gaussian_of_the_authors() -> None:
    point = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    point[..., 7, 7] = 1
    spread = blurred(point)[0, 0]
    weights = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    weights /= weights.sum()
    np.testing.assert_allclose(spread[4:11, 4:11].numpy(), np.outer(weights, weights))
    assert float(spread.sum()) == pytest.approx(1)
    assert float(spread[3, :].sum()) == 0
