from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owlabel.models.mask.mask_decoder import sine_positions
from owlabel.models.mask.mask_former import (
    PUBLISHED,
    MaskFormer,
    MaskFormerSettings,
    image_scores,
    semantic_scores,
)

TINY = MaskFormerSettings(channels=32, queries=6, layers=2, heads=4, feedforward=32)


@pytest.fixture
def model() -> MaskFormer:
    torch.manual_seed(0)
    return MaskFormer("mobilenet_v3_small", TINY, 3, 16).eval()


def test_the_worked_scores() -> None:
    classes = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 3]])
    masks = torch.tensor([[[3.0, -3]], [[-3, 3]], [[3, 3]]])
    expected = torch.tensor([[[0.7978, 0.1819]], [[0.1819, 0.7978]]])
    torch.testing.assert_close(semantic_scores(classes, masks), expected, atol=5e-5, rtol=0)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 4))
def test_scores_lie_between_0_and_the_number_of_proposals(q: int, k: int) -> None:
    scores = semantic_scores(9 * torch.randn(q, k + 1), 9 * torch.randn(q, 2, 3))
    assert scores.shape == (k, 2, 3)
    assert bool(((scores >= 0) & (scores <= q + 1e-4)).all())


def test_every_layer_has_both_heads_at_stride_4(model: MaskFormer) -> None:
    found = model(torch.rand(2, 3, 64, 96))
    assert found.class_logits.shape == (2, 2, 6, 4)
    assert found.mask_logits.shape == (2, 2, 6, 16, 24)
    assert found.pixels.shape == (2, 32, 16, 24)


def test_a_mask_is_the_similarity_of_a_proposal_and_the_pixels(model: MaskFormer) -> None:
    image = torch.rand(1, 3, 64, 64)
    found = model(image)
    stages = model.backbone.pyramid((image - model.mean) / model.std)
    e = model.mask_head(model.decoder(model.project(stages[-1])))[-1, 0]  # (Q, C)
    expected = e @ found.pixels[0].flatten(1)  # (Q, h w)
    torch.testing.assert_close(found.mask_logits[-1, 0].flatten(1), expected)


def test_images_of_a_batch_do_not_mix(model: MaskFormer) -> None:
    images = torch.rand(2, 3, 64, 64)
    whole, one = model(images), model(images[1:])
    torch.testing.assert_close(whole.mask_logits[:, 1:], one.mask_logits, atol=1e-4, rtol=1e-4)


def test_positions_differ_and_stay_in_range() -> None:
    positions = sine_positions(5, 7, 32)
    assert positions.shape == (35, 32)
    assert float(positions.abs().max()) <= 1
    assert len(positions.unique(dim=0)) == 35


@pytest.mark.parametrize("side", [0, 64, 128])
def test_scores_have_the_size_of_the_image(side: int) -> None:
    model = MaskFormer("resnet18", MaskFormerSettings(32, 6, 1, 4, 32, 0.1, side), 3, 16)
    assert image_scores(model, torch.rand(3, 90, 70)).shape == (3, 90, 70)


def test_the_published_sizes() -> None:
    sizes = (PUBLISHED.channels, PUBLISHED.queries, PUBLISHED.layers, PUBLISHED.feedforward)
    assert sizes == (256, 100, 6, 2048)


@pytest.mark.parametrize(
    "wrong", [{"channels": 48}, {"queries": 0}, {"dropout": 1.0}, {"short_side": 20}]
)
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MaskFormerSettings(**wrong)  # type: ignore[arg-type]


def test_a_class_that_is_absent_leaves_its_share_to_the_others(model: MaskFormer) -> None:
    image = torch.rand(3, 64, 64)
    before, after = image_scores(model, image), image_scores(model, image, [1])
    assert float(after[1].max()) == 0
    assert bool((after[[0, 2]] > before[[0, 2]]).all())
