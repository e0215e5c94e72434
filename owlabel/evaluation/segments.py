"""Errors of segments: false and missed segments, and SegmentMeIfYouCan's component measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Segments = NDArray[np.int32]
Counts = NDArray[np.int64]

TAUS = tuple(k / 20 for k in range(5, 16))
"""0.25 .. 0.75, as k / 20: in a floating-point range 0.6 would be slightly larger than 0.6."""


def components(mask: NDArray[np.bool_]) -> tuple[Segments, int]:
    """Return the 8-connected components of a mask (h, w), 1 .. n with 0 outside, and n."""
    count, labels = cv2.connectedComponents(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=8
    )
    return np.asarray(labels, np.int32), count - 1


def predicted_segments(
    score: NDArray[Any], truth: NDArray[np.uint8], threshold: float
) -> tuple[Segments, int]:
    """Return the components of ``score >= threshold`` in the evaluated region, and their number.

    Parameters
    ----------
    score : ndarray, shape (h, w)
    truth : ndarray of uint8, shape (h, w)
        0 in-distribution, 1 OoD; predicted pixels with any other value (void) are removed first.
    threshold : float

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, eq. (7).
    """
    return components((score >= threshold) & (truth <= 1))


def false_segments(segments: Segments, truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for segments 1 .. n whether each shares no pixel with OoD truth, shape (n,).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if segments.shape != truth.shape:
        raise ValueError(f"segments and truth differ in shape: {segments.shape}, {truth.shape}")
    count = int(segments.max(initial=0))
    hit = np.zeros(count + 1, np.bool_)
    hit[segments[truth == 1]] = True
    return np.asarray(~hit[1:])


@dataclass(frozen=True)
class SegmentErrors:
    """False and missed segments, and in-distribution pixels predicted OoD; can be added.

    Attributes
    ----------
    false, missed : int
        Predicted components without any OoD pixel; OoD components without any predicted pixel.
    predicted, objects : int
        All predicted components; all OoD components.
    alarms, in_distribution : int
        In-distribution pixels predicted OoD; all in-distribution pixels.
    """

    false: int = 0
    missed: int = 0
    predicted: int = 0
    objects: int = 0
    alarms: int = 0
    in_distribution: int = 0

    def __add__(self, other: SegmentErrors) -> SegmentErrors:
        return SegmentErrors(*(a + b for a, b in zip(_numbers(self), _numbers(other), strict=True)))

    @property
    def epsilon(self) -> float:
        """Road miss rate: share of in-distribution pixels predicted OoD (eq. 10), or NaN."""
        return self.alarms / self.in_distribution if self.in_distribution else float("nan")


def segment_errors(segments: Segments, truth: NDArray[np.uint8]) -> SegmentErrors:
    """Compare the remaining segments of one image with its ground truth.

    Parameters
    ----------
    segments : ndarray of int32, shape (h, w)
        Segment ids, 0 outside; removed segments are also 0, so ids may have gaps.
    truth : ndarray of uint8, shape (h, w)
        0 in-distribution, 1 OoD, anything else void.
    """
    false = false_segments(segments, truth)
    present = np.zeros(len(false) + 1, np.bool_)
    present[segments.ravel()] = True
    objects, count = components(truth == 1)
    hit = np.zeros(count + 1, np.bool_)
    hit[objects[segments > 0]] = True
    known = truth == 0
    return SegmentErrors(
        false=int((false & present[1:]).sum()),
        missed=int(count - hit[1:].sum()),
        predicted=int(present[1:].sum()),
        objects=count,
        alarms=int((known & (segments > 0)).sum()),
        in_distribution=int(known.sum()),
    )


@dataclass(frozen=True)
class ComponentSizes:
    """Smallest components that count; smaller predictions vanish, smaller true ones become void.

    Attributes
    ----------
    predicted, truth : int
        Pixels.  SegmentMeIfYouCan uses 500 and 100 for the anomaly track, 50 and 10 for the
        obstacle track.
    """

    predicted: int = 0
    truth: int = 0


TRACKS = {
    "anomaly": ComponentSizes(500, 100),
    "obstacle": ComponentSizes(50, 10),
    "none": ComponentSizes(),
}
"""Size filters by name."""


@dataclass(frozen=True)
class ComponentMatches:
    """sIoU of true components, PPV of predicted ones, and the counts for F1; can be added.

    Attributes
    ----------
    hits, misses, false : ndarray of int64, shape (11,)
        TP, FN and FP at each of `TAUS`.
    siou_sum, ppv_sum : float
    truths, predictions : int
        Number of components.
    """

    hits: Counts = field(default_factory=lambda: np.zeros(len(TAUS), np.int64))
    misses: Counts = field(default_factory=lambda: np.zeros(len(TAUS), np.int64))
    false: Counts = field(default_factory=lambda: np.zeros(len(TAUS), np.int64))
    siou_sum: float = 0.0
    ppv_sum: float = 0.0
    truths: int = 0
    predictions: int = 0

    def __add__(self, other: ComponentMatches) -> ComponentMatches:
        return ComponentMatches(
            *(a + b for a, b in zip(_numbers(self), _numbers(other), strict=True))
        )

    @property
    def siou(self) -> float:
        """Mean sIoU over true components; NaN without any."""
        return self.siou_sum / self.truths if self.truths else float("nan")

    @property
    def ppv(self) -> float:
        """Mean PPV over predicted components; NaN without any."""
        return self.ppv_sum / self.predictions if self.predictions else float("nan")

    @property
    def f1(self) -> NDArray[np.float64]:
        """F1 at each of `TAUS`, shape (11,); NaN without any component."""
        whole = 2 * self.hits + self.misses + self.false
        ratio = np.full(len(TAUS), np.nan)
        np.divide(2 * self.hits, whole, out=ratio, where=whole > 0)
        return ratio

    @property
    def mean_f1(self) -> float:
        """Mean F1*, the average over `TAUS`."""
        return float(self.f1.mean())


def match_components(
    predicted: NDArray[np.bool_], truth: NDArray[np.uint8], sizes: ComponentSizes
) -> ComponentMatches:
    """Match the predicted components of one image with the true ones.

    Parameters
    ----------
    predicted : ndarray of bool, shape (h, w)
        Pixels predicted OoD.
    truth : ndarray of uint8, shape (h, w)
        0 in-distribution, 1 OoD, anything else void.
    sizes : ComponentSizes

    Returns
    -------
    ComponentMatches

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] R. Chan et al., "SegmentMeIfYouCan: A Benchmark for Anomaly Segmentation", NeurIPS 2021
       datasets track; a hit is sIoU >= tau, as in the benchmark's code.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"prediction and truth differ in shape: {predicted.shape} and {truth.shape}"
        )
    objects, void = _large_objects(truth, sizes.truth)
    segments = _large_segments(predicted & ~void, sizes.predicted)
    true_area = np.bincount(objects.ravel())
    area = np.bincount(segments.ravel(), minlength=1)
    overlap = _overlaps(segments, objects, len(area), len(true_area))
    siou = _siou(overlap, area[1:], true_area[1:])
    ppv = overlap.sum(1) / np.maximum(area[1:], 1)
    levels = np.array(TAUS)[:, None]
    hits = (siou[None] >= levels).sum(1)
    return ComponentMatches(
        hits,
        len(siou) - hits,
        (ppv[None] < levels).sum(1),
        float(siou.sum()),
        float(ppv.sum()),
        len(siou),
        len(ppv),
    )


def _large_objects(truth: NDArray[np.uint8], smallest: int) -> tuple[Segments, NDArray[np.bool_]]:
    """Return the true components, renumbered, and void including the small components."""
    objects, _ = components(truth == 1)
    kept = _keep_large(objects, smallest)
    return kept, (truth > 1) | ((objects > 0) & (kept == 0))


def _large_segments(mask: NDArray[np.bool_], smallest: int) -> Segments:
    return _keep_large(components(mask)[0], smallest)


def _keep_large(labels: Segments, smallest: int) -> Segments:
    """Return the components with at least `smallest` pixels, renumbered 1 .. n."""
    area = np.bincount(labels.ravel(), minlength=1)
    keep = area >= smallest
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(renumbered[labels])


def _overlaps(segments: Segments, objects: Segments, rows: int, columns: int) -> Counts:
    """Return the overlap of each predicted and true component in pixels, (n predicted, n true)."""
    both = (segments > 0) & (objects > 0)
    pairs, counts = np.unique(
        segments[both].astype(np.int64) * columns + objects[both], return_counts=True
    )
    table = np.zeros((rows - 1, columns - 1), np.int64)
    table[pairs // columns - 1, pairs % columns - 1] = counts
    return table


def _siou(overlap: Counts, area: Counts, true_area: Counts) -> NDArray[np.float64]:
    """Return ``|k n P| / (|k u P| - |A|)`` of each true component k.

    P is the union of the predicted components that touch k; A is the part of P in other true
    components.
    """
    touching = (overlap > 0).astype(np.int64)  # (predicted, true)
    inside = overlap.sum(0)
    covered = touching.T @ area
    in_others = touching.T @ overlap.sum(1) - inside
    return np.asarray(inside / np.maximum(true_area + covered - inside - in_others, 1))


def _numbers(value: Any) -> list[Any]:
    return [getattr(value, name) for name in value.__dataclass_fields__]
