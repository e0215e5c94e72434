"""SimFormer and its ablations: ``python -m experiments.methods.weak_shot --data DIR``.

Masks of base classes, tags of novel ones; mean IoU over the novel classes on frames that nobody
tagged (Tables 1 to 3 of the paper).  Variants: ``cam`` (classifier and activation maps, threshold
chosen on val), ``basic`` (no pixel-pixel similarity), ``self`` (pairs within the image), ``cross``
(across images), ``j25``, ``j100`` (sampled pixels; cross has the recipe's), ``nocomp`` (without
CompLoss), ``retrained`` (cross, then again on its pseudo labels, which are measured on the training
frames, as is their teacher on the test frames), ``oracle`` (all masks).

What the file holds already is kept: run it in pieces, or again after an interruption.  Pieces in
files of their own (``--out a.json``, ``--out b.json``) are put together with ``--piece a.json
--piece b.json``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from experiments.methods.cam_baseline import all_maps, best_threshold, cam_classes, train_cam
from experiments.results import write_result
from owlabel.jobs.job import run_to_end
from owlabel.models.mask.mask_former import MaskFormer
from owlabel_training.core.data import Frames, read_names
from owlabel_training.core.recipe import read
from owlabel_training.weak_shot.data import WeakFrames, read_truth, with_masks
from owlabel_training.weak_shot.loop import train_weak_shot
from owlabel_training.weak_shot.pseudo_labels import class_maps, measure, pseudo_frames
from owlabel_training.weak_shot.recipe import WeakShotRecipe, WeakShotSettings
from owlabel_training.weak_shot.run import new_model, read_training_frames, supervised

RECIPES = {
    "8+3": "camvid_8+3_weak_shot.toml",
    "stuff": "camvid_stuff_weak_shot.toml",
    "sample": "sample_weak_shot.toml",
}
CHANGES: dict[str, dict[str, Any]] = {
    "basic": {"similarity": "none"},
    "self": {"similarity": "self"},
    "cross": {"similarity": "cross"},
    "j25": {"similarity": "cross", "points": 25},
    "j50": {"similarity": "cross", "points": 50},
    "j100": {"similarity": "cross", "points": 100},
    "nocomp": {"similarity": "cross", "comp_weight": 0.0},
}
VARIANTS = ("cam", *CHANGES, "retrained", "oracle")
NOTE = (
    "mean IoU over novel classes on test frames, pixels pooled; no tag of a test frame is used; "
    "variants of one seed share start, crops and steps; nothing was chosen on the test frames; "
    "truth of val is used for the threshold of cam alone"
)


@dataclass(frozen=True)
class Setup:
    """What all variants of a run share."""

    recipe: WeakShotRecipe
    base: Path | None
    data: Path
    frames: WeakFrames
    val: Frames | None
    test: Frames


def main(
    data: Annotated[Path, typer.Option(help="images/, labels/, classes.json and the tags.")],
    split: Annotated[str, typer.Option(help=f"One of {', '.join(RECIPES)}.")] = "8+3",
    variants: Annotated[str, typer.Option(help="With commas between.")] = ",".join(VARIANTS),
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="0, 1 and 2 if none.")] = None,
    iterations: Annotated[int, typer.Option(help="Steps; 0 takes the recipe's.")] = 0,
    base: Annotated[Path | None, typer.Option(help="Model to start from.")] = None,
    test: Annotated[str, typer.Option(help="List of test frames in the folder.")] = "test.txt",
    val: Annotated[str, typer.Option(help="List for CAM's threshold.")] = "val.txt",
    most: Annotated[int, typer.Option(help="Test and val frames at most, evenly spread.")] = 60,
    recipes: Annotated[Path, typer.Option(help="Folder of recipes.")] = Path("training/recipes"),
    change: Annotated[list[str] | None, typer.Option("--set", help="As owlabel-train.")] = None,
    pieces: Annotated[
        list[Path] | None, typer.Option("--piece", help="File of a part that is done.")
    ] = None,
    out: Annotated[Path, typer.Option(help="JSON file.")] = Path("weak_shot.json"),
) -> None:
    """Train and measure every variant with every seed."""

    def run() -> dict[str, Any]:
        wanted = _wanted(variants)
        if split not in RECIPES:
            raise ValueError(f"--split must be one of {', '.join(RECIPES)}, got {split!r}")
        steps = [f"weak_shot.iterations={iterations}", "weak_shot.retrain=0"] if iterations else []
        lines = [*(change or []), *steps]  # oracle and re-training take as many
        recipe = read(WeakShotRecipe, recipes / RECIPES[split], lines)
        frames = read_training_frames(recipe, data)
        start = base or (Path(recipe.base.checkpoint) if recipe.base.checkpoint else None)
        setup = Setup(
            recipe, start, data, frames,
            _truth(data, val, frames, most) if "cam" in wanted else None,
            _truth(data, test, frames, most),
        )  # fmt: skip
        done = together([earlier(file) for file in (out, *(pieces or []))])
        return experiments(setup, wanted, seeds or [0, 1, 2], done)

    write_result(out, run, NOTE)


def _wanted(variants: str) -> list[str]:
    wanted = [name.strip() for name in variants.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(VARIANTS)):
        raise ValueError(f"unknown variants {unknown}; there are {', '.join(VARIANTS)}")
    return wanted


def _truth(folder: Path, file: str, frames: WeakFrames, most: int) -> Frames:
    names = read_names(folder / file)
    places = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return read_truth(folder, [names[i] for i in places], frames.classes)


def earlier(out: Path) -> dict[str, Any]:
    """Return the results that an earlier run of the experiment has left in a file, or nothing."""
    if not out.exists():
        return {}
    try:
        return dict(json.loads(out.read_text(encoding="utf-8"))["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{out} holds no results of this experiment: name another file") from error


def together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put parts of one experiment together; of a variant and seed that several hold, the last.

    Raises
    ------
    ValueError
        If they are of different experiments.
    """
    whole: dict[str, Any] = {}
    for part in filter(None, parts):
        variants = whole.pop("variants", {})
        same = {key: value for key, value in part.items() if key != "variants"}
        if whole and whole != same:
            raise ValueError(f"a piece holds another experiment: {same} instead of {whole}")
        for name, row in part["variants"].items():
            seeds = {**variants.get(name, {}).get("seeds", {}), **row["seeds"]}
            variants[name] = {**row, "seeds": seeds}
        whole = {**same, "variants": variants}
    return whole


def experiments(
    setup: Setup, variants: list[str], seeds: list[int], done: dict[str, Any]
) -> dict[str, Any]:
    """Return each variant's measures by seed, their mean and spread.

    Raises
    ------
    ValueError
        If what was done earlier was another experiment.
    """
    same = {
        "novel": [setup.frames.classes.names[i] for i in setup.frames.novel_ids],
        "train_frames": len(setup.frames),
        "test_frames": len(setup.test),
        "iterations": setup.recipe.weak_shot.iterations,
    }
    if done and any(done.get(key) != value for key, value in same.items()):
        raise ValueError(f"the file holds another experiment than {same}: name another file")
    runs = {name: dict(row["seeds"]) for name, row in done.get("variants", {}).items()}
    for name in variants:
        for seed in seeds:
            if str(seed) in runs.setdefault(name, {}):
                continue
            course = setup.recipe.weak_shot.replace(seed=seed)
            runs[name][str(seed)] = one(setup, name, course)
            typer.echo(json.dumps({"variant": name, "seed": seed, **runs[name][str(seed)]}))
    ordered = {name: _summary(runs[name]) for name in VARIANTS if runs.get(name)}
    return {**same, "variants": ordered}


def _summary(runs: dict[str, Any]) -> dict[str, Any]:
    values = [run["novel_miou"] for run in runs.values()]
    return {
        "novel_miou": round(float(np.mean(values)), 4),
        "spread": round(float(np.std(values)), 4),
        "seeds": runs,
    }


def one(setup: Setup, variant: str, course: WeakShotSettings) -> dict[str, Any]:
    """Train one variant with one seed and measure it."""
    if variant == "cam":
        return _cam(setup, course)
    if variant == "oracle":
        truth = read_truth(setup.data, setup.frames.names, setup.frames.classes)
        frames = with_masks(setup.frames, truth.labels)
        return _measured(setup, _trained(setup, frames, supervised(course)))
    if variant == "retrained":
        teacher = _trained(setup, setup.frames, course)
        pseudo = list(pseudo_frames(teacher, setup.frames))
        truth = read_truth(setup.data, setup.frames.names, setup.frames.classes)  # to measure alone
        n_base, frames = setup.frames.n_base, with_masks(setup.frames, pseudo)
        told = {
            "pseudo_labels": measure(pseudo, truth, n_base),
            "teacher": _measured(setup, teacher),
        }
        return {**_measured(setup, _trained(setup, frames, supervised(course))), **told}
    return _measured(setup, _trained(setup, setup.frames, course.replace(**CHANGES[variant])))


def _trained(setup: Setup, frames: WeakFrames, course: WeakShotSettings) -> MaskFormer:
    model = new_model(setup.recipe.model, setup.base, frames, course.seed)
    with tempfile.TemporaryDirectory() as work:
        run_to_end(train_weak_shot(model, frames, course, Path(work)))
    return model


def _measured(setup: Setup, model: MaskFormer) -> dict[str, Any]:
    return measure(class_maps(model, setup.test), setup.test, setup.frames.n_base)


def _cam(setup: Setup, course: WeakShotSettings) -> dict[str, Any]:
    """Train the classifier, choose its threshold on val, measure on test."""
    if setup.base is None or setup.val is None:
        raise ValueError("the variant cam needs a model to start from: name it with --base")
    n_base, side = setup.frames.n_base, setup.recipe.model.short_side
    net = train_cam(setup.base, setup.frames, course)
    threshold = best_threshold(list(all_maps(net, setup.val, side)), setup.val, n_base)
    maps = (cam_classes(m, threshold, n_base) for m in all_maps(net, setup.test, side))
    return {**measure(maps, setup.test, n_base), "threshold": threshold}


if __name__ == "__main__":
    typer.run(main)
