"""Tiles cover an image, and give the features of the whole image where those are local."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from owlabel.models.backbones import Backbone, Features
from owlabel.models.tiles import (
    OVERLAP,
    UNIT,
    Stretch,
    _weights,
    shortest_side,
    stretches,
    tiled_features,
)


@given(st.integers(1, 20_000), st.integers(shortest_side(), 4096))
def test_stretches_cover_the_axis_and_overlap(length: int, side: int) -> None:
    cut = stretches(length, side)
    assert (cut[0].start, cut[-1].stop) == (0, length)
    assert all(s.stop - s.start <= side for s in cut)
    assert all(s.start % UNIT == 0 for s in cut)
    assert all(before.stop - after.start >= OVERLAP for before, after in itertools.pairwise(cut))


@given(st.integers(641, 9000), st.sampled_from([4, 8, 16, 32]))
def test_weights_add_up_to_one(length: int, stride: int) -> None:
    cut = stretches(length, 640)
    total = torch.zeros(-(-length // stride))
    for index, (start, stop) in enumerate(cut):
        cells = -(-(stop - start) // stride)
        total[start // stride : start // stride + cells] += _weights(cut, index, stride, cells)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_a_short_axis_is_one_stretch_and_a_short_tile_is_refused() -> None:
    assert stretches(500, 640) == [Stretch(0, 500)]
    with pytest.raises(ValueError, match="640 or more, got 600"):
        stretches(1000, 600)


def _tiled(backbone: nn.Module, image: Tensor, side: int, overlap: int) -> Features:
    def piece(rows: Stretch, columns: Stretch) -> Tensor:
        return image[:, :, slice(*rows), slice(*columns)]

    shape = (image.shape[2], image.shape[3])
    return tiled_features(backbone, piece, shape, side, overlap)


class Local(nn.Module):
    """Features at stride 4 and 16 that depend on at most 24 pixels around them."""

    def forward(self, images: Tensor) -> Features:
        low = functional.avg_pool2d(images, 5, stride=4, padding=2, ceil_mode=False)
        high = functional.max_pool2d(low, 5, stride=4, padding=2)
        return Features(high, low)


@pytest.mark.parametrize("shape", [(300, 517), (100, 401), (640, 96)])
def test_local_features_are_those_of_the_whole_image(shape: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1))
    whole, tiled = Local()(image), _tiled(Local(), image, 320, 96)
    for one, other in zip(whole, tiled, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_a_real_backbone_differs_little_where_tiles_meet() -> None:
    torch.manual_seed(0)
    backbone = Backbone("resnet18", 16).eval()
    image = functional.interpolate(torch.rand(1, 3, 12, 40), size=(192, 640), mode="bilinear")
    with torch.inference_mode():
        whole, tiled = backbone(image), _tiled(backbone, image, 384, 128)
    low = (whole.low - tiled.low).abs().max() / whole.low.std()
    high = (whole.high - tiled.high).abs().mean() / whole.high.std()
    assert low < 1e-4, "stride 4 sees a few pixels only"
    assert high < 0.1
