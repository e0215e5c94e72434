"""The CamVid results as one page of tables, made from the JSON files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.camvid.protocol import SETTINGS

HEAD = """# CamVid results

Made by `python -m experiments.camvid.main table` from the JSON files here, which name command,
commit and machine. Test frames, 480x360, pixels pooled over both drives unless said; IoU, AUROC, AP
and FPR95 in percent. The novel objects are in the base training images, unlabelled. See
[how to train](../howto/training.md).
"""


def page(folder: Path) -> str:
    """Return the page for all results that are in the folder."""
    parts = [HEAD]
    for setting in SETTINGS:
        parts.append(f"\n## {setting}")
        closed = _results(folder, setting, "closed_set")
        parts += _closed(closed) if closed else []
        anomaly = _results(folder, setting, "anomaly")
        parts += _anomaly(anomaly) if anomaly else []
        parts += _few_shot(folder, setting)
    return "\n".join(parts) + "\n"


def _results(folder: Path, setting: str, what: str) -> dict[str, Any]:
    path = folder / f"camvid_{setting}_{what}.json"
    if not path.exists():
        return {}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results


def _closed(results: Mapping[str, Any]) -> list[str]:
    rows = [
        [kind, *(_percent(drives[d]["miou"]) for d in drives)] for kind, drives in results.items()
    ]
    known = results["metric"]["together"]["iou"]
    classes = ", ".join(f"{name} {_percent(value)}" for name, value in known.items())
    drives = list(results["metric"])
    return [
        "\nmIoU of the known classes:\n",
        *_table(["model", *drives], rows),
        f"\nMetric model: {classes}.",
    ]


def _anomaly(results: Mapping[str, Any]) -> list[str]:
    rows = []
    for kind, drives in results.items():
        for score, values in drives["together"].items():
            apart = [_percent(drives[d][score]["auroc"]) for d in drives if d != "together"]
            numbers = [_percent(values[key]) for key in ("auroc", "ap", "fpr95")]
            rows.append([kind, score, *numbers, *apart])
    others = [f"AUROC {d}" for d in results["metric"] if d != "together"]
    return [
        "\nHeld-out pixels against known pixels:\n",
        *_table(["model", "score", "AUROC", "AP", "FPR95", *others], rows),
    ]


def _few_shot(folder: Path, setting: str) -> list[str]:
    """Return the rows of NPM, PLM, fine-tuning and the upper bound."""
    rows: list[list[str]] = []
    npm = _results(folder, setting, "npm")
    for count in ("5_shot", "1_shot") if npm else ():
        for value, row in npm["lambda"]["test"].items():
            chosen = ", chosen on val" if npm[f"chosen_on_val_{count}"]["lambda"] == value else ""
            rows.append(_mean_row(f"NPM, lambda {value}{chosen}", count, row[count]["mean"]))
    plm = _results(folder, setting, "plm")
    rows += [_mean_row("PLM", count, row["mean"]) for count, row in plm.items()]
    tuned = _results(folder, setting, "fine_tuning")
    if tuned:
        rows.append(_single_row("fine-tuning, seed 0", "5_shot", tuned["5_shot"]["seed 0"]))
    path = folder / "camvid_upper_bound.json"
    if path.exists():
        bound = json.loads(path.read_text(encoding="utf-8"))["results"][setting]
        rows.append(_single_row("all classes trained together", "", bound))
    if not rows:
        return []
    names = ["method", "shots", "mIoU", "old", "novel", "harmonic"]
    return ["\nNovel classes, mean (standard deviation) over three seeds:\n", *_table(names, rows)]


def _mean_row(name: str, count: str, mean: Mapping[str, Any]) -> list[str]:
    cells = [f"{_percent(v['mean'])} ({_percent(v['std'])})" for v in mean.values()]
    return [name, count[0], *cells]


def _single_row(name: str, count: str, drives: Mapping[str, Any]) -> list[str]:
    keys = ("miou", "miou_old", "miou_novel", "harmonic")
    return [name, count[:1], *(_percent(drives["together"][key]) for key in keys)]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
