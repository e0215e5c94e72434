"""Features of the segments of a score map, for the detection of false segments.

The features use only softmax probabilities, no ground truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.cache_blocks import vectorised
from owlabel.arrays.grid_cells import running_argmax
from owlabel.arrays.segment_blocks import Doubles, Floats, Ints, LabelBlock, PixelBlocks, Runs

_BLOCK_PIXELS = 16384  # 19 channels of float32 are 1.2 MB and fit the processor's cache
_ROWS_PIXELS = 65536  # larger blocks, because segments cover few of their pixels
_LOG, _LOG_OF = (np.log2, math.log2) if vectorised("log2") else (np.log, math.log)
"""Entropy over log q is the same in any base; vectorised log2 takes two thirds of the time."""
_MAPS = ("E", "V", "M")
_E_V_M, _P = slice(3, 6), slice(6, None)
"""Rows of the sums; the first three hold pixels and the sums of row and column."""


def feature_names(classes: int, extended: bool = False) -> tuple[str, ...]:
    """Return the names of the columns of `segment_features`, 2q + 8 or 2q + 37 of them.

    Parameters
    ----------
    classes : int
        q, at least 2.
    extended : bool
        Use the columns of the released code instead of the paper's.

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"features need at least 2 classes, got {classes}")
    mean = [f"p{j}" for j in range(classes)]
    near = [f"N{j}" for j in range(classes)]
    if not extended:
        return (*mean, *_MAPS, "S", "S_rel", "S_rel_in", *near, "C_h", "C_w")
    kinds = ("", "_in", "_bd", "_rel", "_rel_in")
    moments = [f"{m}{v}{k}" for m in _MAPS for v in ("", "_var") for k in kinds]
    return (*moments, "S", "S_in", "S_bd", "S_rel", "S_rel_in", *mean, *near, "C_h", "C_w")


@dataclass(frozen=True)
class SegmentTable:
    """One row of features for each segment.

    Attributes
    ----------
    columns : tuple of str
        See `feature_names`.
    values : ndarray of float64, shape (k, columns)
        Row i belongs to the segment with id i + 1.
    """

    columns: tuple[str, ...]
    values: Doubles

    def __getitem__(self, column: str) -> Doubles:
        """Return one column by its name, shape (k,); raises ValueError for an unknown one."""
        return self.values[:, self.columns.index(column)]

    def __len__(self) -> int:
        return len(self.values)


def probability_entropy(probabilities: NDArray[Any]) -> NDArray[np.float32]:
    """Return the normalised entropy of every pixel, from probabilities instead of logits.

    Parameters
    ----------
    probabilities : ndarray, shape (q, h, w)
        Softmax output, q >= 2, in [0, 1].

    Returns
    -------
    ndarray of float32, shape (h, w)
        In [0, 1].

    Raises
    ------
    ValueError
        If the shape is not (q >= 2, h, w).
    """
    q, height, width = _checked(probabilities)
    result = np.empty((height, width), np.float32)
    for start, stop in _row_blocks(height, max(1, _BLOCK_PIXELS // max(1, width))):
        block = _as_float(probabilities[:, start:stop]).reshape(q, -1)
        result[start:stop] = _entropy(block).reshape(-1, width)
    return result


def segment_features(
    probabilities: NDArray[Any],
    segments: NDArray[np.integer[Any]],
    extended: bool = False,
    entropy: NDArray[np.float32] | None = None,
) -> SegmentTable:
    """Describe every segment by its softmax probabilities, size, shape, neighbours and position.

    Let k be a segment.  ``k_in`` are its pixels whose whole 3x3 neighbourhood lies in k (so none at
    the edge of the image), ``k_bd`` its other pixels, and ``k_nb`` the pixels of the image outside
    k that touch it.  For q classes the columns are:

    - ``p0 ...``: mean over k of each class probability;
    - ``E``, ``V``, ``M``: mean over k of the entropy over log q, of ``1 - p_1`` and of
      ``1 - p_1 + p_2``, with p_1 and p_2 the two largest probabilities (eq. 11-13);
    - ``S``, ``S_rel``, ``S_rel_in``: ``|k|``, ``|k| / |k_bd|``, ``|k_in| / |k_bd|`` (eq. 14);
    - ``N0 ...``: share of the distinct pixels of k_nb whose largest probability is that of
      class j (eq. 15), all 0 where k fills the image;
    - ``C_h``, ``C_w``: mean row and column (eq. 16).

    `extended` gives the 2q + 37 columns of the released code.  For E, V and M it has the mean and
    the variance over k, over k_in (``_in``) and over k_bd (``_bd``), the value over k times S_rel
    (``_rel``) and the value over k_in times S_rel_in (``_rel_in``); it also has ``S_in`` and
    ``S_bd``.  Means and variances over an empty k_in are 0.  Unlike the released code, this
    function counts each neighbour once and computes variances about the mean in float64.

    Parameters
    ----------
    probabilities : ndarray, shape (q, h, w)
        Softmax output, q >= 2, in [0, 1].
    segments : ndarray of int, shape (h, w)
        0 outside, 1 .. k in the segments (`owlabel.ood.candidates.segments`).  Segments may touch.
    extended : bool
        Use the columns of the released code instead of the paper's.
    entropy : ndarray of float32, shape (h, w), optional
        Result of `probability_entropy` for the same probabilities.  It saves time and does not
        change the table.

    Returns
    -------
    SegmentTable
        k rows of 2q + 8 or 2q + 37 columns.  Pixels outside the segments cost almost no time.

    Raises
    ------
    ValueError
        If the shapes differ, an id is negative or has no pixel, or p is NaN or infinite.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, appendix B.
    """
    q, height, width = _checked(probabilities)
    if segments.shape != (height, width) or not np.issubdtype(segments.dtype, np.integer):
        raise ValueError(
            f"segments must be integers of shape {(height, width)}, "
            f"got {segments.dtype} {segments.shape}"
        )
    if entropy is not None and entropy.shape != (height, width):
        raise ValueError(f"entropy must have shape {(height, width)}, got {entropy.shape}")
    if segments.size and segments.min() < 0:
        raise ValueError(f"segment ids must be at least 0, got {segments.min()}")
    count = int(segments.max(initial=0))
    step = max(1, _ROWS_PIXELS // max(1, width))
    pixels = PixelBlocks(probabilities, min(step, height))
    sums = _Sums(pixels, q, count, extended, entropy)
    for start, stop in _row_blocks(height, step):
        block = LabelBlock(segments, start, stop, count)
        if block.busy:
            pixels.turn_to(start * width, (stop - start) * width)
            sums.add(block)
    return SegmentTable(feature_names(q, extended), sums.table())


def _checked(probabilities: NDArray[Any]) -> tuple[int, int, int]:
    if probabilities.ndim != 3 or probabilities.shape[0] < 2:
        raise ValueError(f"probabilities must have shape (q >= 2, h, w), got {probabilities.shape}")
    q, height, width = probabilities.shape
    return q, height, width


def _row_blocks(height: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, height, step):
        yield start, min(start + step, height)


def _as_float(block: NDArray[Any]) -> Floats:
    return np.asarray(block, np.float64 if block.dtype == np.float64 else np.float32)


def _entropy(p: Floats) -> Floats:
    """Return the entropy over log q of each column of p (q, n), in [0, 1]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.einsum("qn,qn->n", _LOG(p), p)
    if np.isnan(total).any():  # a probability of 0: repeat with 0 log 0 = 0
        total = np.einsum("qn,qn->n", _LOG(np.maximum(p, np.finfo(p.dtype).tiny)), p)
    total /= -_LOG_OF(len(p))
    return np.asarray(np.clip(total, 0, 1, out=total))


def _put_maps(maps: Floats, p: Floats, entropy: Floats | None) -> None:
    """Write E, V and M of each column of p (q, n) to maps (3, n); use a given E if there is one."""
    first = p[0].copy()
    second = np.zeros_like(first)
    smaller = np.empty_like(first)
    for channel in p[1:]:
        np.minimum(first, channel, out=smaller)
        np.maximum(second, smaller, out=second)
        np.maximum(first, channel, out=first)
    maps[0] = _entropy(p) if entropy is None else entropy
    np.subtract(1, first, out=maps[1])
    np.add(maps[1], second, out=maps[2])


def _five(
    whole: Doubles, inside: Doubles, edge: Doubles, ratios: list[Doubles]
) -> tuple[Doubles, ...]:
    return whole, inside, edge, whole * ratios[0], inside * ratios[1]


class _Sums:
    """Sums over the inside, the boundary and the neighbours of each segment.

    Group 2s + 1 is the inside of segment s, group 2s its boundary.
    """

    def __init__(
        self, pixels: PixelBlocks, q: int, count: int, extended: bool, entropy: Floats | None
    ) -> None:
        self.pixels, self.q, self.extended = pixels, q, extended
        self.entropy = None if entropy is None else np.ascontiguousarray(entropy).reshape(-1)
        self.sums = np.zeros((_P.start + self.q, 2 * (count + 1)))
        self.maps: list[tuple[Floats, Runs]] = []
        self.near = np.zeros((count + 1, q), np.int32)

    def add(self, block: LabelBlock) -> None:
        """Add the segment pixels and the neighbour pixels of a block."""
        if block.at.size:
            self._add_pixels(block)
        at, segment = block.neighbours()
        if at.size:
            self._add_neighbours(at, segment)

    def _add_pixels(self, block: LabelBlock) -> None:
        starts, group = block.runs()
        runs = Runs(starts, group, block.at.size)
        row, col = np.divmod(block.at[starts], block.width)
        length = runs.length
        of_runs = np.stack([length, length * row, length * (col + (length - 1) / 2)])
        values = self.pixels.at(block.at, len(_MAPS))
        maps, p = values[: len(_MAPS)], values[len(_MAPS) :]
        _put_maps(maps, p, None if self.entropy is None else self.entropy[block.at])
        self.sums[: len(of_runs), runs.range] += runs.sums_of_runs(of_runs)
        self.sums[len(of_runs) :, runs.range] += runs.sums(values)
        if self.extended:
            self.maps.append((maps.copy(), runs))

    def _add_neighbours(self, at: Ints, segment: NDArray[np.int32]) -> None:
        """Count neighbour pixels of segments by their most probable class."""
        best, _ = running_argmax(self.pixels.at(at))
        low, high = int(segment.min()), int(segment.max())
        pair = (segment.astype(np.int64) - low) * self.q + best
        counts = np.bincount(pair, minlength=(high + 1 - low) * self.q)
        self.near[low : high + 1] += counts.reshape(-1, self.q)

    def table(self) -> Doubles:
        """Return the features of all segments, (k, columns), and free the sums; call only once."""
        pixels, of_maps = self.sums[0].copy(), self.sums[_E_V_M].copy()
        sums = self.sums[:, 2::2] + self.sums[:, 3::2]
        del self.sums  # 23 MiB for 60,000 segments
        if not sums[0].all():
            missing = int(np.flatnonzero(sums[0] == 0)[0]) + 1
            raise ValueError(f"segment ids must be 1 .. k without gaps, {missing} has no pixel")
        names = feature_names(self.q, self.extended)
        table = np.empty((len(names), sums.shape[1]))  # 34 MiB for 60,000 segments
        columns = self._columns(sums, pixels, of_maps)
        for row, column in zip(table, columns, strict=True):
            row[:] = column
            if not np.isfinite(row).all():
                raise ValueError("probabilities must be numbers in [0, 1], got NaN or infinity")
        return table.T

    def _columns(self, sums: Doubles, pixels: Doubles, of_maps: Doubles) -> Iterator[Doubles]:
        """Yield the columns in the order of `feature_names`, each (k,).

        `sums` are the sums over segments, (rows, k); `pixels` and `of_maps` are the pixels of each
        group and the sums of the maps over it.
        """
        size, edge, inside = sums[0], pixels[2::2], pixels[3::2]
        ratios = [size / edge, inside / edge]
        if self.extended:
            yield from self._moments(pixels, of_maps / np.maximum(pixels, 1), ratios)
            yield from (size, inside, edge, *ratios)
            yield from (row / size for row in sums[_P])
        else:
            yield from (row / size for row in sums[_P])
            yield from (row / size for row in sums[_E_V_M])
            yield from (size, *ratios)
        near = np.maximum(self.near[1:].sum(axis=1), 1)
        yield from (self.near[1:, j] / near for j in range(self.q))
        yield from (sums[1] / size, sums[2] / size)

    def _moments(self, pixels: Doubles, mean: Doubles, ratios: list[Doubles]) -> Iterator[Doubles]:
        """Yield for each map the five variants of its mean, then of its variance, each (k,)."""
        square = self._squares(mean)
        edge, inside = slice(2, None, 2), slice(3, None, 2)
        whole = pixels[edge] + pixels[inside]
        share = pixels[inside] / whole
        for m, s in zip(mean, square, strict=True):
            apart = m[inside] - m[edge]
            between = share * pixels[edge] * apart**2
            yield from _five(m[edge] + share * apart, m[inside], m[edge], ratios)
            total = (s[edge] + s[inside] + between) / whole
            spread = s / np.maximum(pixels, 1)
            yield from _five(total, spread[inside], spread[edge], ratios)

    def _squares(self, mean: Doubles) -> Doubles:
        """Return the squared deviations of each map from its group's mean, summed, (3, groups)."""
        squares = np.zeros_like(mean)
        for maps, runs in self.maps:
            apart = maps - runs.spread(mean)
            apart *= apart
            squares[:, runs.range] += runs.sums(apart)
        return squares
