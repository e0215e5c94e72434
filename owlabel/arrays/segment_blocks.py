"""Walking a label map in blocks of rows: the pixels of segments, their runs, what touches them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_LONG = 10
"""Pixels in a run from which on runs are summed first."""


class PixelBlocks:
    """Probabilities (q, h, w) by the flat index of a pixel, read in blocks of rows."""

    def __init__(self, probabilities: NDArray[Any], rows: int) -> None:
        dtype = np.float64 if probabilities.dtype == np.float64 else np.float32
        self._flat = np.ascontiguousarray(probabilities).reshape(len(probabilities), -1)
        self._near = np.empty((len(self._flat), rows * probabilities.shape[2]), dtype)
        self._first = 0

    def turn_to(self, first: int, pixels: int) -> None:
        """Bring a block into the processor's cache: reading it whole is faster than in pieces."""
        self._near = self._near[:, :pixels]
        self._near[:] = self._flat[:, first : first + pixels]
        self._first = first

    def at(self, index: Ints, free: int = 0) -> Floats:
        """Return the probabilities of some pixels of the block, below free rows: (free + q, n)."""
        probabilities = np.empty((free + len(self._near), index.size), self._near.dtype)
        self._near.take(index - self._first, axis=1, out=probabilities[free:], mode="clip")
        return probabilities


class LabelBlock:
    """Some rows of the label map: the pixels that lie in segments, and those that touch them.

    Up to 32,767 segments are walked in 16 bits, which halves what the windows read and write.

    Parameters
    ----------
    segments : ndarray of int, shape (h, w)
        The whole map.
    start, stop : int
        Its rows.
    count : int
        The largest id in the map.

    Attributes
    ----------
    at : ndarray of int, shape (n,)
        Flat index in the image of each pixel of a segment, ascending.
    label : ndarray of int32, shape (n,)
        Its segment.
    inside : ndarray of bool, shape (n,)
        Whether its whole 3x3 neighbourhood lies in its segment.
    """

    def __init__(self, segments: NDArray[Any], start: int, stop: int, count: int) -> None:
        self.width = segments.shape[1]
        small = count <= np.iinfo(np.int16).max
        self._type = np.dtype(np.int16 if small else np.int32)
        self._unsigned = np.dtype(f"u{self._type.itemsize}")
        self._first = start * self.width
        above, below = max(start - 1, 0), min(stop + 1, len(segments))
        self._padded = np.zeros((stop - start + 2, self.width + 2), self._type)
        self._padded[above - start + 1 : below - start + 1, 1:-1] = segments[above:below]
        self._labels = self._padded[1:-1, 1:-1].ravel()
        at = np.flatnonzero(self._labels != 0)  # three times as quick as on the numbers themselves
        self.busy = bool(at.size or self._padded.any())
        self.at, self.label = at + self._first, self._labels[at].astype(np.int32)
        self._largest = _window(self._padded, np.maximum)
        self.inside = _window(self._padded, np.minimum)[at] == self._largest[at]

    def runs(self) -> tuple[Ints, NDArray[np.int32]]:
        """Return where in `at` runs of one group in one row begin, and their groups.

        Group 2s + 1 is the inside of segment s, group 2s its boundary.
        """
        group = 2 * self.label + self.inside
        new = np.ones(self.at.size, bool)
        new[1:] = (self.at[1:] - self.at[:-1] != 1) | (group[1:] != group[:-1])
        rows = np.arange(self.at[0] // self.width, self.at[-1] // self.width + 1)
        new[np.searchsorted(self.at, rows * self.width)] = True
        starts = np.flatnonzero(new)
        return starts, group[starts]

    def neighbours(self) -> tuple[Ints, NDArray[np.int32]]:
        """Return flat index in the image and segment of each pixel that touches a segment.

        A pair comes once, however many pixels of the segment touch the pixel.
        """
        no_label = (self._padded - 1).view(self._unsigned)  # 0 becomes the largest number
        smallest = _window(no_label, np.minimum).view(self._type)
        smallest += 1
        several = np.flatnonzero(smallest != self._largest)
        alone = (self._largest > 0) & (self._labels == 0)
        alone[several] = False
        places = np.flatnonzero(alone)
        more = self._of_several(several)
        at = np.concatenate([places, *(place for place, _ in more)]) + self._first
        touched = np.concatenate([self._largest[places], *(label for _, label in more)])
        return at, touched.astype(np.int32)

    def _of_several(self, at: Ints) -> list[tuple[Ints, NDArray[np.signedinteger[Any]]]]:
        """Do the same for pixels that have more than one segment in their neighbourhood."""
        stride = self.width + 2
        centre = at + 2 * (at // self.width) + stride + 1
        steps = (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1)
        flat = self._padded.reshape(-1)
        around = flat[np.add.outer(steps, centre)]  # (8, n)
        around[around == flat[centre]] = 0
        neighbours = []
        while at.size:
            segment = around.max(axis=0)
            neighbours.append((at[segment > 0], segment[segment > 0]))
            around[around == segment] = 0
            left = np.flatnonzero(around.any(axis=0))
            around, at = around[:, left], at[left]
        return neighbours


def _window(padded: NDArray[Any], largest: np.ufunc) -> NDArray[Any]:
    """Return the largest (or smallest) of each 3x3 window, flat: (h + 2, w + 2) to (h w,)."""
    across = largest(padded[:, :-2], padded[:, 1:-1])
    largest(across, padded[:, 2:], out=across)
    both = largest(across[:-2], across[1:-1])
    return np.asarray(largest(both, across[2:], out=both).ravel())


class Runs:
    """Pixels in runs of one group each.

    Parameters
    ----------
    starts : ndarray of int, shape (r,)
        Where each run begins.
    group : ndarray of int, shape (r,)
        Its group.
    pixels : int
        n, the end of the last run.

    Attributes
    ----------
    range : slice
        The groups from the lowest to the highest that occurs; u of them.
    """

    def __init__(self, starts: Ints, group: NDArray[Any], pixels: int) -> None:
        self.starts, self.length = starts, np.diff(starts, append=pixels)
        low, high = int(group.min()), int(group.max())
        self.range, self._size = slice(low, high + 1), high + 1 - low
        self._place = np.asarray(group - low, np.int32)
        self._long = pixels > _LONG * starts.size

    @cached_property
    def _of_pixel(self) -> NDArray[np.int32]:
        """Place of the group of each pixel in `range`, (n,)."""
        return np.repeat(self._place, self.length)

    @cached_property
    def _member(self) -> csc_array:
        """Sparse matrix (u, n), 1 where a pixel is of a group."""
        of_pixel = self._of_pixel
        ends = np.arange(of_pixel.size + 1, dtype=np.int32)
        return csc_array((np.ones(of_pixel.size), of_pixel, ends), (self._size, of_pixel.size))

    def sums(self, values: NDArray[Any]) -> Doubles:
        """Return the sum of each row of values (rows, n) over each group, (rows, u)."""
        if self._long:
            long = np.add.reduceat(values, self.starts, axis=1, dtype=np.float64)
            return self.sums_of_runs(long)
        return np.asarray((self._member @ np.ascontiguousarray(values.T, np.float64)).T)

    def sums_of_runs(self, values: NDArray[Any]) -> Doubles:
        """Return the sum of each row of values (rows, r) over each group, (rows, u)."""
        return np.stack([np.bincount(self._place, row, self._size) for row in values])

    def spread(self, by_group: Doubles) -> Doubles:
        """Give each pixel the value of its group: (rows, all groups) becomes (rows, n)."""
        if self._long:
            return np.repeat(by_group[:, self.range][:, self._place], self.length, axis=1)
        return by_group[:, self.range].take(self._of_pixel, axis=1)
