"""The tables of OoD training in Markdown, from the JSON files of its experiments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PLACES = {
    "pasted": "unseen pasted objects",
    "road_anomaly21": "road_anomaly21",
    "road_obstacle21": "road_obstacle21",
}
MEASURES = ("ap", "auroc", "fpr95")


def page(folder: Path) -> str:
    """Return the page for what is there; a part without a file is left out."""
    parts = [
        "# OoD training on CamVid",
        "Made by `python -m experiments.methods.ood_training table`. Percent; mean over "
        "seeds (± standard deviation where there are more than one). Better is a higher AP and "
        "AUROC, and a lower FPR95.",
    ]
    for name, make in (
        ("entropy", _entropy), ("lambda", _lambda), ("rpl", _rpl), ("ablation", _ablation)
    ):  # fmt: skip
        path = folder / f"ood_training_{name}.json"
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            parts += [*make(content["results"]), _source(content)]
    return "\n\n".join(parts) + "\n"


def _source(content: Mapping[str, Any]) -> str:
    budget = content["results"]["budget"]
    return (
        f"`{content['command']}`: {budget['steps']} steps of {budget['batch']} crops of "
        f"{budget['crop'][0]} x {budget['crop'][1]} a run, {len(budget['seeds'])} seed(s), "
        f"{budget.get('minutes', content['minutes'])} minutes on "
        f"{content['machine']}, commit {content['commit'][:10]}. {content['note']}."
    )


def _entropy(results: Mapping[str, Any]) -> list[str]:
    runs = list(results["seeds"].values())
    rows = []
    for place in _places(results["before"]):
        for score in results["before"][place]:
            rows.append(
                [PLACES[place], score, "before", *_cells([results["before"]], place, score)]
            )
            rows.append([PLACES[place], score, "after", *_cells(runs, place, score)])
    first, after = results["before"]["miou"], spread([run["miou"] for run in runs])
    gains = [run["pasted"]["entropy"]["ap"] for run in runs]
    gain = np.mean(gains) / results["before"]["pasted"]["entropy"]["ap"] - 1
    return [
        "## Entropy maximisation",
        markdown(["test", "score", "", "AP", "AUROC", "FPR95"], rows),
        f"Closed-set mIoU {100 * first:.1f} before, {after} after. AP of the entropy on unseen "
        f"pasted objects changes by {100 * gain:+.0f} % (paper: +66 % on LostAndFound at less than "
        "one point of mIoU).",
        "### Course of training, first seed (validation)",
        _course(runs[0]),
    ]


def _lambda(results: Mapping[str, Any]) -> list[str]:
    rows, first = [], results["before"]
    rows.append(["before", "", "", "", "", *_cells([first], "pasted", "entropy"),
                 spread([first["miou"]])])  # fmt: skip
    allowed: dict[str, float] = {}
    for name, runs in results["lambda"].items():
        found = list(runs.values())
        val = [run["course"][run["kept"]] for run in found]
        refused = sum(run["kept"] == 0 for run in found)
        if not refused:
            allowed[name] = float(np.mean([row["ap"] for row in val]))
        told = [spread([row[key] for row in val]) for key in ("ap", "miou")]
        if refused:
            told = [f"refused ({refused} of {len(found)})", ""]
        cells = _cells(found, "pasted", "entropy")
        rows.append([*name.split(), *told, *cells, spread([run["miou"] for run in found])])
    chosen = max(allowed, key=lambda name: allowed[name]) if allowed else "none"
    return [
        "## Lambda and rate",
        markdown(["averaging", "lambda", "rate", "val AP", "val mIoU", "AP", "AUROC", "FPR95",
                  "closed-set mIoU"], rows),
        "Entropy on pasted objects; the last four on the test frames, which choose nothing. "
        "Refused: no epoch kept the validation mIoU within 2 points; its last epoch is measured. "
        f"Chosen by the validation AP: {chosen}.",
    ]  # fmt: skip


def _rpl(results: Mapping[str, Any]) -> list[str]:
    rows = []
    for place in _places(results["before"]):
        first = _cells([results["before"]], place, "energy")
        rows.append([PLACES[place], "energy, before", *first])
        for name, runs in results["methods"].items():
            rows.append([PLACES[place], name, *_cells(runs.values(), place, "rpl_energy")])
    everything = [run for runs in results["methods"].values() for run in runs.values()]
    same = all(run["class_map_identical"] for run in everything)
    last = list(results["methods"])[-1]
    return [
        "## RPL",
        markdown(["test", "method", "AP", "AUROC", "FPR95"], rows),
        f"Class maps before and after bit-identical in all runs: {'yes' if same else 'NO'}.",
        f"### Course of {last}, first seed (validation)",
        _course(next(iter(results["methods"][last].values()))),
    ]


def _ablation(results: Mapping[str, Any]) -> list[str]:
    runs = {tuple(name.split()): found for name, found in results["ablation"].items()}
    if ("contexts", "both") in runs:  # the default of both tables
        runs[("projector", "one")] = runs[("contexts", "both")]
    parts = []
    for key, title in (("contexts", "Anchors and contrast"), ("projector", "Projector")):
        rows = [
            [value, *_cells(found.values(), "pasted", "rpl_energy")]
            for (of, value), found in sorted(runs.items())
            if of == key
        ]
        parts += [f"## {title} of CoroCL", markdown([key, "AP", "AUROC", "FPR95"], rows)]
    return parts


def _places(results: Mapping[str, Any]) -> list[str]:
    return [place for place in PLACES if place in results]


def _cells(runs: Iterable[Mapping[str, Any]], place: str, score: str) -> list[str]:
    found = list(runs)
    return [spread([run[place][score][measure] for run in found]) for measure in MEASURES]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Return the mean in percent, "+": with its sign; and the deviation where there are several."""
    text = f"{100 * np.mean(values):{sign}.1f}"
    return f"{text} ± {100 * np.std(values):.1f}" if len(values) > 1 else text


def _course(run: Mapping[str, Any]) -> str:
    rows = [
        [f"{row['step']:g}" + (" (kept)" if index == run["kept"] else ""),
         *(f"{100 * row[key]:.1f}" for key in ("miou", "ap", "auroc", "fpr95"))]
        for index, row in enumerate(run["course"])
    ]  # fmt: skip
    return markdown(["step", "closed-set mIoU", "AP", "AUROC", "FPR95"], rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
