"""The tables of pre-training in Markdown, from the JSON files of its experiments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.methods.ood_training_table import markdown, spread

STARTS = {
    "random": "random weights",
    "random_longer": "random weights, steps of both together",
    "pixel": "#1 same pixel in two views",
    "superpixel": "#2 superpixels, each image by itself",
    "handmade": "auxiliary labels, hand-made features",
    "model": "auxiliary labels, model trained on the labelled part",
}


def page(folder: Path) -> str:
    """Return the page for what is there; a part without a file is left out."""
    parts = [
        "# Auxiliary labels and contrastive pre-training on CamVid",
        "Made by `python -m experiments.methods.pretraining table`. Percent; mean over "
        "seeds, ± standard deviation where there are several.",
    ]
    for path in sorted(folder.glob("pretraining_pmiou*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        parts += [*_pmiou(content["results"]), _source(content)]
    for path in sorted(folder.glob("pretraining_[01]*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        parts += [*_starts(content["results"]), _source(content, _spent(content["results"]))]
    return "\n\n".join(parts) + "\n"


def _source(content: Mapping[str, Any], rows: float = 0) -> str:
    took = f"{content['cpu_minutes']} CPU minutes ({content['minutes']} of wall time)"
    if rows > content["cpu_minutes"]:
        took = f"{rows:.0f} CPU minutes, in pieces that the command found done,"
    return (
        f"`{content['command']}`: {took} on {content['machine']}, commit "
        f"{content['commit'][:10]}. {content['note']}."
    )


def _spent(results: Mapping[str, Any]) -> float:
    """Return the CPU minutes of all rows."""
    rows = [run for runs in results["starts"].values() for run in runs.values()]
    return float(sum(run.get("cpu_minutes", 0) for run in rows))


def _pmiou(results: Mapping[str, Any]) -> list[str]:
    rows = [["superpixels, each a label of its own", "-", *_cells([results["superpixels alone"]])]]
    for source in ("handmade", "model"):
        for variant, runs in results.get(source, {}).items():
            found = list(runs.values())
            clusters = sorted({run["clusters"] for run in found})
            shown = "-".join(str(k) for k in dict.fromkeys([clusters[0], clusters[-1]]))
            rows.append([f"{source}: {variant}", shown, *_cells(found)])
    head = ["features: setting", "K", "val Hungarian", "val max", "test Hungarian", "test max"]
    budget = results["budget"]
    return [
        f"## PmIoU of labels from {budget['frames']} train frames, before any pre-training",
        f"Clusters fitted on {budget['frames']} train frames; {budget['val']} val frames (one "
        f"street scene) and {budget['test']} test frames. *usual*: K = 1.5 M, 200 superpixels, 5 % "
        "outliers, k-means. Hungarian: each cluster stands for one class at most; max: each class "
        "takes its best cluster.",
        markdown(head, rows),
    ]


def _cells(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        spread([run[place][name] for run in runs])
        for place in ("val", "test")
        for name in ("pmiou_hungarian", "pmiou_max")
    ]


def _starts(results: Mapping[str, Any]) -> list[str]:
    table, budget = results["starts"], results["budget"]
    random = {seed: run["miou"] for seed, run in table.get("random", {}).items()}
    rows = []
    for name, runs in table.items():
        gains = [run["miou"] - random[s] for s, run in runs.items() if s in random]
        proxy = [run["pmiou"]["pmiou_hungarian"] for run in runs.values() if "pmiou" in run]
        rows.append(
            [
                STARTS.get(name, name.replace("handmade: ", "auxiliary labels, hand-made, ")),
                spread([run["miou"] for run in runs.values()]),
                spread(gains, "+") if gains and name != "random" else "-",
                spread(proxy) if proxy else "-",
                str(len(runs)),
            ]
        )
    share = f"{100 * budget['share']:g}"
    return [
        f"## {share} % of the training frames labelled, {budget['steps']} steps",
        f"{budget['network']}, {budget['steps']} steps of fine-tuning for every start (random "
        f"weights have no others), {budget['pretraining_steps']} steps of pre-training on "
        f"{budget['unlabelled'] or 'all'} train frames without labels, crops of "
        f"{budget['crop'][0]} x {budget['crop'][1]}; {budget['test_frames']} test frames.",
        markdown(
            [
                "start",
                "test mIoU",
                "gain over random, seed by seed",
                "PmIoU on train (Hungarian)",
                "seeds",
            ],
            rows,
        ),
    ]
