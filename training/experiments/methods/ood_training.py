"""OoD training on CamVid: ``python -m experiments.methods.ood_training NAME``.

Entropy maximisation (before and after, lambda and rate, course), RPL and RPL + CoroCL (before and
after, anchors, projector), each against the untouched model on the same frames.  Everything is
chosen on frames of ``val.txt`` with objects of ``ood_proxy/train.txt``; tested on pictures of
``ood_proxy/val.txt`` pasted into test frames, of which training and selection saw none, and on
``road_ood``.

Every finished variant and seed is a file in ``--rows``, which is not measured again.  With
``--minutes`` the command stops in time with status 3, in the middle of a training, too; the same
line goes on.  ``--only`` and ``--seed`` take a part.  When nothing is missing the rows are merged
into one JSON file, from which ``table`` makes the page.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer

from experiments.methods import ood_test_sets, ood_training_table
from experiments.results import write_result
from experiments.rows import Rows
from owlabel.checkpoints.header import read_header
from owlabel.jobs.job import Progress, run_to_end
from owlabel.models.device import chosen_device
from owlabel.models.residual_block import ResidualBlock
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load
from owlabel_training.core.base_loop import miou, predict
from owlabel_training.core.data import Frames, read_frames, read_names
from owlabel_training.ood.data import OodData, ood_data
from owlabel_training.ood.loop import MiouFellError
from owlabel_training.ood.losses import Averaging
from owlabel_training.ood.measures import ScoreOf, base_score, measure_ood, residual_score
from owlabel_training.ood.proxies import read_proxies
from owlabel_training.ood.recipe import (
    CourseRecipe,
    EntropyRecipe,
    OodRecipe,
    ResidualRecipe,
)
from owlabel_training.ood.run import Trained, train_method

app = typer.Typer(add_completion=False, help=__doc__)
NOTE = (
    "CamVid 10+1 model (car unknown, void everywhere here); training objects: pictures of "
    "ood_proxy/train.txt, every fourth of them validates; test objects: pictures of "
    "ood_proxy/val.txt, pasted into test frames; road_ood is another camera and country; AP, "
    "AUROC and FPR95 pooled over pixels; with outlier exposure"
)
SCORES_TOLD = ("entropy", "energy", "eds_absolute")
VAL_FRAMES = 10
SEEDS = (0, 1, 2)
LAMBDAS = (
    "joint 0.25 1e-4", "joint 0.5 1e-4", "joint 0.75 1e-4", "joint 0.9 1e-4", "joint 0.9 3e-5",
    "joint 0.9 3e-4", "separate 0.25 1e-4", "separate 0.9 1e-4",
)  # fmt: skip
"""Averaging, lambda, learning rate."""
METHODS = ("RPL", "RPL + CoroCL")
ABLATIONS = (
    "contexts both", "contexts city", "contexts context", "contexts all", "projector two",
    "projector two_bn",
)  # fmt: skip
"""The first is the default, with a projector of one layer."""
RESULTS, ROWS = Path("docs/results"), Path("runs/ood_training")


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
RowsAt = Annotated[Path, typer.Option("--rows", help="Folder of finished runs, and of states.")]
Minutes = Annotated[float, typer.Option(help="Stop after so long, with status 3; 0: never.")]
Only = Annotated[list[str] | None, typer.Option(help="Only these variants, by name.")]
Lambda = Annotated[float, typer.Option("--lambda", help="Weight of the OoD objective.")]
Averaged = Annotated[str, typer.Option(help="joint or separate")]
Rate = Annotated[float, typer.Option("--lr", help="Learning rate.")]


@app.command()
def entropy(
    data: Data, shared: Shared, model: Model, steps: Steps = 600, frames: Frames_ = 44,
    road: Road = 35, seed: Seeds = None, rows: RowsAt = ROWS, minutes: Minutes = 0,
    lambda_ood: Lambda = 0.9, averaging: Averaged = "joint", lr: Rate = 1e-4, out: Out = RESULTS,
) -> None:  # fmt: skip
    """Entropy maximisation: before, after, and the course of training."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or SEEDS))
    variant = f"{averaging} {lambda_ood:g} {lr:g}"

    def measure() -> dict[str, Any]:
        kept = Rows(rows, "entropy", budget(setup), minutes)
        first = kept.row("before", lambda _: before(setup))
        found = _runs(setup, kept, [variant], _entropy)
        return {"before": first, "variant": variant, "seeds": found.pop("runs")[variant], **found}

    write_result(out / "ood_training_entropy.json", measure, NOTE)


@app.command()
def sweep(
    data: Data, shared: Shared, model: Model, steps: Steps = 300, frames: Frames_ = 44,
    road: Road = 0, seed: Seeds = None, rows: RowsAt = ROWS, minutes: Minutes = 0,
    only: Only = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """Entropy maximisation with several lambda and rates, joint and separate averaging."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or SEEDS))

    def measure() -> dict[str, Any]:
        kept = Rows(rows, "lambda", budget(setup), minutes)
        first = kept.row("before", lambda _: before(setup))
        found = _runs(setup, kept, _some(LAMBDAS, only), _entropy)
        return {"before": first, "lambda": found.pop("runs"), **found}

    write_result(out / "ood_training_lambda.json", measure, NOTE)


@app.command()
def rpl(
    data: Data, shared: Shared, model: Model, steps: Steps = 600, frames: Frames_ = 44,
    road: Road = 35, seed: Seeds = None, rows: RowsAt = ROWS, minutes: Minutes = 0,
    only: Only = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """RPL and RPL + CoroCL beside the frozen model: before, after, and whether class maps agree."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or SEEDS))

    def measure() -> dict[str, Any]:
        kept = Rows(rows, "rpl", budget(setup), minutes)
        first = kept.row("before", lambda _: before(setup))
        found = _runs(setup, kept, _some(METHODS, only), _method)
        return {"before": first, "methods": found.pop("runs"), **found}

    write_result(out / "ood_training_rpl.json", measure, NOTE)


@app.command()
def ablation(
    data: Data, shared: Shared, model: Model, steps: Steps = 200, frames: Frames_ = 44,
    road: Road = 0, seed: Seeds = None, rows: RowsAt = ROWS, minutes: Minutes = 0,
    only: Only = None, out: Out = RESULTS,
) -> None:  # fmt: skip
    """CoroCL's anchors and contrast (RPL, Table 3), and its projector (RPL, Table 4)."""
    setup = Setup(data, shared, model, steps, frames, road, tuple(seed or SEEDS))

    def measure() -> dict[str, Any]:
        kept = Rows(rows, "ablation", budget(setup), minutes)
        found = _runs(setup, kept, _some(ABLATIONS, only), _ablated)
        return {"ablation": found.pop("runs"), **found}

    write_result(out / "ood_training_ablation.json", measure, NOTE)


@app.command()
def table(out: Out = RESULTS) -> None:
    """Write ood_training.md, the tables, from the JSON files in the folder."""
    (out / "ood_training.md").write_text(ood_training_table.page(out), encoding="utf-8")
    typer.echo(f"wrote {out / 'ood_training.md'}")


# -- one run -------------------------------------------------------------------------------------


def _some(names: Sequence[str], only: Sequence[str] | None) -> Sequence[str]:
    if unknown := sorted(set(only or ()) - set(names)):
        raise typer.BadParameter(f"there is no variant {unknown}; there are {list(names)}")
    return [name for name in names if not only or name in only]


def _runs(
    setup: Setup,
    rows: Rows,
    variants: Sequence[str],
    recipe: Callable[[Setup, str, int], OodRecipe],
) -> dict[str, Any]:
    """Return all runs by variant and seed, those that are missing made now, and the budget."""
    runs = {
        variant: {
            str(seed): rows.row(
                f"{variant} seed {seed}",
                lambda work, v=variant, s=seed: run(setup, recipe(setup, v, s), work, rows.pause),  # type: ignore[misc]
            )
            for seed in setup.seeds
        }
        for variant in variants
    }
    return {"runs": runs, "budget": {**budget(setup), "minutes": round(rows.spent, 1)}}


def small(setup: Setup, seed: int) -> dict[str, Any]:
    """Return the course that all methods share: small crops, four looks at the validation set."""
    return {
        "epochs": 4, "steps_per_epoch": max(1, setup.steps // 4), "batch_size": 4,
        "crop": (240, 240), "precision": "bf16-mixed", "seed": seed,
    }  # fmt: skip


def _entropy(setup: Setup, variant: str, seed: int) -> OodRecipe:
    """Return the recipe of entropy maximisation of a variant: averaging, lambda, rate."""
    averaging, lambda_ood, lr = variant.split()
    recipe = EntropyRecipe(
        **small(setup, seed), lr=float(lr), lambda_ood=float(lambda_ood),
        averaging=cast(Averaging, averaging), freeze_statistics=True,
    )  # fmt: skip
    return OodRecipe(name="entropy", proxy=ood_test_sets.proxy(setup.shared), entropy=recipe)


def _method(setup: Setup, variant: str, seed: int) -> OodRecipe:
    return residual(setup, seed, corocl=variant == METHODS[1])


def _ablated(setup: Setup, variant: str, seed: int) -> OodRecipe:
    key, value = variant.split()
    return residual(setup, seed, corocl=True, **{key: value})


def residual(setup: Setup, seed: int, **changes: Any) -> OodRecipe:
    """Return a recipe of RPL with the rates for few steps."""
    recipe = ResidualRecipe(**small(setup, seed), lr=7.5e-4, samples=128)
    recipe = recipe.replace(**changes)
    return OodRecipe(name="rpl", proxy=ood_test_sets.proxy(setup.shared), residual=recipe)


def run(setup: Setup, recipe: OodRecipe, work: Path, pause: Callable[[], None]) -> dict[str, Any]:
    """Train once, or go on with it, and measure on the test sets."""
    segmenter, header = load(setup.model)
    segmenter.to(chosen_device())
    maps = _class_maps(setup, segmenter) if recipe.residual is not None else None
    data = _data(setup, recipe, segmenter.largest_side)
    tell = _tell(recipe.course)

    def follow(progress: Progress) -> None:
        tell(progress)
        pause()

    try:
        trained: Trained = run_to_end(train_method(segmenter, data, recipe, work), follow)
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
    segmenter.to(chosen_device())
    found = _test(setup, {name: base_score(segmenter, name) for name in SCORES_TOLD})
    base = header.heads[0].hash
    return {**found, "base": base, "miou": miou(segmenter, _test_frames(setup))[0]}


def budget(setup: Setup) -> dict[str, Any]:
    """Return how small this run of the experiment was."""
    return {
        "steps": setup.steps, "batch": 4, "crop": [240, 240], "test_frames": setup.test_frames,
        "road_frames": setup.road_frames, "seeds": list(setup.seeds),
        "base": read_header(setup.model).heads[0].hash,
    }  # fmt: skip


def _tell(course: CourseRecipe) -> Any:
    def tell(progress: Progress) -> None:
        if "ap" in progress.metrics:
            numbers = "  ".join(f"{k} {v:.3f}" for k, v in progress.metrics.items())
            typer.echo(f"seed {course.seed}, step {progress.done}: {numbers}")

    return tell


def _data(setup: Setup, recipe: OodRecipe, largest_side: int) -> OodData:
    """Return CamVid's train and ten val frames, car left out, with the training proxies."""
    train, val = (
        read_frames(setup.data, names, ("car",))
        for names in (
            read_names(setup.data / "train.txt"),
            ood_test_sets.spread(read_names(setup.data / "val.txt"), VAL_FRAMES),
        )
    )
    return ood_data((train, val), read_proxies(recipe.proxy, largest_side), recipe.proxy)


def _test_frames(setup: Setup) -> Frames:
    names = ood_test_sets.spread(read_names(setup.data / "test.txt"), setup.test_frames)
    return read_frames(setup.data, names, ("car",))


def _test(setup: Setup, scores: dict[str, ScoreOf]) -> dict[str, Any]:
    """Return each score's measures on pasted unseen objects and on both parts of road_ood."""
    sets = {"pasted": ood_test_sets.pasted(setup.shared, _test_frames(setup))}
    for name in ("road_anomaly21", "road_obstacle21") if setup.road_frames else ():
        sets[name] = ood_test_sets.road(setup.shared, name, setup.road_frames)
    return {
        place: {name: measure_ood(score, frames) for name, score in scores.items()}
        for place, frames in sets.items()
    }


def _class_maps(setup: Setup, segmenter: Segmenter) -> list[torch.Tensor]:
    """Return the class maps of a few test frames, to be compared bit for bit."""
    names = ood_test_sets.spread(read_names(setup.data / "test.txt"), 4)
    return [predict(segmenter, image) for image in read_frames(setup.data, names, ("car",)).images]


if __name__ == "__main__":
    app()
