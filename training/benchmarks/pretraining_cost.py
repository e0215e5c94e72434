"""What pre-training costs beside base training: ``python -m benchmarks.pretraining_cost``.

Makes the auxiliary labels of all images that the pre-training recipe names, then takes steps of the
contrast and of each base recipe by turns, in one process, so that whatever else runs on the machine
slows all of them.  Nothing is kept but the figures.
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
from owlabel_training.core.base_run import new_segmenter
from owlabel_training.core.data import read_split
from owlabel_training.core.loop import train
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
    """Time that something took: on the clock, and of the CPU cores together."""

    wall: float
    cpu: float

    def plain(self) -> dict[str, float]:
        """Return both as JSON values."""
        return {"wall_s": round(self.wall, 3), "cpu_s": round(self.cpu, 3)}


class Watch:
    """A stop watch that is read again and again."""

    def __init__(self) -> None:
        self._last = (time.perf_counter(), time.process_time())

    def lap(self) -> Seconds:
        """Return the time since the last reading."""
        now = (time.perf_counter(), time.process_time())
        before, self._last = self._last, now
        return Seconds(now[0] - before[0], now[1] - before[1])


def label_phases(steps: Generator[Progress, None, Auxiliary]) -> tuple[dict[str, Seconds], str]:
    """Make auxiliary labels; return what each phase took, and the key that they are cached under.

    The time up to a yield is that phase's; what follows "clustering" is the fit (and one image).
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
        so_far = spent.get(phase, Seconds(0, 0))
        spent[phase] = Seconds(so_far.wall + lap.wall, so_far.cpu + lap.cpu)
        before = message


def step_costs(runs: Mapping[str, Steps], rounds: int, block: int) -> dict[str, Seconds]:
    """Take blocks of steps by turns; return the median cost of a step of each run.

    One block of each is not counted: what is made once is made there.

    Raises
    ------
    ValueError
        If a run has fewer steps than are measured, or nothing shall be measured.
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
            statistics.median(one.wall for one in found[1:]),
            statistics.median(one.cpu for one in found[1:]),
        )
        for name, found in laps.items()
    }


def steps_of(recipe: Recipe, step: float) -> int:
    """Return after how many steps a base training ends: its iterations, or its minutes before.

    Parameters
    ----------
    recipe : Recipe
    step : float
        Seconds of wall time that a step takes.
    """
    training = recipe.training
    if not training.minutes:
        return training.iterations
    return min(training.iterations, max(1, round(60 * training.minutes / step)))


def ratios(pretraining: float, base: float) -> dict[str, float]:
    """Return the cost of pre-training beside that of a base training, both in seconds."""
    return {
        "base_s": round(base, 1),
        "ratio": round(pretraining / base, 3),
        "with_base": round(1 + pretraining / base, 3),
    }


@app.command()
def measure(
    data: Annotated[Path, typer.Option(envvar="OWLABEL_CAMVID", help="The data folder.")],
    pretraining: Annotated[Path, typer.Option(help="Recipe of pre-training.")] = PRETRAIN,
    base: Annotated[list[Path] | None, typer.Option(help="Recipes of base training.")] = None,
    rounds: Annotated[int, typer.Option(help="Blocks of each run that are counted.")] = 5,
    block: Annotated[int, typer.Option(help="Steps of a block.")] = 6,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = Path(
        "docs/results/pretraining_cost.json"
    ),
) -> None:
    """Measure labels, a step of the contrast and a step of base training; write the ratios."""
    write_result(out, lambda: _measured(data, pretraining, base or BASES, rounds, block), NOTE)


def _measured(
    data: Path, path: Path, base: tuple[Path, ...] | list[Path], rounds: int, block: int
) -> dict[str, Any]:
    recipe, bases = read(PretrainRecipe, path), {one.stem: read(Recipe, one) for one in base}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pictures = folder_pictures(data, recipe.data.train)
        source, cache = extractor(recipe.labels), FeatureCache(work / "cache")
        phases, key = label_phases(Build(pictures, recipe.labels, source, cache, work).run())
        typer.echo(f"labels of {len(pictures)} images: {phases}")
        positives = recipe.pretraining.positives
        shown = Labelled(pictures, cache, key, positives, recipe.labels.superpixels)
        runs = {"contrast": _contrast(recipe, shown, work / "contrast")}
        runs |= {name: _base(one, data, work / name) for name, one in bases.items()}
        costs = step_costs(runs, rounds, block)
    made = Seconds(sum(p.wall for p in phases.values()), sum(p.cpu for p in phases.values()))
    count, step = recipe.pretraining.iterations, costs["contrast"]
    whole = Seconds(made.wall + count * step.wall, made.cpu + count * step.cpu)
    return {
        "images": len(pictures),
        "labels": {name: one.plain() for name, one in phases.items()},
        "contrast": {"steps": count, "step": step.plain(), "with_labels": whole.plain()},
        "base": {name: _beside(whole, costs[name], one) for name, one in bases.items()},
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
