"""The counts of the two passes over the images; they add up over images and workers.

The first pass counts scores and gives the thresholds that the second pass applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.quantile_histogram import OrderedHistogram, bin_floors
from owlabel.classes import VOID
from owlabel.evaluation.cases import Case, LabelRule, truth_of
from owlabel.evaluation.predictions import Predictions
from owlabel.evaluation.segments import (
    ComponentMatches,
    ComponentSizes,
    SegmentErrors,
    match_components,
    predicted_segments,
    segment_errors,
)
from owlabel.metrics import FprRule, OodResult, PixelOod, exact_ood

Counts = NDArray[np.int64]
KEPT = 6
"""Number of worst images in the report."""
_PICTURE_BITS = 18


@dataclass(frozen=True)
class ImageResult:
    """The measures of one image alone."""

    place: int
    name: str
    result: OodResult


@dataclass
class FirstPass:
    """Histograms of the scores: pooled, by class and by image.

    Attributes
    ----------
    pixels : PixelOod
    by_class : list of OrderedHistogram
        Scores of the pixels of each known class, in coarse bins.
    images : list of ImageResult
    """

    pixels: PixelOod
    by_class: list[OrderedHistogram]
    images: list[ImageResult] = field(default_factory=list)

    @classmethod
    def empty(cls, classes: int) -> FirstPass:
        """Return the counts before the first image."""
        return cls(PixelOod(), [OrderedHistogram(_PICTURE_BITS) for _ in range(classes)])

    def update(
        self, place: int, case: Case, predictions: Predictions, rule: LabelRule, fpr_rule: FprRule
    ) -> None:
        """Count one image; raises ValueError with its file if a counted score is NaN."""
        ood, classes = truth_of(case, rule)
        score = predictions.read(case.name, (ood.shape[0], ood.shape[1]))
        try:
            self.pixels.update(score, ood)
            result = exact_ood(score, ood, fpr_rule)
        except ValueError as error:
            raise ValueError(f"{predictions.maps[case.name]}: {error}") from error
        for index, histogram in enumerate(self.by_class):
            histogram.update(score[(classes == index) & (ood == 0)])
        self.images.append(ImageResult(place, case.name, result))

    def __add__(self, other: FirstPass) -> FirstPass:
        return FirstPass(
            self.pixels + other.pixels,
            [a + b for a, b in zip(self.by_class, other.by_class, strict=True)],
            sorted(self.images + other.images, key=lambda row: row.place),
        )


@dataclass(frozen=True)
class Levels:
    """The thresholds of the second pass.

    Attributes
    ----------
    table : tuple of float
        Thresholds t of the table, rising; a pixel is predicted OoD if its score is at least t.
    best_f1 : float
        The threshold of the best pixel-wise F1; NaN without OoD pixels.
    open_set : float
        The threshold of open-mIoU; NaN if there is none.
    sizes : ComponentSizes
    """

    table: tuple[float, ...]
    best_f1: float
    open_set: float
    sizes: ComponentSizes

    @property
    def all(self) -> tuple[float, ...]:
        """The thresholds of the table and of open-mIoU, rising."""
        return tuple(sorted({*self.table, *([] if math.isnan(self.open_set) else [self.open_set])}))


@dataclass
class SecondPass:
    """Errors at thresholds.

    Attributes
    ----------
    classes : ndarray of int64, shape (N + 1, N + 1, L + 1)
        Pixel counts by true class (N for OoD), by predicted class (N for none), and by the number
        of thresholds, 0 .. L, that the score reaches.
    errors : tuple of SegmentErrors
        One per threshold of the table.
    matches : ComponentMatches
        At the threshold of the best pixel-wise F1.
    worst : list of tuple
        (share of wrong pixels, -place) of the worst images, worst first.
    """

    classes: Counts
    errors: tuple[SegmentErrors, ...]
    matches: ComponentMatches = field(default_factory=ComponentMatches)
    worst: list[tuple[float, int]] = field(default_factory=list)

    @classmethod
    def empty(cls, classes: int, levels: Levels) -> SecondPass:
        """Return the counts before the first image."""
        shape = (classes + 1, classes + 1, len(levels.all) + 1)
        return cls(np.zeros(shape, np.int64), (SegmentErrors(),) * len(levels.table))

    def update(
        self, place: int, case: Case, predictions: Predictions, rule: LabelRule, levels: Levels
    ) -> None:
        """Count one image."""
        ood, classes = truth_of(case, rule)
        shape = (ood.shape[0], ood.shape[1])
        score = predictions.read(case.name, shape)
        predicted = predictions.read_classes(case.name, shape)
        if predicted is not None:
            self._count_classes(score, ood, classes, predicted, levels)
        self.errors = tuple(
            total + segment_errors(predicted_segments(score, ood, t)[0], ood)
            for total, t in zip(self.errors, levels.table, strict=True)
        )
        if not math.isnan(levels.best_f1):
            alarm = score >= levels.best_f1
            self.matches = self.matches + match_components(alarm, ood, levels.sizes)
            counted = ood <= 1
            wrong = int((alarm != (ood == 1))[counted].sum()) / max(int(counted.sum()), 1)
            self.worst = sorted([*self.worst, (wrong, -place)], reverse=True)[:KEPT]

    def _count_classes(
        self,
        score: NDArray[np.float32],
        ood: NDArray[np.uint8],
        classes: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        levels: Levels,
    ) -> None:
        n = len(self.classes) - 1
        counted = (ood == 1) | ((ood == 0) & (classes != VOID))
        truth = np.where(ood == 1, n, classes)[counted].astype(np.intp)
        column = np.where(predicted == VOID, n, predicted)[counted]
        # compare in float32, as `score >= t` does
        reached = np.searchsorted(np.array(levels.all, np.float32), score[counted], "right")
        flat = (truth * (n + 1) + column) * self.classes.shape[2] + reached
        self.classes += np.bincount(flat, minlength=self.classes.size).reshape(self.classes.shape)

    def __add__(self, other: SecondPass) -> SecondPass:
        return SecondPass(
            self.classes + other.classes,
            tuple(a + b for a, b in zip(self.errors, other.errors, strict=True)),
            self.matches + other.matches,
            sorted(self.worst + other.worst, reverse=True)[:KEPT],
        )

    def miou(self, level: int | None, open_set: bool) -> float:
        """Return the mIoU over the known classes; an OoD prediction is a miss of the true class.

        Parameters
        ----------
        level : int or None
            Index of the threshold in `Levels.all`; None predicts nothing as OoD.
        open_set : bool
            Count OoD pixels predicted as a known class as false positives of it (open-mIoU);
            otherwise they are void.
        """
        n = len(self.classes) - 1
        end = self.classes.shape[2] if level is None else level + 1
        known = self.classes[:, :, :end].sum(2)  # (truth, predicted) of pixels not predicted OoD
        rows = n + 1 if open_set else n
        hit = np.diagonal(known)[:n]
        union = self.classes[:n].sum((1, 2)) + known[:rows, :n].sum(0) - hit
        iou = hit[union > 0] / union[union > 0]
        return float(iou.mean()) if iou.size else math.nan


def best_f1_threshold(pixels: PixelOod) -> tuple[float, float]:
    """Return the threshold with the best pixel-wise F1, and this F1; NaN without OoD pixels."""
    hits = np.cumsum(pixels.positive.counts[::-1])[::-1]
    alarms = np.cumsum(pixels.negative.counts[::-1])[::-1]
    if not hits[0]:
        return math.nan, math.nan
    f1 = 2 * hits / (hits[0] + hits + alarms)  # 2 TP / (2 TP + FN + FP)
    best = int(np.flatnonzero(f1 == f1.max())[-1])
    return float(bin_floors()[best]), float(f1[best])


def recall_threshold(pixels: PixelOod, recall: float = 0.95) -> float:
    """Return the largest threshold with this recall of OoD pixels; NaN without OoD pixels."""
    hits = np.cumsum(pixels.positive.counts[::-1])[::-1]
    if not hits[0]:
        return math.nan
    reached = np.flatnonzero(hits >= recall * hits[0] * (1 - 1e-12))
    return float(bin_floors()[reached[-1]])


def default_thresholds(pixels: PixelOod, bounded: Sequence[float]) -> tuple[float, ...]:
    """Return thresholds for the table: `bounded` if all scores lie in 0 .. 1.

    Other scores get the thresholds at which 10, 5, 2, 1, 0.5, 0.2 and 0.1 % of the in-distribution
    pixels are predicted OoD.
    """
    both = pixels.negative + pixels.positive
    filled = np.flatnonzero(both.counts)
    if not filled.size or (both.values[filled[0]] >= 0 and both.values[filled[-1]] <= 1):
        return tuple(bounded)
    source = pixels.negative if pixels.negative.total else pixels.positive
    shares = 1 - np.array([0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
    return tuple(sorted({float(v) for v in source.quantile(shares) if np.isfinite(v)}))
