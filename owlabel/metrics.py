"""Quality measures: IoU of labels, and AUROC, AP and FPR95 of anomaly scores.

All measures are streaming and mergeable: pixels may come image by image and from several processes.
Void pixels are not counted.  Ratios are float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owlabel.arrays.quantile_histogram import OrderedHistogram
from owlabel.classes import MAX_CLASSES, VOID

Counts = NDArray[np.int64]
FprRule = Literal["first", "closest"]
_CHUNK = 1 << 22  # negatives that are sorted together


class ConfusionMatrix:
    """Counts of pixels by true and by predicted class.

    Parameters
    ----------
    n : int
        Number of classes; ids are 0 .. n - 1.  1 <= n <= 253.

    Attributes
    ----------
    counts : ndarray of int64, shape (n, n + 1)
        Rows are true classes, columns are predicted classes.  The last column holds pixels without
        a predicted class (253 .. 255).  They count as errors of the true class only.

    Raises
    ------
    ValueError
        If n is out of range.
    """

    def __init__(self, n: int) -> None:
        if not 1 <= n <= MAX_CLASSES:
            raise ValueError(f"n must lie in 1 .. {MAX_CLASSES}, got {n}")
        self.counts: Counts = np.zeros((n, n + 1), np.int64)

    def update(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Count the pixels of one image.

        Parameters
        ----------
        truth, prediction : ndarray of int, same shape
            Class ids.  Pixels whose truth is VOID, OOD_PROXY or UNSET are skipped.

        Raises
        ------
        ValueError
            If the shapes differ or an id is neither below n nor one of 253 .. 255.
        """
        if truth.shape != prediction.shape:
            raise ValueError(
                f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}"
            )
        n = len(self.counts)
        known = (truth < MAX_CLASSES) | (truth > VOID)
        row = truth[known].astype(np.intp)
        column = prediction[known].astype(np.intp)
        column[(column >= MAX_CLASSES) & (column <= VOID)] = n
        for ids, largest in ((row, n - 1), (column, n)):
            if ids.size and (ids.min() < 0 or ids.max() > largest):
                raise ValueError(f"class ids must lie in 0 .. {n - 1}, got {_range(ids)}")
        pairs = np.bincount(row * (n + 1) + column, minlength=self.counts.size)
        self.counts += pairs.reshape(self.counts.shape)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if len(other.counts) != len(self.counts):
            raise ValueError(
                f"cannot add confusion matrices of {len(self.counts)} and {len(other.counts)} "
                "classes"
            )
        total = ConfusionMatrix(len(self.counts))
        total.counts = self.counts + other.counts
        return total

    def iou(self) -> NDArray[np.float64]:
        """Return the intersection over union of each class, shape (n,); NaN if it is absent."""
        square = self.counts[:, :-1]
        hit = np.diagonal(square)
        union = self.counts.sum(1) + square.sum(0) - hit
        iou = np.full(len(hit), np.nan)
        np.divide(hit, union, out=iou, where=union > 0)
        return iou

    def miou(self, classes: Sequence[int] | None = None) -> float:
        """Return the mean IoU over the given classes (all by default); NaN is skipped.

        Raises
        ------
        ValueError
            If a class id is not below n.
        """
        iou = self.iou()
        if classes is not None and any(not 0 <= c < len(iou) for c in classes):
            raise ValueError(f"class ids must lie in 0 .. {len(iou) - 1}, got {list(classes)}")
        chosen = iou if classes is None else iou[list(classes)]
        chosen = chosen[~np.isnan(chosen)]
        return float(chosen.mean()) if chosen.size else math.nan

    def harmonic(self, old: Sequence[int], novel: Sequence[int]) -> float:
        """Return the harmonic mean of the mIoU over the old and over the novel classes."""
        return harmonic(self.miou(old), self.miou(novel))


def harmonic(old: float, novel: float) -> float:
    """Return ``2ab / (a + b)``: 0 if either is 0, NaN if either is NaN.

    Raises
    ------
    ValueError
        If a value is negative.
    """
    if old < 0 or novel < 0:
        raise ValueError(f"mIoU cannot be negative, got {old} and {novel}")
    return 0.0 if old == 0 or novel == 0 else 2 * old * novel / (old + novel)


@dataclass(frozen=True)
class OodResult:
    """How well a score separates out-of-distribution (positive) from in-distribution pixels.

    Attributes
    ----------
    auroc : float
        Area under TPR over FPR; tied pixels count half.
    ap : float
        Average precision, ``sum (R_n - R_{n-1}) P_n`` over distinct thresholds (step rule).
    fpr95 : float
        False positive rate where the true positive rate reaches 0.95.
    positives, negatives : int
        Counted pixels.  If either is 0, the three measures are NaN.
    fpr_rule : {"first", "closest"}
        Threshold of fpr95: the first one from above with TPR >= 0.95, or the one whose TPR is
        closest to 0.95.
    """

    auroc: float
    ap: float
    fpr95: float
    positives: int
    negatives: int
    fpr_rule: FprRule = "first"


def exact_ood(scores: ArrayLike, labels: ArrayLike, fpr_rule: FprRule = "first") -> OodResult:
    """Measure a score exactly, by sorting positives and negatives separately.

    Parameters
    ----------
    scores : array of float, any shape
        Higher is more anomalous; infinities are allowed.
    labels : array, same shape
        1 or True is out-of-distribution, 0 or False is in-distribution, other values are void.
    fpr_rule : {"first", "closest"}
        See `OodResult`.

    Returns
    -------
    OodResult

    Raises
    ------
    ValueError
        If the shapes differ or a counted score is NaN.
    """
    positive, negative = _split(scores, labels)
    values, gain = np.unique(positive, return_counts=True)
    values, gain = values[::-1], gain[::-1].astype(np.int64)
    negative.sort()
    at_least = negative.size - np.searchsorted(negative, values, "left")
    above = negative.size - np.searchsorted(negative, values, "right")
    return _measure(gain, at_least, above, negative.size, fpr_rule)


class PixelOod:
    """Measure a score over a stream of pixels, pooled, in constant memory (16 MB).

    Scores are counted in the bins of `OrderedHistogram`.  The measures are exact for float16 scores
    and accurate to about 1e-4 in AP for float32 scores.

    Attributes
    ----------
    negative, positive : OrderedHistogram
        Scores of in-distribution and of out-of-distribution pixels.
    """

    def __init__(self) -> None:
        self.negative, self.positive = OrderedHistogram(), OrderedHistogram()

    def update(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Count the pixels of one image; arguments and errors as in `exact_ood`."""
        positive, negative = _split(scores, labels)
        self.positive.update(positive)
        self.negative.update(negative)

    def __add__(self, other: PixelOod) -> PixelOod:
        total = PixelOod()
        total.negative = self.negative + other.negative
        total.positive = self.positive + other.positive
        return total

    def result(self, fpr_rule: FprRule = "first") -> OodResult:
        """Return the measures of all pixels so far."""
        negative, positive = self.negative.counts[::-1], self.positive.counts[::-1]  # descending
        at_least = np.cumsum(negative)
        filled = np.flatnonzero(positive)
        strictly = at_least[filled] - negative[filled]
        total = int(at_least[-1])
        return _measure(positive[filled], at_least[filled], strictly, total, fpr_rule)


class ExactPixelOod:
    """Measure a score exactly over a stream that is read twice; only positives stay in memory.

    All three measures depend only on how many negatives lie between successive positives.  So
    collect the positives first, then count the negatives against them.

    Parameters
    ----------
    positives : array of float
        Scores of all out-of-distribution pixels of the data set, see `ood_scores`.

    Raises
    ------
    ValueError
        If a score is NaN.
    """

    def __init__(self, positives: ArrayLike) -> None:
        scores = np.asarray(positives).ravel()
        _refuse_nan(scores)
        self.values, self.gain = np.unique(scores, return_counts=True)  # ascending
        self._below: Counts = np.zeros(self.values.size, np.int64)  # negatives below each value
        self._up_to: Counts = np.zeros(self.values.size, np.int64)  # negatives not above it
        self._waiting: list[NDArray[Any]] = []  # negatives not yet sorted and counted
        self.negatives = 0

    def update(self, scores: ArrayLike, labels: ArrayLike) -> None:
        """Count the in-distribution pixels of one image; arguments and errors as `exact_ood`."""
        negative = _chosen(scores, labels, 0)
        self.negatives += negative.size
        for start in range(0, negative.size, _CHUNK):
            self._waiting.append(negative[start : start + _CHUNK])
            if sum(waiting.size for waiting in self._waiting) >= _CHUNK:
                self._count()

    def _count(self) -> None:
        """Count the waiting negatives between the positives."""
        if not self._waiting:
            return
        chunk = np.concatenate(self._waiting)
        self._waiting.clear()
        chunk.sort()
        first = np.searchsorted(chunk, self.values, "left")
        self._below += first
        self._up_to += first
        tied = np.flatnonzero(chunk[np.minimum(first, chunk.size - 1)] == self.values)
        self._up_to[tied] += np.searchsorted(chunk, self.values[tied], "right") - first[tied]

    def __add__(self, other: ExactPixelOod) -> ExactPixelOod:
        if not np.array_equal(self.values, other.values) or (self.gain != other.gain).any():
            raise ValueError("cannot add counts against different positives")
        self._count()
        other._count()
        total = ExactPixelOod(np.empty(0, np.float32))
        total.values, total.gain = self.values, self.gain
        total._below, total._up_to = self._below + other._below, self._up_to + other._up_to
        total.negatives = self.negatives + other.negatives
        return total

    def result(self, fpr_rule: FprRule = "first") -> OodResult:
        """Return the measures of all pixels so far."""
        self._count()
        at_least, above = self.negatives - self._below[::-1], self.negatives - self._up_to[::-1]
        return _measure(self.gain[::-1], at_least, above, self.negatives, fpr_rule)


def ood_scores(scores: ArrayLike, labels: ArrayLike) -> NDArray[Any]:
    """Return the scores of the out-of-distribution pixels of one image, 1-D."""
    return _chosen(scores, labels, 1)


def mean_ood(results: Iterable[OodResult]) -> OodResult:
    """Return the mean over images that hold both kinds of pixels (per-image protocol of DMLNet).

    Raises
    ------
    ValueError
        If there are no such images, or their FPR rules differ.
    """
    both = [r for r in results if r.positives and r.negatives]
    rules = {r.fpr_rule for r in both}
    if len(rules) != 1:
        raise ValueError(
            f"the mean needs images that hold both kinds of pixels, under one FPR rule, "
            f"got {len(both)} images and the rules {rules}"
        )
    means = [float(np.mean([getattr(r, n) for r in both])) for n in ("auroc", "ap", "fpr95")]
    pixels = sum(r.positives for r in both), sum(r.negatives for r in both)
    return OodResult(means[0], means[1], means[2], *pixels, rules.pop())


def _measure(
    gain: Counts, at_least: Counts, above: Counts, negatives: int, fpr_rule: FprRule
) -> OodResult:
    """Combine the counts at each distinct positive score, from the highest down.

    Parameters
    ----------
    gain : number of positives with this score; recall changes only here.
    at_least, above : number of negatives with at least this score, and with a higher score.
    negatives : number of all negatives.
    fpr_rule : see `OodResult`.
    """
    if fpr_rule not in ("first", "closest"):
        raise ValueError(f'fpr_rule must be "first" or "closest", got {fpr_rule!r}')
    positives = int(gain.sum())
    if not positives or not negatives:
        return OodResult(math.nan, math.nan, math.nan, positives, negatives, fpr_rule)
    hits = np.cumsum(gain)
    below = negatives - (at_least + above) / 2  # tied pairs count one half
    auroc = float((gain * below).sum() / positives / negatives)
    ap = float((gain * (hits / (hits + at_least))).sum() / positives)
    if fpr_rule == "first":
        place = int(np.argmax(20 * hits >= 19 * positives))
    else:
        place = int(np.argmin(np.abs(20 * hits - 19 * positives)))
    return OodResult(auroc, ap, int(at_least[place]) / negatives, positives, negatives, fpr_rule)


def _split(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the scores of positives and of negatives as new 1-D arrays."""
    return _chosen(scores, labels, 1), _chosen(scores, labels, 0)


def _chosen(scores: ArrayLike, labels: ArrayLike, label: int) -> NDArray[Any]:
    values, truth = np.asarray(scores), np.asarray(labels)
    if values.shape != truth.shape:
        raise ValueError(f"scores and labels differ in shape: {values.shape} and {truth.shape}")
    chosen: NDArray[Any] = values[truth == label]
    _refuse_nan(chosen)
    return chosen


def _refuse_nan(values: NDArray[Any]) -> None:
    if np.isnan(values).any():
        raise ValueError(f"scores must be numbers, got {int(np.isnan(values).sum())} NaN")


def _range(ids: NDArray[Any]) -> str:
    return f"{ids.min()} .. {ids.max()}"
