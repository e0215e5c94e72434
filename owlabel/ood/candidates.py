"""Out-of-distribution candidates: connected segments of a score map, ranked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.embedding_grid import to_image
from owlabel.arrays.grid_cells import Shape
from owlabel.classes import Labels

Counts = NDArray[np.int32]

_SEAM_THICKNESS = 3.0
"""Grid points.  Typical thickness of the bands of high scores where two known classes meet."""
_USUAL_SIZE = 0.005
"""Share of the image at which the size factor of a segment reaches one half."""
_LEVELS = 5
"""Number of thresholds between the lowest and 1."""
_LARGEST = 0.3
"""Largest share of the image that a segment may cover; above it the whole scene is anomalous."""
_DEEP_ENOUGH = 3.0
"""Grid points.  Depth beyond this does not make a peak better."""


SCORE = "entropy"
"""The score of `SCORES` behind the queue: in [0, 1] and comparable between images.

It gave the best candidates of all scores, see docs/results/candidates_*.json.
"""
THRESHOLD = 0.5


@dataclass(frozen=True)
class Candidate:
    """One segment that may show an object of an unknown class.

    Attributes
    ----------
    score : float
        Mean anomaly score of the segment, in [0, 1].
    area : int
        Area in image pixels.
    box : tuple of int
        (row0, col0, row1, col1) in image pixels, end excluded.
    peak : tuple of int
        (row, col) of a pixel well inside the segment with a high score: a good place to click.
    likely_class : int
        The base class predicted most often in the segment.
    rank : float
        In [0, 1]; candidates with a higher rank come first, see `find_segments`.
    """

    score: float
    area: int
    box: tuple[int, int, int, int]
    peak: tuple[int, int]
    likely_class: int
    rank: float


def segments(score: NDArray[Any], threshold: float) -> NDArray[np.int32]:
    """Label the 8-connected segments where the score exceeds a threshold.

    Parameters
    ----------
    score : ndarray, shape (h, w)
    threshold : float

    Returns
    -------
    ndarray of int32, shape (h, w)
        0 outside all segments, 1 .. n inside.

    Raises
    ------
    ValueError
        If `score` is not 2-D.
    """
    if score.ndim != 2:
        raise ValueError(f"score must have shape (h, w), got {score.shape}")
    above = (score > threshold).view(np.uint8)
    return np.asarray(cv2.connectedComponents(above, connectivity=8)[1], np.int32)


@dataclass(frozen=True)
class _Level:
    """The segments above one threshold: label map, and candidates with label and grid peak."""

    labels: NDArray[np.int32]
    candidates: list[tuple[Candidate, int, tuple[int, int]]]


def find(
    score: NDArray[Any],
    base_map_grid: Labels,
    shape: Shape,
    threshold: float = 0.5,
    min_area_fraction: float = 0.0005,
) -> list[Candidate]:
    """Return the candidates of an image, best first; see `find_segments`."""
    return find_segments(score, base_map_grid, shape, threshold, min_area_fraction)[0]


def find_segments(
    score: NDArray[Any],
    base_map_grid: Labels,
    shape: Shape,
    threshold: float = 0.5,
    min_area_fraction: float = 0.0005,
) -> tuple[list[Candidate], NDArray[np.int32]]:
    """Return the candidates of an image, best first, and their segments; no two overlap.

    The score may be high in a whole region around an object, so segments come from several
    thresholds, from `threshold` upwards.  They form a tree.  Of nested segments, only the one
    with the highest rank is kept.

    The rank is the product of three factors: the contrast (mean score minus the median score of
    the image), ``a / (a + 0.005)`` with a the share of the image that the segment covers, and
    ``t^2 / (t^2 + 9)`` with the mean thickness t = 2 area / perimeter in grid points.  The last
    factor is small for the long, thin seams where two known classes meet.

    Parameters
    ----------
    score : ndarray, shape (h, w)
        An absolute score in [0, 1] on the grid.  A score scaled per image would give candidates in
        every image, even without an unknown object.
    base_map_grid : ndarray of uint8, shape (h, w)
        Base prediction on the grid.
    shape : tuple of int
        (H, W) of the image.
    threshold : float
        The lowest threshold.
    min_area_fraction : float
        Smallest segment to keep, as a share of the image in [0, 1].

    Returns
    -------
    list of Candidate
        Sorted by decreasing rank, then by box.
    ndarray of int32, shape (h, w)
        Segments on the grid: i + 1 in the i-th candidate of the list (from 0), 0 elsewhere.

    Raises
    ------
    ValueError
        If the two maps differ in shape or are not 2-D.
    """
    if score.shape != base_map_grid.shape:
        raise ValueError(
            f"score and base map must have the same shape, got {score.shape} and "
            f"{base_map_grid.shape}"
        )
    steps = threshold + (1 - threshold) * np.arange(_LEVELS) / _LEVELS
    levels = [_level(score, base_map_grid, shape, float(t), min_area_fraction) for t in steps]
    median = float(np.median(score))
    entries = [
        (
            replace(candidate, rank=candidate.rank * min(max(candidate.score - median, 0), 1)),
            index,
            label,
            peak,
        )
        for index, level in enumerate(levels)
        for candidate, label, peak in level.candidates
    ]
    entries.sort(key=lambda entry: (-entry[0].rank, entry[1], entry[0].box))
    kept: list[tuple[Candidate, int, int, tuple[int, int]]] = []
    for entry in entries:
        if not any(_nested(levels, entry, other) for other in kept):
            kept.append(entry)
    segments = np.zeros(score.shape, np.int32)
    for number, (_, index, label, _) in enumerate(kept, start=1):
        segments[levels[index].labels == label] = number
    return [candidate for candidate, *_ in kept], segments


def _nested(
    levels: list[_Level],
    first: tuple[Candidate, int, int, tuple[int, int]],
    second: tuple[Candidate, int, int, tuple[int, int]],
) -> bool:
    """Return whether one of two segments contains the other.

    This is the case where the segment of the lower threshold contains the other one's peak.
    """
    low, high = (first, second) if first[1] <= second[1] else (second, first)
    return int(levels[low[1]].labels[high[3]]) == low[2]


def _level(
    score: NDArray[Any],
    base_map_grid: Labels,
    shape: Shape,
    threshold: float,
    min_area_fraction: float,
) -> _Level:
    """Return the segments above one threshold; their ranks do not include the contrast yet."""
    labels, stats = _components(score, threshold)
    sizes = stats[1:, cv2.CC_STAT_AREA] / score.size
    kept = np.flatnonzero((sizes >= min_area_fraction) & (sizes <= _LARGEST)) + 1
    boxes, areas = stats[kept, :4], stats[kept, cv2.CC_STAT_AREA]
    mean, likely = _content(labels, score, base_map_grid, kept)
    rank = _size_factor(areas / score.size) * _seam_factor(labels, areas, kept)
    peaks = _peaks(labels, score, boxes, kept)
    to_pixels = shape[0] * shape[1] / score.size
    candidates = [
        Candidate(
            score=float(mean[i]),
            area=round(float(areas[i]) * to_pixels),
            box=_pixel_box(boxes[i], shape, score.shape),
            peak=_pixel(peaks[i], shape, score.shape),
            likely_class=int(likely[i]),
            rank=float(rank[i]),
        )
        for i in range(len(kept))
    ]
    return _Level(labels, list(zip(candidates, kept.tolist(), peaks, strict=True)))


def _components(score: NDArray[Any], threshold: float) -> tuple[NDArray[np.int32], Counts]:
    """Return labels (h, w) and, for each label, left, top, width, height and area."""
    if score.ndim != 2:
        raise ValueError(f"score must have shape (h, w), got {score.shape}")
    above = (score > threshold).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)


def _content(
    labels: NDArray[np.int32], score: NDArray[Any], classes: Labels, kept: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return mean score and most frequent class of each kept segment, both (n,)."""
    number = np.full(labels.max() + 1, -1)
    number[kept] = np.arange(len(kept))
    inside = np.flatnonzero(labels)
    segment = number[labels.reshape(-1)[inside]]
    inside, segment = inside[segment >= 0], segment[segment >= 0]
    total = np.bincount(segment, weights=score.reshape(-1)[inside], minlength=len(kept))
    pair = segment * 256 + classes.reshape(-1)[inside]
    votes = np.bincount(pair, minlength=256 * len(kept)).reshape(len(kept), 256)
    return total / votes.sum(axis=1), votes.argmax(axis=1)


def _size_factor(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share / (share + _USUAL_SIZE)


def _seam_factor(
    labels: NDArray[np.int32], areas: Counts, kept: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return a factor for each segment, shape (n,): near 0 if thin, near 1 if thick."""
    padded = np.pad(labels, 1)
    perimeter = np.zeros(labels.max() + 1, np.int64)
    for first, second in ((padded[:, :-1], padded[:, 1:]), (padded[:-1], padded[1:])):
        edge = first != second
        for side in (first[edge], second[edge]):
            perimeter += np.bincount(side, minlength=len(perimeter))
    thickness = 2 * areas / perimeter[kept]
    return np.asarray(thickness**2 / (thickness**2 + _SEAM_THICKNESS**2))


def _peaks(
    labels: NDArray[np.int32], score: NDArray[Any], boxes: Counts, kept: NDArray[np.intp]
) -> list[tuple[int, int]]:
    """Return the grid point of each segment where score times depth is largest."""
    depth = cv2.distanceTransform((labels > 0).view(np.uint8), cv2.DIST_L2, 3)
    merit = np.minimum(depth, _DEEP_ENOUGH) * score
    peaks = []
    for number, (left, top, width, height) in zip(kept.tolist(), boxes.tolist(), strict=True):
        box = (slice(top, top + height), slice(left, left + width))
        best = int(np.where(labels[box] == number, merit[box], -1).argmax())
        peaks.append((top + best // width, left + best % width))
    return peaks


def _pixel(point: tuple[int, int], shape: Shape, grid_shape: tuple[int, ...]) -> tuple[int, int]:
    row, col = to_image(*point, shape, (grid_shape[0], grid_shape[1]))
    return round(row), round(col)


def _pixel_box(box: Counts, shape: Shape, grid_shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the box of the pixels whose nearest grid point lies in a box of grid points."""
    left, top, width, height = box.tolist()
    tall, wide = shape[0] / grid_shape[0], shape[1] / grid_shape[1]
    row1, col1 = round((top + height) * tall), round((left + width) * wide)
    return round(top * tall), round(left * wide), row1, col1
