"""Pre-training on CamVid: ``python -m experiments.methods.pretraining NAME``.

``pmiou`` needs no training: clusters are fitted on train frames, PmIoU is measured on val and test
frames with labels, for each extractor, K, superpixels, outliers, algorithm and number of images.
``finetune`` trains from several starts with the same few labels, steps and seeds and measures mIoU
on test frames.  Labelled frames are one run of neighbours in each drive, never random frames.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from numpy.typing import NDArray

from experiments.methods import pretraining_table
from experiments.results import write_result
from owlabel.clusters.assignment import Floats, fit
from owlabel.clusters.auxiliary_settings import MOST_SAMPLES, AuxiliarySettings
from owlabel.clusters.label_maps import assigned, sample_pixels
from owlabel.clusters.pmiou import ProxyMiou
from owlabel.clusters.superpixels import superpixels, vote
from owlabel.jobs.job import run_to_end
from owlabel.jobs.kinds.auxiliary_labels import extractor
from owlabel.models.weights import load
from owlabel_training.core.base_loop import miou
from owlabel_training.core.base_run import BaseTraining
from owlabel_training.core.data import Frames, read_frames, read_names
from owlabel_training.core.recipe import DataRecipe, ModelRecipe, Recipe, TrainingRecipe
from owlabel_training.pretraining.recipe import Positives, PretrainingRecipe, PretrainRecipe
from owlabel_training.pretraining.run import PretrainingRun

app = typer.Typer(add_completion=False, help=__doc__)
NOTE = (
    "CamVid, 11 classes; clusters and pre-training see the train frames without labels; labelled "
    "frames are one run of neighbours of each drive; mIoU and PmIoU over pooled pixels of frames "
    "that nothing was fitted or trained on"
)
CLASSES = 11
BASE = AuxiliarySettings(classes=CLASSES, samples=100_000)
VARIANTS: dict[str, AuxiliarySettings] = {
    "usual": BASE,
    "K = 1.0 M": BASE.replace(clusters_per_class=1.0),
    "K = 2.0 M": BASE.replace(clusters_per_class=2.0),
    "no superpixels": BASE.replace(superpixels=0),
    "500 superpixels": BASE.replace(superpixels=500),
    "2000 superpixels": BASE.replace(superpixels=2000),
    "0 % outliers": BASE.replace(outliers=0.0),
    "10 % outliers": BASE.replace(outliers=0.1),
    "DBSCAN": BASE.replace(algorithm="dbscan", subset=10_000),
}
STARTS = ("random", "random_longer", "pixel", "superpixel", "handmade", "model")
OTHER = tuple(f"handmade: {name}" for name in VARIANTS if name != "usual")
SETTINGS = {"width": 64, "low_width": 24, "rates": [3, 6, 9]}
TOLD = ("cpu_minutes", "contrastive_loss", "pmiou")  # of the training, in the row of a run
RESULTS = Path("docs/results")

Data = Annotated[Path, typer.Option(envvar="OWLABEL_CAMVID", help="The CamVid folder.")]
Model = Annotated[Path | None, typer.Option(help="A checkpoint whose decoder gives features.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Seeds; 0, 1, 2 by default.")]
Out = Annotated[Path, typer.Option(help="Folder of the JSON files.")]


# -- PmIoU ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Frames to measure on: features (D, h, w), image, labels, and superpixels by their number."""

    features: list[Floats]
    frames: Frames
    parts: dict[int, list[NDArray[np.int32]]]


@app.command()
def pmiou(
    data: Data,
    model: Model = None,
    frames: Annotated[int, typer.Option(help="Train frames that are clustered.")] = 120,
    test: Annotated[int, typer.Option(help="Test frames measured.")] = 22,
    seed: Seeds = None,
    variant: Annotated[list[str] | None, typer.Option(help="Rows; all by default.")] = None,
    name: Annotated[str, typer.Option(help="Of the JSON file, after pretraining_.")] = "pmiou",
    out: Out = RESULTS,
) -> None:
    """PmIoU of auxiliary labels, before any training: hand-made features and a model's decoder."""

    def measure() -> dict[str, Any]:
        sources = {"handmade": BASE}
        if model is not None:
            sources["model"] = BASE.replace(extractor="model", weights=str(model))
        sets = {"val": _spread(data, "val.txt", 11), "test": _spread(data, "test.txt", test)}
        parts: dict[str, dict[int, list[NDArray[np.int32]]]] = {place: {} for place in sets}
        result: dict[str, Any] = {"superpixels alone": _alone(sets, parts)}
        for source, usual in sources.items():
            extract = extractor(usual).features
            pool = [extract(image) for image in _spread(data, "train.txt", frames).images]
            measured = {
                place: Measured([extract(i) for i in chosen.images], chosen, parts[place])
                for place, chosen in sets.items()
            }
            result[source] = _table(pool, measured, usual, seed or [0, 1, 2], variant)
        return {**result, "budget": {"frames": frames, "val": 11, "test": test}}

    write_result(out / f"pretraining_{name}.json", measure, NOTE)


def _table(
    pool: list[Floats],
    measured: dict[str, Measured],
    usual: AuxiliarySettings,
    seeds: Sequence[int],
    wanted: Sequence[str] | None,
) -> dict[str, Any]:
    """Return variant -> seed -> place -> PmIoU; and the same for fewer images."""
    table: dict[str, Any] = {}
    few = {f"{n} images": BASE.replace(images=n) for n in (10, 40) if n < len(pool)}
    for name, variant in {**VARIANTS, **few}.items():
        if wanted and name not in wanted:
            continue
        settings = variant.replace(extractor=usual.extractor, weights=usual.weights)
        row = {str(s): _one(pool, measured, settings.replace(seed=s)) for s in seeds}
        table[name] = row
        typer.echo(f"{usual.extractor} {name}: {json.dumps(row[str(seeds[0])])}")
    return table


def _one(
    pool: list[Floats], measured: dict[str, Measured], settings: AuxiliarySettings
) -> dict[str, Any]:
    rng = np.random.default_rng(settings.seed)
    places = np.linspace(0, len(pool) - 1, min(len(pool), settings.images)).round().astype(int)
    each = min(settings.samples, MOST_SAMPLES) // len(places)
    sample = np.concatenate([sample_pixels(pool[i], each, rng) for i in places])
    clusters = fit(sample, settings)
    result: dict[str, Any] = {"clusters": len(clusters)}
    for place, one in measured.items():
        counts = ProxyMiou(len(clusters), CLASSES)
        removed = total = 0
        for features, label, part in zip(
            one.features, one.frames.labels, _parts(one, settings.superpixels), strict=True
        ):
            found = assigned(features, (label.shape[0], label.shape[1]), clusters)
            if part is not None:
                found = vote(found, part, len(clusters))[0]
            removed, total = removed + int((found == 255).sum()), total + found.size
            counts.update(found, label)
        result[place] = {**counts.plain(), "removed": removed / total}
    return result


def _parts(one: Measured, count: int) -> Iterator[NDArray[np.int32] | None]:
    """Yield the superpixels of each frame, made once; None where there are none."""
    if count and count not in one.parts:
        one.parts[count] = [superpixels(image, count) for image in one.frames.images]
    yield from one.parts[count] if count else [None] * len(one.frames)


def _alone(
    sets: dict[str, Frames], parts: dict[str, dict[int, list[NDArray[np.int32]]]]
) -> dict[str, Any]:
    """Return PmIoU where every superpixel is a label of its own (#2 of the paper's Table 1)."""
    result = {}
    for place, frames in sets.items():
        maps = list(_parts(Measured([], frames, parts[place]), BASE.superpixels))
        starts = np.cumsum([0, *(int(m.max()) + 1 for m in maps if m is not None)])
        counts = ProxyMiou(int(starts[-1]) + 256, CLASSES)
        for number, label, start in zip(maps, frames.labels, starts, strict=False):
            assert number is not None
            counts.update(number.astype(np.int64) + int(start) + 256, label)  # 255 is "removed"
        result[place] = counts.plain()
    return result


def _spread(data: Path, file: str, count: int) -> Frames:
    names = read_names(data / file)
    chosen = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return read_frames(data, [names[i] for i in chosen])


# -- fine-tuning ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """What all runs of `finetune` share."""

    data: Path
    work: Path
    share: float
    steps: int
    pretraining: int
    test: int
    unlabelled: int


@app.command()
def finetune(
    data: Data,
    work: Annotated[Path, typer.Option(help="Folder of models and caches; goes on from it.")],
    share: Annotated[float, typer.Option(help="Labelled share of the train frames.")] = 0.1,
    steps: Annotated[int, typer.Option(help="Of each fine-tuning.")] = 400,
    pretraining: Annotated[int, typer.Option(help="Steps of each pre-training.")] = 400,
    unlabelled: Annotated[int, typer.Option(help="Train frames of pre-training; 0: all.")] = 0,
    start: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(STARTS)} (all these by default), {', '.join(OTHER)}."),
    ] = None,
    test: Annotated[int, typer.Option(help="Test frames measured.")] = 52,
    seed: Seeds = None,
    name: Annotated[str, typer.Option(help="Of the JSON file, after pretraining_SHARE.")] = "",
    out: Out = RESULTS,
) -> None:
    """Test mIoU after fine-tuning on some labels, from random weights and from pre-trained ones."""
    setup = Setup(data, work, share, steps, pretraining, test, unlabelled)

    def measure() -> dict[str, Any]:
        if unknown := sorted(set(start or ()) - {*STARTS, *OTHER}):
            raise ValueError(f"unknown starts {unknown}; there are {', '.join(STARTS + OTHER)}")
        table: dict[str, Any] = {}
        for one in seed or (0, 1, 2):
            for begin in start or STARTS:
                table.setdefault(begin, {})[str(one)] = _run(setup, begin, one)
        return {"starts": table, "budget": _budget(setup)}

    write_result(out / f"pretraining_{share:g}{name}.json", measure, NOTE)


def labelled_names(names: Sequence[str], share: float, seed: int) -> list[str]:
    """Return one run of neighbouring frames of each drive; the seed says where it begins.

    Parameters
    ----------
    names : sequence of str
        Like ``0001TP_006690``: drive, then time.
    share : float
        Of each drive, in (0, 1].
    seed : int
        0, 1 and 2 take the beginning, the middle and the end.

    Raises
    ------
    ValueError
        If the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    drives: dict[str, list[str]] = {}
    for name in sorted(names):
        drives.setdefault(name.split("_")[0], []).append(name)
    found = []
    for drive in drives.values():
        count = max(1, round(share * len(drive)))
        begin = (seed % 3) * (len(drive) - count) // 2
        found += drive[begin : begin + count]
    return found


def _run(setup: Setup, start: str, seed: int) -> dict[str, Any]:
    """Train, and measure on test frames; what is done is not done again.

    Another number of test frames measures the tuned checkpoint again, without training.
    """
    stem = _file_name(
        f"{start}_{setup.share:g}_{setup.steps}_{setup.pretraining}_{setup.unlabelled}_{seed}"
    )
    kept = setup.work / f"{stem}.json"
    row: dict[str, Any] = {}
    if kept.exists():
        row = json.loads(kept.read_text(encoding="utf-8"))
        if row.get("test_frames") == setup.test:
            return row
    told = {key: row[key] for key in TOLD if key in row} or _tuned(setup, start, seed, stem)
    segmenter = load(_checkpoint(setup, f"{stem}_tuned"))[0]
    mean, per_class = miou(segmenter, _spread(setup.data, "test.txt", setup.test))
    iou = [round(float(v), 4) for v in per_class]
    row = {"miou": mean, "iou": iou, "test_frames": setup.test, **told}
    kept.write_text(json.dumps(row), encoding="utf-8")
    typer.echo(f"{stem}: {mean:.4f} {told}")
    return row


def _tuned(setup: Setup, start: str, seed: int, stem: str) -> dict[str, Any]:
    """Pre-train (or not) and fine-tune; return what is told of it."""
    began, weightless = time.process_time(), start.startswith("random")
    initial, told = ("", {}) if weightless else _pretrained(setup, start, seed, stem)
    steps = setup.steps + (setup.pretraining if start == "random_longer" else 0)
    recipe = Recipe(
        name=f"{stem}_tuned",
        model=ModelRecipe(architecture="mobilenet_v3_small", settings=SETTINGS, initial=initial),
        data=_labelled(setup, seed),
        training=TrainingRecipe(
            iterations=steps, crop=(160, 192), scale=(0.5, 1.25), jitter=0.4, ema=0.98,
            optimiser="adamw", lr=3e-3, lr_backbone=3e-3, weight_decay=0.02, class_weight_cap=3.0,
            rare_share=0.3, validate_every=steps, seed=seed,
        ),
    )  # fmt: skip
    run_to_end(BaseTraining(recipe, setup.data, setup.work / recipe.name).run())
    return {"cpu_minutes": round((time.process_time() - began) / 60, 1), **told}


def _checkpoint(setup: Setup, name: str) -> Path:
    return setup.work / name / f"{name}.safetensors"


def _file_name(words: str) -> str:
    """Return words as a name that any file system takes."""
    return re.sub(r"[^\w.]+", "_", words)


def _labelled(setup: Setup, seed: int) -> DataRecipe:
    """Write the list of labelled frames; a recipe names it by its full path."""
    chosen = labelled_names(read_names(setup.data / "train.txt"), setup.share, seed)
    path = setup.work.resolve() / f"labelled_{setup.share:g}_{seed}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return DataRecipe(train=str(path), val="val.txt", val_step=10)


def _pretrained(setup: Setup, start: str, seed: int, stem: str) -> tuple[str, dict[str, Any]]:
    """Pre-train on train frames; return the checkpoint, and PmIoU on these frames."""
    positives: Positives = "auxiliary"
    if start in ("pixel", "superpixel"):
        positives = cast(Positives, start)
    if start == "model":  # trained on the labelled part, from random weights
        _run(setup, "random", seed)
        weights = _checkpoint(setup, stem.replace("model", "random") + "_tuned")
        labels = AuxiliarySettings(classes=CLASSES, extractor="model", weights=str(weights))
    else:  # no label has a part in it: the same for every share
        variant = VARIANTS[start.partition(": ")[2] or "usual"]
        labels = variant.replace(samples=AuxiliarySettings().samples)
        stem = _file_name(f"{start}_{setup.pretraining}_{setup.unlabelled}_{seed}")
    recipe = PretrainRecipe(
        name=f"{stem}_pretrained",
        model=ModelRecipe(architecture="mobilenet_v3_small", settings=SETTINGS),
        data=_unlabelled(setup),
        labels=labels,
        pretraining=PretrainingRecipe(
            positives=positives, iterations=setup.pretraining, crop=(160, 192), lr=2e-3, seed=seed
        ),
    )
    shared = setup.work / "cache"
    run = PretrainingRun(recipe, setup.data, setup.work / recipe.name, shared)
    told = run_to_end(run.run())
    found = {"contrastive_loss": told["loss"]}
    if told.get("pmiou"):
        found |= {"pmiou": told["pmiou"]}
    return told["checkpoint"], found


def _unlabelled(setup: Setup) -> DataRecipe:
    """Return the images of pre-training: all train frames, or some, evenly spread."""
    if not setup.unlabelled:
        return DataRecipe()
    names = read_names(setup.data / "train.txt")
    chosen = np.linspace(0, len(names) - 1, min(setup.unlabelled, len(names))).round().astype(int)
    path = setup.work.resolve() / f"unlabelled_{setup.unlabelled}.txt"
    path.write_text("\n".join(names[i] for i in chosen) + "\n", encoding="utf-8")
    return DataRecipe(train=str(path))


def _budget(setup: Setup) -> dict[str, Any]:
    return {
        "share": setup.share, "steps": setup.steps, "pretraining_steps": setup.pretraining,
        "network": "mobilenet_v3_small", "crop": [160, 192], "test_frames": setup.test,
        "unlabelled": setup.unlabelled,
    }  # fmt: skip


@app.command()
def table(out: Out = RESULTS) -> None:
    """Write pretraining.md, the tables, from the JSON files in the folder."""
    (out / "pretraining.md").write_text(pretraining_table.page(out), encoding="utf-8")
    typer.echo(f"wrote {out / 'pretraining.md'}")


if __name__ == "__main__":
    app()
