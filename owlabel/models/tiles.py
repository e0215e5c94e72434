"""Backbone features of an image from overlapping tiles: full detail in bounded memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from owlabel.models.backbones import Features

UNIT = 32
"""Tiles begin at multiples of this, because every stride of a backbone divides it."""
OVERLAP = 256
"""Pixels that neighbours share at least.  The outer quarters are dropped, because there a tile sees
its own border.  Across the inner half one tile fades into the other."""


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
    shared = overlap + UNIT  # starts are rounded down, which costs up to UNIT pixels
    count = math.ceil((length - shared) / (side - shared - 2 * UNIT))
    size = UNIT * math.ceil((length + (count - 1) * shared) / count / UNIT)
    starts = [UNIT * (i * (length - size) // (count - 1) // UNIT) for i in range(count)]
    stops = [start + size for start in starts[:-1]]
    return [Stretch(*pair) for pair in zip(starts, [*stops, length], strict=True)]


def shortest_side(overlap: int = OVERLAP) -> int:
    """Return the shortest side of a tile; at least half of it is not shared."""
    return 2 * overlap + 4 * UNIT


def tiled_features(
    features: Callable[[Tensor], Features],
    piece: Callable[[Stretch, Stretch], Tensor],
    shape: tuple[int, int],
    side: int,
    overlap: int = OVERLAP,
) -> Features:
    """Return the features of a whole image, computed one tile at a time.

    If a feature depends on at most ``overlap / 4`` pixels around it, the result equals that of the
    whole image.  A backbone that averages over its input (squeeze and excitation) averages over
    each tile separately, and neighbouring tiles are blended.

    Parameters
    ----------
    features : callable
        The backbone: images (1, 3, h, w) to features.
    piece : callable
        ``piece(rows, columns)`` returns that part of the image, (1, 3, h, w).
    shape : tuple of int
        (H, W) of the image.
    side, overlap : int
        See `stretches`.
    """
    rows, columns = stretches(shape[0], side, overlap), stretches(shape[1], side, overlap)
    whole: list[Tensor] = []
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        for index, tile in enumerate(features(piece(row, column))):
            stride = 2 ** round(math.log2((row.stop - row.start) / tile.shape[2]))
            if index == len(whole):
                size = [math.ceil(length / stride) for length in shape]
                whole.append(tile.new_zeros(1, tile.shape[1], *size))
            top, left = row.start // stride, column.start // stride
            height, width = tile.shape[2:]
            down = _weights(rows, i, stride, height, overlap)
            across = _weights(columns, j, stride, width, overlap)
            weight = down[:, None] * across  # (h, w)
            place = whole[index][:, :, top : top + height, left : left + width]
            place += tile * weight.to(tile)
    return Features(*whole)


def _weights(
    axis: Sequence[Stretch], index: int, stride: int, cells: int, overlap: int = OVERLAP
) -> Tensor:
    """Return the weight of each cell of a stretch; the weights of neighbours add up to one."""
    position = axis[index].start + stride * (torch.arange(cells) + 0.5)
    weight = torch.ones(cells)
    if index > 0:
        weight *= _ramp(position, axis[index - 1], axis[index], overlap)
    if index + 1 < len(axis):
        weight *= 1 - _ramp(position, axis[index], axis[index + 1], overlap)
    return weight


def _ramp(position: Tensor, before: Stretch, after: Stretch, overlap: int) -> Tensor:
    """Rise from 0 to 1 across half an overlap, in the middle of the pixels that two tiles share."""
    middle = (after.start + before.stop) / 2
    return ((position - middle) / (overlap / 2) + 0.5).clamp(0, 1)
