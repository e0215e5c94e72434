"""The output folder of an evaluation: JSON, CSV, and one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import csv
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.evaluation.cases import Case, DataSet, truth_of
from owlabel.evaluation.charts import COLOURS, line_chart, violin_chart
from owlabel.evaluation.predictions import Predictions
from owlabel.evaluation.run import ScoreResult
from owlabel.formats.atomic_folder import MARKER, replacing, write_json
from owlabel.images import files as images

RESULTS, IMAGES, THRESHOLDS, PAGE = "evaluation.json", "images.csv", "thresholds.csv", "report.html"
_WIDTH = 350
_STYLE = """
body{font:14px/1.45 sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.6em 0}th,td{border-bottom:1px solid #ddd;padding:3px 10px;
text-align:right}th:first-child,td:first-child{text-align:left}th{background:#f4f4f4}
figure{margin:.8em 0}figcaption{color:#555}img{max-width:100%}.row{display:flex;flex-wrap:wrap;
gap:1em}.note{color:#555}.key{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
"""


def write(
    folder: Path,
    dataset: DataSet,
    results: Sequence[tuple[ScoreResult, Predictions]],
    about: dict[str, Any],
    overwrite: bool = False,
) -> None:
    """Write the folder, whole or not at all.

    Parameters
    ----------
    folder : Path
        Must not exist, unless `overwrite` and it is an earlier evaluation.
    dataset : DataSet
    results : sequence of (ScoreResult, Predictions)
    about : dict
        How it was made: plain values for the head of JSON and page.
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
    """Write rows of equal keys; what is not defined stays empty."""
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
    return f"'{text}" if isinstance(value, str) and text[:1] in "=+-@" else value  # no formula


def _page(
    dataset: DataSet,
    results: Sequence[tuple[ScoreResult, Predictions]],
    about: dict[str, Any],
    data: dict[str, Any],
) -> str:
    scores = [result for result, _ in results]
    body = [f"<h1>Evaluation: {escape(dataset.name)}</h1>", _head(about, data), _summary(scores)]
    body.append(_curves(scores))
    for result, predictions in results:
        body.append(_section(dataset, result, predictions))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>Evaluation: {escape(dataset.name)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _head(about: dict[str, Any], data: dict[str, Any]) -> str:
    share = data["ood_pixels"] / max(data["ood_pixels"] + data["in_distribution_pixels"], 1)
    lines = [
        f"{data['images']} images, {data['ood_pixels']:,} OoD and "
        f"{data['in_distribution_pixels']:,} in-distribution pixels ({100 * share:.2f} % OoD), "
        f"labels: {data['labels']}. Void is never counted.",
        *(f"{key}: {value}" for key, value in about.items() if value not in (None, [], "")),
    ]
    return '<p class="note">' + "<br>".join(escape(str(line)) for line in lines) + "</p>"


def _summary(scores: Sequence[ScoreResult]) -> str:
    rows = []
    for s in scores:
        mean = s.per_image
        rows.append(
            [
                s.score, *map(_percent, (s.pooled.auroc, s.pooled.ap, s.pooled.fpr95)),
                *map(_percent, (mean.auroc, mean.ap, mean.fpr95) if mean else (math.nan,) * 3),
                *map(_percent, (s.components["siou"], s.components["ppv"],
                                s.components["mean_f1"], s.closed_miou, s.open_miou)),
            ]
        )  # fmt: skip
    head = ["score", "AUROC", "AP", "FPR95", "AUROC image", "AP image", "FPR95 image", "sIoU",
            "PPV", "mean F1*", "mIoU", "open-mIoU"]  # fmt: skip
    note = (
        f"Percent. Pooled over all pixels; “image”: mean over images with both kinds of pixels. "
        f"FPR95 by the {scores[0].pooled.fpr_rule} rule. mIoU: known classes without an OoD output."
        if scores
        else ""
    )
    return f'<h2>Scores</h2>{_table(head, rows)}<p class="note">{escape(note)}</p>'


def _curves(scores: Sequence[ScoreResult]) -> str:
    named = [s for s in scores if s.roc.size]
    if not named:
        return '<p class="note">There are no pixels of both kinds: no curves.</p>'
    key = " ".join(
        f'<span class="key" style="background:{COLOURS[i % len(COLOURS)]}"></span>{escape(s.score)}'
        for i, s in enumerate(named)
    )
    roc = line_chart({s.score: s.roc for s in named}, ("false positive rate", "true positive rate"))
    pr = line_chart({s.score: s.pr for s in named}, ("recall", "precision"))
    return f'<h2>ROC and precision-recall</h2><p>{key}</p><div class="row">{roc}{pr}</div>'


def _section(dataset: DataSet, result: ScoreResult, predictions: Predictions) -> str:
    parts = [f"<h2>{escape(result.score)}</h2>"]
    chart = violin_chart(result.spreads, result.score)
    parts.append(
        f"<figure>{chart}<figcaption>Score by kind of pixel and by known class, after Chan et al. "
        "2020, Figure 3; box: quartiles, line: 5 to 95 %.</figcaption></figure>"
    )
    parts += [_thresholds(result), _components(result), _open_set(result)]
    if result.worst:
        parts.append("<h3>Worst images</h3>" + _legend(result))
    by_name = {case.name: case for case in dataset.cases}
    parts += [_worst(by_name[name], dataset, result, predictions) for name in result.worst]
    return "\n".join(parts)


def _thresholds(result: ScoreResult) -> str:
    rows = [
        [f"{r.t:.4g}", str(r.errors.false), str(r.errors.missed),
         str(r.errors.false + r.errors.missed), _percent(r.errors.epsilon), _percent(r.miou)]
        for r in result.rows
    ]  # fmt: skip
    note = (
        "Segments are 8-connected; FP: predicted without any OoD pixel; FN: OoD objects without "
        "any predicted pixel; ε: in-distribution pixels predicted OoD, in percent; mIoU: known "
        "classes with the extra OoD output. After Chan et al. 2020, Table 2."
    )
    table = _table(["t", "FP", "FN", "FP + FN", "ε", "mIoU"], rows)
    return f'<h3>Segments at thresholds</h3>{table}<p class="note">{note}</p>'


def _components(result: ScoreResult) -> str:
    c = result.components
    if not c["true_components"] and not c["predicted_components"]:
        return ""
    table = _table(
        ["τ", *c["f1"], "mean F1*"], [["F1", *map(_percent, c["f1"].values()),
                                        _percent(c["mean_f1"])]],
    )  # fmt: skip
    note = (
        f"At the best pixel-wise F1 ({_percent(c['best_pixel_f1'])} at {c['threshold']:.4g}); size "
        f"filter: {c['track']}; {c['true_components']} true and {c['predicted_components']} "
        f"predicted components; sIoU {_percent(c['siou'])}, PPV {_percent(c['ppv'])}."
    )
    return f'<h3>Components (SegmentMeIfYouCan)</h3>{table}<p class="note">{escape(note)}</p>'


def _open_set(result: ScoreResult) -> str:
    if math.isnan(result.open_miou):
        return '<p class="note">No open-mIoU: it needs class maps of all known classes.</p>'
    whence = (
        "from other data"
        if result.open_calibrated
        else "at 95 % recall on the same data, which flatters: calibrate on another split"
    )
    return (
        f"<p>open-mIoU {_percent(result.open_miou)} (closed {_percent(result.closed_miou)}), "
        f"threshold {result.levels.open_set:.4g}, {whence}.</p>"
    )


def _legend(result: ScoreResult) -> str:
    return (
        f'<p class="note">Largest share of wrong pixels at the threshold '
        f"{result.levels.best_f1:.4g}. Left: picture; middle: score; right: "
        '<span class="key" style="background:#00a000"></span>found '
        '<span class="key" style="background:#ff2020"></span>missed '
        '<span class="key" style="background:#2060ff"></span>false alarm, void dark.</p>'
    )


def _worst(case: Case, dataset: DataSet, result: ScoreResult, predictions: Predictions) -> str:
    ood, _ = truth_of(case, dataset.rule)
    score = predictions.read(case.name, (ood.shape[0], ood.shape[1]))
    picture = images.read(case.image) if case.image else np.full((*ood.shape, 3), 90, np.uint8)
    strip = np.concatenate(
        [_small(picture), _small(_heat(score)), _small(_errors(picture, score, ood, result))],
        axis=1,
    )
    coded = cv2.imencode(".png", strip[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    data = base64.b64encode(coded).decode("ascii")
    name = escape(case.name)
    return (
        f'<figure><img alt="{name}" src="data:image/png;base64,{data}">'
        f"<figcaption>{name}</figcaption></figure>"
    )


def _small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    area = cv2.INTER_AREA if width > _WIDTH else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=area), np.uint8)


def _heat(score: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = score[np.isfinite(score)]
    low, high = np.quantile(finite, [0.01, 0.999]) if finite.size else (0.0, 1.0)
    scaled = np.clip((np.nan_to_num(score, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    colours = cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(colours[:, :, ::-1], np.uint8)


def _errors(
    picture: NDArray[np.uint8],
    score: NDArray[np.float32],
    ood: NDArray[np.uint8],
    result: ScoreResult,
) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = (picture.mean(2) * 0.7 + 40).astype(np.uint8)[..., None]
    grey = np.repeat(grey, 3, axis=2)
    found = score >= result.levels.best_f1
    grey[ood > 1] //= 3
    grey[found & (ood == 1)] = (0, 160, 0)
    grey[~found & (ood == 1)] = (255, 32, 32)
    grey[found & (ood == 0)] = (32, 96, 255)
    return grey


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><tr>{top}</tr>{body}</table>"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"
