"""The output folder of an evaluation: JSON, CSV, and one self-contained HTML page."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from owlabel.evaluation.cases import DataSet
from owlabel.evaluation.charts import COLOURS, line_chart, violin_chart
from owlabel.evaluation.error_strips import strip_of
from owlabel.evaluation.predictions import Predictions
from owlabel.evaluation.run import ScoreResult, ThresholdRow
from owlabel.formats.atomic_folder import MARKER, replacing, write_json

RESULTS, IMAGES, THRESHOLDS, PAGE = "evaluation.json", "images.csv", "thresholds.csv", "report.html"
_TEMPLATE = "report.html.jinja"
_SUMMARY = ("score", "AUROC", "AP", "FPR95", "AUROC image", "AP image", "FPR95 image", "sIoU",
            "PPV", "mean F1*", "mIoU", "open-mIoU")  # fmt: skip


def write(
    folder: Path,
    dataset: DataSet,
    results: Sequence[tuple[ScoreResult, Predictions]],
    about: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write the folder, completely or not at all.

    Parameters
    ----------
    folder : Path
        Must not exist; with `overwrite` it may be an earlier evaluation.
    dataset : DataSet
    results : sequence of (ScoreResult, Predictions)
    about : dict
        Settings of the evaluation: plain values for the head of JSON and page.
    overwrite : bool

    Raises
    ------
    ValueError
        If the folder exists or cannot be written.
    """
    scores = [result for result, _ in results]
    content = {**about, "data": _data(dataset, scores), "scores": [s.to_json() for s in scores]}
    with replacing(folder, overwrite) as target:
        write_json(target / MARKER, {"format": "evaluation", "version": 1})
        write_json(target / RESULTS, content)
        _write_table(target / IMAGES, _image_rows(scores))
        _write_table(target / THRESHOLDS, _threshold_rows(scores))
        page = _page(dataset, results, about, content["data"])
        (target / PAGE).write_text(page, encoding="utf-8")


def _data(dataset: DataSet, scores: Sequence[ScoreResult]) -> dict[str, Any]:
    pooled = scores[0].pooled if scores else None
    return {
        "name": dataset.name,
        "images": len(dataset.cases),
        "labels": dataset.rule.title,
        "known_classes": list(dataset.rule.names),
        "ood_pixels": pooled.positives if pooled else 0,
        "in_distribution_pixels": pooled.negatives if pooled else 0,
    }


def _image_rows(scores: Sequence[ScoreResult]) -> Iterable[dict[str, Any]]:
    for score in scores:
        for row in score.images:
            r = row.result
            yield {
                "image": row.name, "score": score.score, "auroc": r.auroc, "ap": r.ap,
                "fpr95": r.fpr95, "ood_pixels": r.positives, "in_distribution_pixels": r.negatives,
            }  # fmt: skip


def _threshold_rows(scores: Sequence[ScoreResult]) -> Iterable[dict[str, Any]]:
    for score in scores:
        for row in score.to_json()["thresholds"]:
            yield {"score": score.score, **row}


def _write_table(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with the same keys as CSV; undefined values stay empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value)
    return (
        f"'{text}" if isinstance(value, str) and text[:1] in "=+-@" else value
    )  # a spreadsheet must not run it as a formula


def _page(
    dataset: DataSet,
    results: Sequence[tuple[ScoreResult, Predictions]],
    about: dict[str, Any],
    data: dict[str, Any],
) -> str:
    """Return the HTML page; Jinja escapes all text except the SVG from `charts`."""
    environment = Environment(
        loader=PackageLoader("owlabel.evaluation", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["percent"] = _percent
    scores = [result for result, _ in results]
    return environment.get_template(_TEMPLATE).render(
        data=data,
        about=about,
        summary={"head": _SUMMARY, "rows": [_summary_row(score) for score in scores]},
        curves=_curves(scores),
        scores=[_section(dataset, result, predictions) for result, predictions in results],
    )


def _summary_row(s: ScoreResult) -> list[str]:
    means = [s.pooled] if s.per_image is None else [s.pooled, s.per_image]
    values = [value for mean in means for value in (mean.auroc, mean.ap, mean.fpr95)]
    values += [math.nan] * (6 - len(values))
    values += [s.components[name] for name in ("siou", "ppv", "mean_f1")]
    return [s.score, *map(_percent, [*values, s.closed_miou, s.open_miou])]


def _curves(scores: Sequence[ScoreResult]) -> dict[str, Any] | None:
    """Return both charts and the colour of each score; None without OoD or known pixels."""
    drawn = [s for s in scores if s.roc.size]
    if not drawn:
        return None
    roc_titles = ("false positive rate", "true positive rate")
    return {
        "colours": [(s.score, COLOURS[i % len(COLOURS)]) for i, s in enumerate(drawn)],
        "roc": line_chart({s.score: s.roc for s in drawn}, roc_titles),
        "pr": line_chart({s.score: s.pr for s in drawn}, ("recall", "precision")),
    }


def _section(dataset: DataSet, result: ScoreResult, predictions: Predictions) -> dict[str, Any]:
    """Return the template values for one score."""
    cases = {case.name: case for case in dataset.cases}
    threshold = result.levels.best_f1
    return {
        "result": result,
        "violins": violin_chart(result.spreads, result.score),
        "thresholds": [_threshold_cells(row) for row in result.rows],
        "has_open_miou": not math.isnan(result.open_miou),
        "worst": [
            (name, strip_of(cases[name], dataset, predictions, threshold)) for name in result.worst
        ],
    }


def _threshold_cells(row: ThresholdRow) -> list[str]:
    false, missed = row.errors.false, row.errors.missed
    counts = [str(count) for count in (false, missed, false + missed)]
    return [f"{row.t:.4g}", *counts, _percent(row.errors.epsilon), _percent(row.miou)]


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"
