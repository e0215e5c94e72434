"""Counts of float32 numbers in 2^20 bins that keep their order: constant memory, any range."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]

BITS = 20
BINS = 1 << BITS
_BLOCK = 1 << 18  # keys and counts of a block stay in the processor's cache


class OrderedHistogram:
    """How often each number occurred in a stream, in constant memory (8 MB).

    A bin is sign, exponent and the upper 11 bits of the mantissa of a float32, in the order of the
    numbers, so float16 values (from 6e-5 in size) have bins of their own and the width of a bin is
    1/2048 of its value.  Histograms of parts of a stream add up to the histogram of the whole.

    Parameters
    ----------
    bits : int
        Fewer than 20 keep less of the mantissa: 16 are enough for a picture, in 0.5 MB.

    Attributes
    ----------
    counts : ndarray of int64, shape (2^bits,)
        Numbers per bin, ascending.

    Raises
    ------
    ValueError
        If `bits` lies outside 10 .. 20.
    """

    def __init__(self, bits: int = BITS) -> None:
        if not 10 <= bits <= BITS:
            raise ValueError(f"bits must lie in 10 .. {BITS}, got {bits}")
        self.bits = bits
        self.counts: Counts = np.zeros(1 << bits, np.int64)

    def update(self, values: ArrayLike) -> None:
        """Count numbers, in any shape; infinities are allowed.

        Raises
        ------
        ValueError
            If one is NaN.
        """
        flat = np.asarray(values).ravel()
        for start in range(0, flat.size, _BLOCK):
            keys = ordered_keys(flat[start : start + _BLOCK], self.bits)
            self.counts += np.bincount(keys, minlength=self.counts.size)

    def __add__(self, other: OrderedHistogram) -> OrderedHistogram:
        if other.bits != self.bits:
            raise ValueError(f"bins of {self.bits} and of {other.bits} bits cannot be added")
        total = OrderedHistogram(self.bits)
        total.counts = self.counts + other.counts
        return total

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    def quantile(self, q: ArrayLike) -> NDArray[np.float32]:
        """Return the smallest counted value with at least a share q of all numbers up to it.

        Parameters
        ----------
        q : float or array of float
            0 .. 1.

        Returns
        -------
        ndarray of float32, shape of `q`
            As ``numpy.quantile(..., method="inverted_cdf")``, to the width of a bin.

        Raises
        ------
        ValueError
            If q lies outside 0 .. 1 or nothing was counted.
        """
        shares = np.asarray(q, np.float64)
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"q must lie in [0, 1], got {shares}")
        up_to = np.cumsum(self.counts)
        if not up_to[-1]:
            raise ValueError("no number was counted yet: there is no quantile of nothing")
        rank = np.maximum(np.ceil(shares * float(up_to[-1]) * (1 - 1e-15)), 1)
        return bin_values(self.bits)[np.searchsorted(up_to, rank, "left")]

    @property
    def values(self) -> NDArray[np.float32]:
        """The number that stands for each bin, shape (2^bits,)."""
        return bin_values(self.bits)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `from_arrays` needs of 20 bits: filled bins (uint32) and counts (int64)."""
        filled = np.flatnonzero(self.counts)
        return {"bins": filled.astype(np.uint32), "counts": self.counts[filled]}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> OrderedHistogram:
        """Return the histogram that `arrays` described.

        Raises
        ------
        ValueError
            If an array is missing, lengths differ, a bin does not exist or a count is negative.
        """
        bins, counts = arrays.get("bins"), arrays.get("counts")
        if bins is None or counts is None or bins.ndim != 1 or bins.shape != counts.shape:
            raise ValueError("a stored histogram needs `bins` and `counts` of the same length")
        if bins.size and (int(bins.min()) < 0 or int(bins.max()) >= BINS or counts.min() < 0):
            raise ValueError(f"bins must lie in 0 .. {BINS - 1} and counts must not be negative")
        histogram = cls()
        np.add.at(histogram.counts, bins.astype(np.intp), counts.astype(np.int64))
        return histogram


def ordered_keys(values: NDArray[Any], bits: int = BITS) -> NDArray[np.uint32]:
    """Return the bin of each number: the upper bits of float32, ordered as the numbers are.

    Raises
    ------
    ValueError
        If one is NaN.
    """
    small = np.asarray(values, np.float32) + np.float32(0)  # + 0: -0.0 becomes 0.0
    if np.isnan(small).any():
        raise ValueError(f"scores must be numbers, got {int(np.isnan(small).sum())} NaN")
    pattern = small.view(np.int32)
    flip = pattern >> 31  # all ones where negative
    flip |= np.int32(-(2**31))
    flip ^= pattern
    keys = flip.view(np.uint32)
    keys >>= np.uint32(32 - bits)
    return np.asarray(keys)


@cache
def bin_values(bits: int = BITS) -> NDArray[np.float32]:
    """Return the number in each bin that is nearest to 0 (exact for float16), shape (2^bits,)."""
    keys, positive = _first_keys(bits)
    dropped = np.uint32((1 << (32 - bits)) - 1)
    return _as_numbers(np.where(positive, keys ^ np.uint32(1 << 31), ~keys & ~dropped))


@cache
def bin_floors(bits: int = BITS) -> NDArray[np.float32]:
    """Return the lowest number of each bin: ``x >= floor`` is "in this bin or above"."""
    keys, positive = _first_keys(bits)
    floors = _as_numbers(np.where(positive, keys ^ np.uint32(1 << 31), ~keys)).copy()
    below_all = np.isnan(floors) & ~positive  # the bin of -inf ends in patterns that are no number
    floors[below_all] = -np.inf
    floors.setflags(write=False)
    return floors


def _first_keys(bits: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    keys = np.arange(1 << bits, dtype=np.uint32) << np.uint32(32 - bits)
    return keys, np.asarray(keys >> np.uint32(31) == 1)


def _as_numbers(patterns: NDArray[np.uint32]) -> NDArray[np.float32]:
    values: NDArray[np.float32] = patterns.astype(np.uint32).view(np.float32)
    values.setflags(write=False)
    return values
