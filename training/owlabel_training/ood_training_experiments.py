"""OoD training on CamVid: ``python -m owlabel_training.ood_training_experiments NAME``.

Entropy maximisation (before and after, lambda, course), RPL and RPL + CoroCL (before and after,
anchors, projector), each against the untouched model on the same frames.  Tested on pictures of
``ood_proxy/val.txt`` pasted into test frames, of which training and selection saw none, and on
``road_ood``.  Every file says with which command and how many steps its numbers were made.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from owlabel import images
from owlabel.jobs.job import Progress, run_to_end
from owlabel.models.checkpoint import load
from owlabel.models.residual import ResidualBlock
from owlabel.models.segmenter import Segmenter
from owlabel_training import ood_training_table
from owlabel_training.data import read_frames, read_names
from owlabel_training.loop import miou, predict
from owlabel_training.ood_data import OodData, PastedFrame, ood_data, pasted_frames
from owlabel_training.ood_loop import MiouFellError
from owlabel_training.ood_measures import ScoreOf, base_score, measure_ood, residual_score
from owlabel_training.ood_recipe import (
    CourseRecipe,
    EntropyRecipe,
    OodRecipe,
    ProxyRecipe,
    ResidualRecipe,
)
from owlabel_training.ood_runs import Trained, train_method
from owlabel_training.proxy import cutouts, read_folder, read_proxies
from owlabel_training.results import write_result

app = typer.Typer(add_completion=False, help=__doc__)
NOTE = (
    "CamVid 10+1 model (car unknown, void everywhere here); training objects: pictures of "
    "ood_proxy/train.txt, every fourth of them validates; test objects: pictures of "
    "ood_proxy/val.txt, pasted into test frames; road_ood is another camera and country; AP, "
    "AUROC and FPR95 pooled over pixels; with outlier exposure"
)
SCORES_TOLD = ("entropy", "energy", "eds_absolute")
TEST_SEED = 20_000
SCALES = (0.25, 0.5, 0.75, 1.0)
LAMBDAS = (0.25, 0.5, 0.75, 0.9)
CONTEXTS_TOLD = ("both", "city", "context", "all")
PROJECTORS_TOLD = ("one", "two", "two_bn")
RESULTS = Path("docs/results")


@dataclass(frozen=True)
class Setup:
    """What every run shares: where things are, and how much of them is used.

    Attributes
    ----------
    data, shared : Path
        CamVid's folder, and the folder with ``ood_proxy`` and ``road_ood``.
    model : Path
    steps : int
        Of each training.
    test_frames, road_frames : int
        Frames measured at most, evenly spread.
    seeds : tuple of int
    """

    data: Path
    shared: Path
    model: Path
    steps: int
    test_frames: int
    road_frames: int
    seeds: tuple[int, ...]


Data = Annotated[Path, typer.Option(envvar="OWLABEL_CAMVID", help="The CamVid folder.")]
Shared = Annotated[Path, typer.Option(help="Folder with ood_proxy/ and road_ood/.")]
Model = Annotated[Path, typer.Option(help="Checkpoint of the 10+1 model.")]
Steps = Annotated[int, typer.Option(help="Steps of each training.")]
Frames_ = Annotated[int, typer.Option("--frames", help="Test frames at most.")]
Road = Annotated[int, typer.Option("--road", help="Frames of road_ood at most; 0 leaves it out.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Seeds; 0, 1, 2 by default.")]
Out = Annotated[Path, typer.Option(help="Folder of the JSON files.")]


@app.command()
def entropy(
    data: Data, shared: Shared, model: Model, steps: Steps = 600, frames: Frames_ = 44,
    road: Road = 35, seed: Seeds = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """Entropy maximisation with lambda 0.9 (joint): before, after, and the course of training."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or (0, 1, 2)))

    def measure() -> dict[str, Any]:
        runs = {}
        for one in setup.seeds:
            recipe = EntropyRecipe(**small(setup, one), lr=1e-4, freeze_statistics=True)
            runs[str(one)] = run(setup, OodRecipe("entropy", proxy=proxy(setup), entropy=recipe))
        return {"before": before(setup), "seeds": runs, "budget": budget(setup)}

    write_result(out / "ood_training_entropy.json", measure, NOTE)


@app.command()
def sweep(
    data: Data, shared: Shared, model: Model, steps: Steps = 300, frames: Frames_ = 44,
    road: Road = 0, seed: Seeds = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """Entropy maximisation with several lambda, joint and separate averaging."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or (0, 1, 2)))

    def measure() -> dict[str, Any]:
        table: dict[str, Any] = {}
        for averaging, values in (("joint", LAMBDAS), ("separate", (0.25, 0.9))):
            for value in values:
                runs = {}
                for one in setup.seeds:
                    # every model is measured, also one that forgot too much
                    course = {**small(setup, one), "max_miou_drop": 1.0}
                    recipe = EntropyRecipe(
                        **course, lr=1e-4, freeze_statistics=True, lambda_ood=value,
                        averaging=averaging,
                    )  # fmt: skip
                    whole = OodRecipe("entropy", proxy=proxy(setup), entropy=recipe)
                    runs[str(one)] = run(setup, whole)
                table[f"{averaging} {value:g}"] = runs
        return {"before": before(setup), "lambda": table, "budget": budget(setup)}

    write_result(out / "ood_training_lambda.json", measure, NOTE)


@app.command()
def rpl(
    data: Data, shared: Shared, model: Model, steps: Steps = 600, frames: Frames_ = 44,
    road: Road = 35, seed: Seeds = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """RPL and RPL + CoroCL beside the frozen model: before, after, and whether class maps agree."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or (0, 1, 2)))

    def measure() -> dict[str, Any]:
        table = {
            name: {str(s): run(setup, residual(setup, s, corocl=corocl)) for s in setup.seeds}
            for name, corocl in (("RPL", False), ("RPL + CoroCL", True))
        }
        return {"before": before(setup), "methods": table, "budget": budget(setup)}

    write_result(out / "ood_training_rpl.json", measure, NOTE)


@app.command()
def ablation(
    data: Data, shared: Shared, model: Model, steps: Steps = 200, frames: Frames_ = 44,
    road: Road = 0, seed: Seeds = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """CoroCL's anchors and contrast (RPL, Table 3), and its projector (RPL, Table 4)."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or (0, 1, 2)))

    def measure() -> dict[str, Any]:
        table: dict[str, Any] = {"contexts": {}, "projector": {}}
        for key, values in (("contexts", CONTEXTS_TOLD), ("projector", PROJECTORS_TOLD)):
            for value in values:
                if (key, value) == ("projector", "one"):  # the default is there already
                    table[key][value] = table["contexts"]["both"]
                    continue
                table[key][value] = {
                    str(s): run(setup, residual(setup, s, corocl=True, **{key: value}))
                    for s in setup.seeds
                }
        return {**table, "budget": budget(setup)}

    write_result(out / "ood_training_ablation.json", measure, NOTE)


@app.command()
def table(out: Out = RESULTS) -> None:
    """Write ood_training.md, the tables, from the JSON files in the folder."""
    (out / "ood_training.md").write_text(ood_training_table.page(out), encoding="utf-8")
    typer.echo(f"wrote {out / 'ood_training.md'}")


# -- one run -------------------------------------------------------------------------------------


def small(setup: Setup, seed: int) -> dict[str, Any]:
    """Return the course that all methods share: small crops, four looks at the validation set."""
    return {
        "epochs": 4, "steps_per_epoch": max(1, setup.steps // 4), "batch_size": 4,
        "crop": (240, 240), "precision": "bf16-mixed", "seed": seed,
    }  # fmt: skip


def proxy(setup: Setup) -> ProxyRecipe:
    """Return the proxy of training: pictures of train.txt, every fourth validates."""
    folder = str(setup.shared / "ood_proxy")
    return ProxyRecipe(path=folder, train="train.txt", scales=SCALES)


def residual(setup: Setup, seed: int, **changes: Any) -> OodRecipe:
    """Return a recipe of RPL with the rates for few steps."""
    recipe = ResidualRecipe(**small(setup, seed), lr=7.5e-4, samples=128)
    recipe = dataclasses.replace(recipe, **changes)
    return OodRecipe("rpl", proxy=proxy(setup), residual=recipe)


def run(setup: Setup, recipe: OodRecipe) -> dict[str, Any]:
    """Train once and measure on the test sets."""
    segmenter, header = load(setup.model)
    _to_device(segmenter)
    maps = _class_maps(setup, segmenter) if recipe.residual is not None else None
    data = _data(setup, recipe)
    with tempfile.TemporaryDirectory() as work:
        try:
            trained: Trained = run_to_end(
                train_method(segmenter, data, recipe, Path(work)), _tell(recipe.course)
            )
        except MiouFellError as error:  # what the tool would not install is measured all the same
            trained = Trained(segmenter, error.course)
    result: dict[str, Any] = {
        "base": header.heads[0].hash, "course": trained.course.rows, "kept": trained.course.best
    }  # fmt: skip
    if isinstance(trained.module, ResidualBlock):
        after = _class_maps(setup, segmenter)
        same = all(a.equal(b) for a, b in zip(maps or [], after, strict=True))
        result["class_map_identical"] = same
        result |= _test(setup, {"rpl_energy": residual_score(segmenter, trained.module)})
    else:
        result |= _test(setup, {name: base_score(segmenter, name) for name in SCORES_TOLD})
        result["miou"] = miou(segmenter, _test_frames(setup))[0]
    typer.echo(json.dumps({k: v for k, v in result.items() if k != "course"}))
    return result


def before(setup: Setup) -> dict[str, Any]:
    """Measure the untouched model."""
    segmenter, header = load(setup.model)
    _to_device(segmenter)
    found = _test(setup, {name: base_score(segmenter, name) for name in SCORES_TOLD})
    base = header.heads[0].hash
    return {**found, "base": base, "miou": miou(segmenter, _test_frames(setup))[0]}


def budget(setup: Setup) -> dict[str, Any]:
    """Return how small this run of the experiment was."""
    return {
        "steps": setup.steps, "batch": 4, "crop": [240, 240], "test_frames": setup.test_frames,
        "road_frames": setup.road_frames, "seeds": list(setup.seeds),
    }  # fmt: skip


def _tell(course: CourseRecipe) -> Any:
    def tell(progress: Progress) -> None:
        if "ap" in progress.metrics:
            numbers = "  ".join(f"{k} {v:.3f}" for k, v in progress.metrics.items())
            typer.echo(f"seed {course.seed}, step {progress.done}: {numbers}")

    return tell


def _to_device(segmenter: Segmenter) -> None:
    segmenter.to("cuda" if torch.cuda.is_available() else "cpu")


def _data(setup: Setup, recipe: OodRecipe) -> OodData:
    """Return CamVid's train and every tenth val frame, car left out, with the training proxies."""
    frames = tuple(
        read_frames(setup.data, names, ("car",))
        for names in (read_names(setup.data / "train.txt"), _names(setup, "val.txt", 10))
    )
    return ood_data((frames[0], frames[1]), read_proxies(recipe.proxy), recipe.proxy)


def _names(setup: Setup, file: str, count: int) -> Sequence[str]:
    names = read_names(setup.data / file)
    return [names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)]


def _test_frames(setup: Setup) -> Any:
    return read_frames(setup.data, _names(setup, "test.txt", setup.test_frames), ("car",))


def _test(setup: Setup, scores: dict[str, ScoreOf]) -> dict[str, Any]:
    """Return each score's measures on pasted unseen objects and on both parts of road_ood."""
    sets = {"pasted": _pasted(setup)}
    if setup.road_frames:
        sets |= {name: _road(setup, name) for name in ("road_anomaly21", "road_obstacle21")}
    return {
        place: {name: measure_ood(score, frames) for name, score in scores.items()}
        for place, frames in sets.items()
    }


def _pasted(setup: Setup) -> list[PastedFrame]:
    """Return test frames with objects that neither training nor selection has seen."""
    chosen = proxy(setup)
    unseen = list(read_folder(chosen, read_names(Path(chosen.path) / "val.txt")))
    objects = cutouts(unseen, chosen.min_area, chosen.pieces)
    return pasted_frames(_test_frames(setup), objects, TEST_SEED, SCALES)


def _road(setup: Setup, name: str) -> list[PastedFrame]:
    folder = setup.shared / "road_ood" / name
    masks = sorted((folder / "masks").glob("*.png"))
    count = min(len(masks), setup.road_frames)
    found = []
    for index in np.linspace(0, len(masks) - 1, count).round().astype(int):
        path = masks[index]
        picture = next(p for p in (folder / "images").iterdir() if p.stem == path.stem)
        with Image.open(path) as file:
            found.append(PastedFrame(images.read(picture), np.asarray(file).astype(np.uint8)))
    return found


def _class_maps(setup: Setup, segmenter: Segmenter) -> list[torch.Tensor]:
    """Return the class maps of a few test frames, to be compared bit for bit."""
    frames = read_frames(setup.data, _names(setup, "test.txt", 4), ("car",))
    return [predict(segmenter, image) for image in frames.images]


if __name__ == "__main__":
    app()
