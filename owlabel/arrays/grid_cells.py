"""The cells of an embedding grid; where four corners decide, no pixel needs to be computed.

A cell is the space between four neighbouring grid points.  Interpolated values are convex
combinations of the values at the corners.  So if all corners agree, often the whole cell agrees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, int]

_CELLS_AT_ONCE = 2048
"""Cells that are interpolated together: 1.4 MiB for N = 11 classes at stride 4, which fits the
second-level cache."""


def running_argmax(values: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Return index and value of the maximum along the first axis, channel by channel.

    This is several times faster than ``argmax(axis=0)``, which strides over the channels.
    """
    best = values[0].copy()
    index = np.zeros(best.shape, np.uint8)
    for k in range(1, len(values)):
        won = np.greater(values[k], best).view(np.uint8)
        np.maximum(index, won * np.uint8(k), out=index)  # a later winner has the larger index
        np.maximum(best, values[k], out=best)
    return index, best


@dataclass(frozen=True)
class CellBlock:
    """A block of cells, interpolated at all their pixels.

    Attributes
    ----------
    values : ndarray of float32, shape (N, p, q, m)
        Channel, pixel row in the cell, pixel column in the cell, cell.  Cells with fewer than
        p x q pixels repeat their last row or column.
    rows, cols : ndarray of int, shape (p, m) and (q, m)
        Image row and column of the pixels.
    """

    values: Floats
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]

    def put(self, image: NDArray[np.uint8], values: NDArray[np.uint8]) -> None:
        """Write values of shape (p, q, m) to their pixels of a contiguous image."""
        pixels = self.rows[:, None] * image.shape[1] + self.cols[None]  # (p, q, m)
        image.reshape(-1)[pixels] = values

    def put_where(
        self, image: NDArray[np.uint8], values: NDArray[np.uint8], chosen: NDArray[np.bool_]
    ) -> None:
        """Write the chosen values to their pixels; both arrays have shape (p, q, m)."""
        pixels = self.rows[:, None] * image.shape[1] + self.cols[None]  # (p, q, m)
        image.reshape(-1)[pixels[chosen]] = values[chosen]


@dataclass(frozen=True)
class _Axis:
    """The cells along one axis and their pixels; cell 0 lies before the first grid point."""

    cell: NDArray[np.intp]  # (pixels,) cell of each pixel
    fraction: Floats  # (pixels,) position between the two grid points of the cell
    first: NDArray[np.intp]  # (cells,) first pixel of each cell
    count: NDArray[np.intp]  # (cells,) number of pixels of each cell

    @classmethod
    def of(cls, pixels: int, points: int) -> _Axis:
        source = (np.arange(pixels) + 0.5) * points / pixels - 0.5
        low = np.floor(source).astype(np.intp)
        count = np.bincount(low + 1, minlength=points + 1)
        first = np.concatenate(([0], np.cumsum(count)[:-1]))
        return cls(low + 1, (source - low).astype(np.float32), first, count)


@dataclass(frozen=True)
class Cells:
    """The (h + 1) x (w + 1) cells of a grid, including those outside the outermost points."""

    shape: Shape
    grid_shape: Shape
    rows: _Axis
    cols: _Axis

    @classmethod
    def of(cls, shape: Shape, grid_shape: tuple[int, ...]) -> Cells:
        """Return the cells of a grid of (h, w) points over an image of (H, W) pixels."""
        h, w = grid_shape
        return cls(shape, (h, w), _Axis.of(shape[0], h), _Axis.of(shape[1], w))

    def corners(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Return the values (h, w) at the four corners of each cell, each (h + 1, w + 1)."""
        padded = np.pad(values, 1, mode="edge")
        return padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]

    def differ(self, states: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return for each cell, (h + 1, w + 1), whether the states (h, w) at its corners differ."""
        first, *others = self.corners(states)
        differ = np.zeros(first.shape, bool)
        for other in others:
            differ |= first != other
        return differ

    def spread(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give each pixel the value of its cell: (h + 1, w + 1) becomes (H, W)."""
        return values[:, self.cols.cell].take(self.rows.cell, axis=0)

    def indices(self, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return row and column of the chosen cells (h + 1, w + 1) that hold at least one pixel."""
        row, col = np.divmod(np.flatnonzero(chosen), chosen.shape[1])
        filled = (self.rows.count[row] > 0) & (self.cols.count[col] > 0)
        return row[filled], col[filled]

    def corner_values(
        self, values: NDArray[Any], row: NDArray[np.intp], col: NDArray[np.intp]
    ) -> NDArray[Any]:
        """Return values (..., h, w) at the corners of the given cells, shape (4, ..., m)."""
        h, w = self.grid_shape
        flat = values.reshape(*values.shape[:-2], h * w)
        up, down = np.maximum(row - 1, 0) * w, np.minimum(row, h - 1) * w
        left, right = np.maximum(col - 1, 0), np.minimum(col, w - 1)
        at = (up + left, up + right, down + left, down + right)
        return np.stack([flat.take(index, axis=-1) for index in at])

    def blocks(self, values: Floats, chosen: NDArray[np.bool_]) -> Iterator[CellBlock]:
        """Interpolate maps (N, h, w) at all pixels of the chosen cells, block by block."""
        row, col = self.indices(chosen)
        for start in range(0, len(row), _CELLS_AT_ONCE):
            block = slice(start, start + _CELLS_AT_ONCE)
            yield self._block(values, row[block], col[block])

    def _block(self, values: Floats, row: NDArray[np.intp], col: NDArray[np.intp]) -> CellBlock:
        up_left, up_right, down_left, down_right = self.corner_values(values, row, col)
        rows, cols = _pixels_of(self.rows, row), _pixels_of(self.cols, col)
        down, right = self.rows.fraction[rows], self.cols.fraction[cols]
        block = np.empty((len(values), len(rows), len(cols), len(row)), np.float32)
        for i in range(len(rows)):
            left_edge = up_left * (1 - down[i]) + down_left * down[i]  # (N, m)
            right_edge = up_right * (1 - down[i]) + down_right * down[i]
            for j in range(len(cols)):
                np.multiply(left_edge, 1 - right[j], out=block[:, i, j])
                block[:, i, j] += right_edge * right[j]
        return CellBlock(block, rows, cols)


def _pixels_of(axis: _Axis, cell: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the pixels of each cell, (largest count, cells); small cells repeat the last pixel."""
    count = axis.count[cell]
    step = np.minimum(np.arange(count.max())[:, None], count - 1)
    return np.asarray(axis.first[cell] + step)
