"""Evaluates predictions against ground truth in two passes, with constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

from owlabel.evaluation.cases import DataSet, plain
from owlabel.evaluation.curves import Floats, Spread, precision_recall, roc, spreads
from owlabel.evaluation.passes import (
    FirstPass,
    ImageResult,
    Levels,
    SecondPass,
    best_f1_threshold,
    default_thresholds,
    recall_threshold,
)
from owlabel.evaluation.predictions import Predictions
from owlabel.evaluation.segments import TAUS, TRACKS, SegmentErrors
from owlabel.metrics import FprRule, OodResult, mean_ood

BOUNDED = tuple(k / 10 for k in range(1, 10))
"""Thresholds of the table for scores in 0 .. 1; the paper uses 0.1 .. 0.7."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Options:
    """Settings of an evaluation.

    Attributes
    ----------
    thresholds : tuple of float
        Thresholds t of the table; if empty, they are chosen from the scores.
    track : str
        Size filter of the component measures, a key of `TRACKS`.
    fpr_rule : {"first", "closest"}
        See `OodResult`.
    open_threshold : float or None
        Threshold of open-mIoU from a calibration split; None takes it from the same data.
    workers : int
        Number of processes.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    thresholds: tuple[float, ...] = ()
    track: str = "none"
    fpr_rule: FprRule = "first"
    open_threshold: float | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.track not in TRACKS:
            raise ValueError(f"track must be one of {', '.join(TRACKS)}, got {self.track!r}")
        if self.fpr_rule not in ("first", "closest"):
            raise ValueError(f'fpr_rule must be "first" or "closest", got {self.fpr_rule!r}')
        if any(not math.isfinite(t) for t in self.thresholds):
            raise ValueError(f"thresholds must be finite, got {list(self.thresholds)}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")


@dataclass(frozen=True)
class ThresholdRow:
    """One row of the t-table.

    Attributes
    ----------
    t : float
    errors : SegmentErrors
    miou : float
        mIoU of the known classes with OoD as an extra output; NaN without class maps.
    """

    t: float
    errors: SegmentErrors
    miou: float


@dataclass(frozen=True)
class ScoreResult:
    """All results for one score.

    Attributes
    ----------
    score : str
    pooled : OodResult
        Over all pixels, in 2^20 bins: AP is exact to about 1e-4, the others are closer.
    fpr95_closest : float
    per_image : OodResult or None
        Mean over images with OoD and in-distribution pixels; None without such images.
    images : list of ImageResult
    roc, pr : ndarray of float64, shape (2, n)
        FPR and TPR; recall and precision.
    spreads : dict of str to Spread
        "in-distribution", "OoD", then the known classes.
    levels : Levels
    rows : list of ThresholdRow
    components : dict
        sIoU, PPV, F1 at each tau, mean F1*.
    closed_miou, open_miou : float
        Without and with the OoD class, see `SecondPass.miou`.
    open_calibrated : bool
        Whether the threshold of open-mIoU comes from other data.
    recall_threshold : float
        Threshold at which 95 % of the OoD pixels are found: a calibration for another split.
    worst : list of str
        Images with the largest share of wrong pixels at the best pixel-wise F1, worst first.
    """

    score: str
    pooled: OodResult
    fpr95_closest: float
    per_image: OodResult | None
    images: list[ImageResult]
    roc: Floats
    pr: Floats
    spreads: dict[str, Spread]
    levels: Levels
    rows: list[ThresholdRow]
    components: dict[str, Any]
    closed_miou: float
    open_miou: float
    open_calibrated: bool
    recall_threshold: float
    worst: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; undefined ones are None."""
        return dict(
            plain(
                {
                    "score": self.score,
                    "pooled": vars(self.pooled),
                    "fpr95_closest": self.fpr95_closest,
                    "per_image": None if self.per_image is None else vars(self.per_image),
                    "images_with_both": sum(
                        1 for r in self.images if r.result.positives and r.result.negatives
                    ),
                    "thresholds": [_row_json(row) for row in self.rows],
                    "components": self.components,
                    "closed_miou": self.closed_miou,
                    "open_miou": self.open_miou,
                    "open_threshold": self.levels.open_set,
                    "open_threshold_from_other_data": self.open_calibrated,
                    "recall_95_threshold": self.recall_threshold,
                    "quantiles_5_25_50_75_95": {k: s.quantiles for k, s in self.spreads.items()},
                    "worst": self.worst,
                }
            )
        )


def evaluate(
    dataset: DataSet,
    predictions: Predictions,
    options: Options,
    progress: Progress = lambda *_: None,
) -> ScoreResult:
    """Measure one score on a data set.

    Parameters
    ----------
    dataset : DataSet
        Already checked with `owlabel.evaluation.cases.check`.
    predictions : Predictions
    options : Options
    progress : callable
        Called with the name of the pass, the images done and the number of images.

    Raises
    ------
    ValueError
        If a file cannot be read or a counted score is NaN.
    """
    names = dataset.rule.names
    first: FirstPass = _run_pass(
        _Pass("first pass", partial(FirstPass.empty, len(names)), options.fpr_rule),
        dataset, predictions, options.workers, progress,
    )  # fmt: skip
    levels = _levels(first, options)
    second: SecondPass = _run_pass(
        _Pass("second pass", partial(SecondPass.empty, len(names), levels), levels),
        dataset, predictions, options.workers, progress,
    )  # fmt: skip

    def miou(threshold: float | None, open_set: bool = False) -> float:
        if not names or not predictions.classes or threshold not in (None, *levels.all):
            return math.nan
        level = None if threshold is None else levels.all.index(threshold)
        return second.miou(level, open_set)

    return ScoreResult(
        score=predictions.score,
        pooled=first.pixels.result(options.fpr_rule),
        fpr95_closest=first.pixels.result("closest").fpr95,
        per_image=_mean(first.images),
        images=first.images,
        roc=roc(first.pixels),
        pr=precision_recall(first.pixels),
        spreads=spreads(first.pixels, dict(zip(names, first.by_class, strict=True))),
        levels=levels,
        rows=[
            ThresholdRow(t, errors, miou(t))
            for t, errors in zip(levels.table, second.errors, strict=True)
        ],
        components=_components(first, second, levels, options),
        closed_miou=miou(None),
        open_miou=miou(levels.open_set, open_set=True),
        open_calibrated=options.open_threshold is not None,
        recall_threshold=recall_threshold(first.pixels),
        worst=[dataset.cases[-place].name for _, place in second.worst],
    )


@dataclass(frozen=True)
class _Pass:
    """One pass over the images; a plain value that can be sent to another process.

    Attributes
    ----------
    name : str
        Name in the progress line.
    empty : callable
        Returns a `FirstPass` or `SecondPass` before the first image.
    setting : FprRule or Levels
        Last argument of its `update`.
    """

    name: str
    empty: Callable[[], Any]
    setting: Any

    def run(
        self,
        dataset: DataSet,
        predictions: Predictions,
        places: Sequence[int],
        step: Callable[[int], None] = lambda _: None,
    ) -> Any:
        """Count the images at these indices; call `step` with the number of images done."""
        total = self.empty()
        for done, place in enumerate(places, 1):
            case = dataset.cases[place]
            total.update(place, case, predictions, dataset.rule, self.setting)
            step(done)
        return total


def _run_pass(
    image_pass: _Pass, dataset: DataSet, predictions: Predictions, workers: int, progress: Progress
) -> Any:
    """Run a pass in this process, or in several processes and add their counts."""
    count = len(dataset.cases)
    if workers == 1:
        return image_pass.run(
            dataset, predictions, range(count), lambda done: progress(image_pass.name, done, count)
        )
    shares = [range(i, count, workers) for i in range(min(workers, count))]
    run = partial(image_pass.run, dataset, predictions)
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        total, done = image_pass.empty(), 0
        for share, counts in zip(shares, pool.map(run, shares), strict=True):
            total, done = total + counts, done + len(share)
            progress(image_pass.name, done, count)
    return total


def _levels(first: FirstPass, options: Options) -> Levels:
    table = options.thresholds or default_thresholds(first.pixels, BOUNDED)
    given = options.open_threshold
    return Levels(
        tuple(sorted(set(table))),
        best_f1_threshold(first.pixels)[0],
        recall_threshold(first.pixels) if given is None else given,
        TRACKS[options.track],
    )


def _mean(images: Sequence[ImageResult]) -> OodResult | None:
    both = [row.result for row in images if row.result.positives and row.result.negatives]
    return mean_ood(both) if both else None


def _components(
    first: FirstPass, second: SecondPass, levels: Levels, options: Options
) -> dict[str, Any]:
    matches = second.matches
    return {
        "threshold": levels.best_f1,
        "best_pixel_f1": best_f1_threshold(first.pixels)[1],
        "track": options.track,
        "siou": matches.siou,
        "ppv": matches.ppv,
        "mean_f1": matches.mean_f1,
        "f1": {f"{tau:.2f}": float(f1) for tau, f1 in zip(TAUS, matches.f1, strict=True)},
        "true_components": matches.truths,
        "predicted_components": matches.predictions,
    }


def _row_json(row: ThresholdRow) -> dict[str, Any]:
    errors = row.errors
    return {
        "t": row.t,
        "fp": errors.false,
        "fn": errors.missed,
        "sum": errors.false + errors.missed,
        "epsilon": errors.epsilon,
        "predicted": errors.predicted,
        "objects": errors.objects,
        "miou": row.miou,
    }
