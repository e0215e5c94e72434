"""Backbone features of an image in overlapping tiles: full detail in bounded memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from owlabel.models.backbones import Features

UNIT = 32
"""Tiles begin at its multiples, which every stride of a backbone divides."""
OVERLAP = 256
"""Pixels that neighbours share at least: the outer quarters, where a tile sees its own border, do
not count; across the inner half one goes over into the other."""


class Stretch(NamedTuple):
    """One axis of a tile: the pixels start .. stop - 1."""

    start: int
    stop: int


def stretches(length: int, side: int, overlap: int = OVERLAP) -> list[Stretch]:
    """Cut an axis into equal stretches of at most `side` that overlap by at least `overlap`.

    Parameters
    ----------
    length : int
        Pixels of the axis.
    side : int
        Longest stretch, at least `shortest_side` of the overlap.
    overlap : int
        A multiple of `UNIT`.

    Raises
    ------
    ValueError
        If `side` is too short.
    """
    if side < shortest_side(overlap):
        raise ValueError(f"a tile needs a side of {shortest_side(overlap)} or more, got {side}")
    if length <= side:
        return [Stretch(0, length)]
    shared = overlap + UNIT  # starts are rounded down, so some of it is lost
    count = math.ceil((length - shared) / (side - shared - 2 * UNIT))
    size = UNIT * math.ceil((length + (count - 1) * shared) / count / UNIT)
    starts = [UNIT * (i * (length - size) // (count - 1) // UNIT) for i in range(count)]
    stops = [start + size for start in starts[:-1]]
    return [Stretch(*pair) for pair in zip(starts, [*stops, length], strict=True)]


def shortest_side(overlap: int = OVERLAP) -> int:
    """Return the shortest side of a tile: half of it or more is its own."""
    return 2 * overlap + 4 * UNIT


def tiled_features(
    features: Callable[[Tensor], Features],
    piece: Callable[[Stretch, Stretch], Tensor],
    shape: tuple[int, int],
    side: int,
    overlap: int = OVERLAP,
) -> Features:
    """Return the features of a whole image, computed one tile at a time.

    Where a feature depends on no more than ``overlap / 4`` pixels around it, the result is that of
    the whole image; a backbone that averages over its input (squeeze and excitation) sees each
    tile for itself, and neighbours are blended.

    Parameters
    ----------
    features : callable
        The backbone: images (1, 3, h, w) to features.
    piece : callable
        Gives the part of the image, (1, 3, h, w), in two stretches: rows and columns.
    shape : tuple of int
        (H, W) of the image.
    side, overlap : int
        See `stretches`.
    """
    rows, columns = stretches(shape[0], side, overlap), stretches(shape[1], side, overlap)
    whole: list[Tensor] = []
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        for index, part in enumerate(features(piece(row, column))):
            stride = 2 ** round(math.log2((row.stop - row.start) / part.shape[2]))
            if index == len(whole):
                size = [math.ceil(length / stride) for length in shape]
                whole.append(part.new_zeros(1, part.shape[1], *size))
            top, left = row.start // stride, column.start // stride
            height, width = part.shape[2:]
            down = _weights(rows, i, stride, height, overlap)
            across = _weights(columns, j, stride, width, overlap)
            weight = down[:, None] * across  # (h, w)
            place = whole[index][:, :, top : top + height, left : left + width]
            place += part * weight.to(part)
    return Features(*whole)


def _weights(
    axis: Sequence[Stretch], index: int, stride: int, cells: int, overlap: int = OVERLAP
) -> Tensor:
    """Return how much each cell of a stretch counts; those of neighbours add up to one."""
    at = axis[index].start + stride * (torch.arange(cells) + 0.5)
    weight = torch.ones(cells)
    if index > 0:
        weight *= _ramp(at, axis[index - 1], axis[index], overlap)
    if index + 1 < len(axis):
        weight *= 1 - _ramp(at, axis[index], axis[index + 1], overlap)
    return weight


def _ramp(at: Tensor, before: Stretch, after: Stretch, overlap: int) -> Tensor:
    """Rise from 0 to 1 across half an overlap, in the middle of what two neighbours share."""
    middle = (after.start + before.stop) / 2
    return ((at - middle) / (overlap / 2) + 0.5).clamp(0, 1)
