"""Cost of pre-training compared with base training: ``python -m benchmarks.pretraining_cost``.

The benchmark builds the auxiliary labels of all images of the pre-training recipe.  Then it runs
steps of the contrast and of each base recipe in turn in one process, so that other load on the
machine slows all of them alike.  It keeps only the measured times.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import statistics
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from experiments.results import write_result
from owlabel.jobs.job import Progress
from owlabel.jobs.kinds.auxiliary_labels import Auxiliary, Build, extractor
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel_training.core.base_loop import train
from owlabel_training.core.base_run import new_segmenter
from owlabel_training.core.data import read_split
from owlabel_training.core.recipe import Recipe, read
from owlabel_training.pretraining.batches import Labelled
from owlabel_training.pretraining.loop import pretrain
from owlabel_training.pretraining.recipe import PretrainRecipe
from owlabel_training.pretraining.run import folder_pictures

app = typer.Typer(add_completion=False, help=__doc__)
NOTE = (
    "seconds: wall time and CPU time of this process; step: median of blocks taken by turns; base "
    "training without its validations; ratio = (labels + contrast) / base training; with_base adds "
    "the base training that follows to the numerator"
)
RECIPES = Path("training/recipes")
PRETRAIN = RECIPES / "camvid_pretrain.toml"
BASES = (RECIPES / "camvid_common.toml", RECIPES / "camvid_10+1_direct.toml")
CLUSTERING = "clustering"
Steps = Generator[Progress, None, Any]


@dataclass(frozen=True)
class Seconds:
    """Wall time, and CPU time of all cores together."""

    wall: float
    cpu: float

    def plain(self) -> dict[str, float]:
        """Return both as JSON values."""
        return {"wall_s": round(self.wall, 3), "cpu_s": round(self.cpu, 3)}


class Watch:
    """A stop watch with laps."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def lap(self) -> Seconds:
        """Return the time since the last lap."""
        now = (time.perf_counter(), time.process_time())
        before, self._last = self._last, now
        return Seconds(now[0] - before[0], now[1] - before[1])


def label_phases(steps: Generator[Progress, None, Auxiliary]) -> tuple[dict[str, Seconds], str]:
    """Build auxiliary labels; return the time of each phase, and their cache key.

    The time before a yield belongs to the phase that it reports.  The time after "clustering" is
    the fit (and one image).
    """
    spent: dict[str, Seconds] = {}
    watch, before = Watch(), ""
    while True:
        try:
            message = next(steps).message
        except StopIteration as end:
            return spent, str(end.value.key)
        lap = watch.lap()
        phase = CLUSTERING if before == CLUSTERING else message
        total = spent.get(phase, Seconds(0, 0))
        spent[phase] = Seconds(total.wall + lap.wall, total.cpu + lap.cpu)
        before = message


def step_costs(runs: Mapping[str, Steps], rounds: int, block: int) -> dict[str, Seconds]:
    """Run blocks of steps in turn; return the median cost of a step of each run.

    The first block of each run is a warm-up and does not count.

    Raises
    ------
    ValueError
        If a run has fewer steps than the blocks need, or `rounds` or `block` is below 1.
    """
    if rounds < 1 or block < 1:
        raise ValueError(f"rounds and block must be at least 1, got {rounds} and {block}")
    laps: dict[str, list[Seconds]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, steps in runs.items():
            watch = Watch()
            for _ in range(block):
                if next(steps, None) is None:
                    raise ValueError(f"{name} has fewer than {(rounds + 1) * block} steps")
            lap = watch.lap()
            laps[name].append(Seconds(lap.wall / block, lap.cpu / block))
    return {
        name: Seconds(
            statistics.median(lap.wall for lap in times[1:]),
            statistics.median(lap.cpu for lap in times[1:]),
        )
        for name, times in laps.items()
    }


def steps_of(recipe: Recipe, step: float) -> int:
    """Return the number of steps of a base training: its iterations, or fewer if time runs out.

    Parameters
    ----------
    recipe : Recipe
    step : float
        Wall time of a step in seconds.
    """
    training = recipe.training
    if not training.minutes:
        return training.iterations
    return min(training.iterations, max(1, round(60 * training.minutes / step)))


def ratios(pretraining: float, base: float) -> dict[str, float]:
    """Return the ratio of the cost of pre-training to that of base training, both in seconds."""
    return {
        "base_s": round(base, 1),
        "ratio": round(pretraining / base, 3),
        "with_base": round(1 + pretraining / base, 3),
    }


@app.command()
def measure(
    data: Annotated[Path, typer.Option(envvar="OWLABEL_CAMVID", help="Folder of the data set.")],
    pretraining: Annotated[Path, typer.Option(help="Recipe of pre-training.")] = PRETRAIN,
    base: Annotated[list[Path] | None, typer.Option(help="Recipes of base training.")] = None,
    rounds: Annotated[int, typer.Option(help="Measured blocks of each run.")] = 5,
    block: Annotated[int, typer.Option(help="Steps per block.")] = 6,
    out: Annotated[Path, typer.Option(help="JSON file for the results.")] = Path(
        "docs/results/pretraining_cost.json"
    ),
) -> None:
    """Measure labels, a step of the contrast and a step of base training; write the ratios."""
    write_result(out, lambda: _measured(data, pretraining, base or BASES, rounds, block), NOTE)


def _measured(
    data: Path, path: Path, base: tuple[Path, ...] | list[Path], rounds: int, block: int
) -> dict[str, Any]:
    recipe, bases = read(PretrainRecipe, path), {file.stem: read(Recipe, file) for file in base}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pictures = folder_pictures(data, recipe.data.train)
        source, cache = extractor(recipe.labels), FeatureCache(work / "cache")
        phases, key = label_phases(Build(pictures, recipe.labels, source, cache, work).run())
        typer.echo(f"labels of {len(pictures)} images: {phases}")
        positives = recipe.pretraining.positives
        labelled = Labelled(pictures, cache, key, positives, recipe.labels.superpixels)
        runs = {"contrast": _contrast(recipe, labelled, work / "contrast")}
        runs |= {name: _base(plan, data, work / name) for name, plan in bases.items()}
        costs = step_costs(runs, rounds, block)
    labels = Seconds(sum(p.wall for p in phases.values()), sum(p.cpu for p in phases.values()))
    count, step = recipe.pretraining.iterations, costs["contrast"]
    whole = Seconds(labels.wall + count * step.wall, labels.cpu + count * step.cpu)
    return {
        "images": len(pictures),
        "labels": {name: seconds.plain() for name, seconds in phases.items()},
        "contrast": {"steps": count, "step": step.plain(), "with_labels": whole.plain()},
        "base": {name: _beside(whole, costs[name], plan) for name, plan in bases.items()},
        "measured": {"rounds": rounds, "block": block},
    }


def _beside(whole: Seconds, step: Seconds, recipe: Recipe) -> dict[str, Any]:
    steps = steps_of(recipe, step.wall)
    return {
        "steps": steps,
        "step": step.plain(),
        "by_wall": ratios(whole.wall, steps * step.wall),
        "by_cpu": ratios(whole.cpu, steps * step.cpu),
    }


def _contrast(recipe: PretrainRecipe, source: Labelled, work: Path) -> Steps:
    torch.manual_seed(recipe.pretraining.seed)
    return pretrain(new_segmenter(recipe.model, 2), source, recipe.pretraining, work)


def _base(recipe: Recipe, data: Path, work: Path) -> Steps:
    """Return the steps of a base training from random weights, without validations."""
    frames = read_split(data, recipe.data)
    work.mkdir(parents=True)
    torch.manual_seed(recipe.training.seed)
    segmenter = new_segmenter(recipe.model.replace(initial=""), len(frames[0].classes))
    never = recipe.training.replace(validate_every=recipe.training.iterations)
    return train(segmenter, frames, never, work)


if __name__ == "__main__":
    app()
