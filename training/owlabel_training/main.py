"""The command ``owlabel-train``: a recipe to a checkpoint."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: idle threads sleep

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(add_completion=False)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file, see training/recipes.")],
    data: Annotated[
        Path | None,
        typer.Option(envvar="OWLABEL_DATA", help="Folder with images/, labels/, classes.json."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for log, state and model.")] = Path("runs"),
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A line over the recipe's, e.g. training.minutes=9"),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="OoD and weak-shot training: the model to start from.")
    ] = None,
    restart: Annotated[bool, typer.Option(help="Forget an earlier run in the folder.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train what the recipe's sections ask for: by default, a base model.

    With the section "entropy" or "residual" it trains on OoD objects, with "pretraining" it
    pre-trains a backbone without labels, with "weak_shot" it learns masks of novel classes from
    tags.  Run the same line again to continue after an interruption.
    """
    try:
        _train(recipe, (data, base), out, change or [], restart, threads)
    except ValueError as error:
        typer.secho(f"owlabel-train: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


Training = Any
"""A `BaseTraining`, `OodTraining`, `PretrainingRun` or `WeakShotTraining`; all import torch."""


def _train(
    path: Path,
    given: tuple[Path | None, Path | None],
    out: Path,
    changes: list[str],
    restart: bool,
    threads: int,
) -> None:
    """Read the recipe, check the data, train, and say how it goes; `given` is data and base."""
    training = _training(path, given, out, changes)
    import torch

    if threads:
        torch.set_num_threads(threads)
    if restart:
        for name in ("state.safetensors", "best.safetensors", "log.csv"):
            (training.output / name).unlink(missing_ok=True)
            (training.output / "retrained" / name).unlink(missing_ok=True)
    result = _follow(training)
    typer.echo(json.dumps(result, indent=1))


def _training(
    path: Path, given: tuple[Path | None, Path | None], out: Path, changes: list[str]
) -> Training:
    """Return what the recipe asks for."""
    from owlabel_training.core import recipe as recipes
    from owlabel_training.ood import recipe as ood_recipe
    from owlabel_training.pretraining import recipe as pretraining_recipe
    from owlabel_training.weak_shot.recipe import is_weak_shot

    if is_weak_shot(path):
        return _weak_shot(path, given, out, changes)
    data, base = given
    if pretraining_recipe.is_pretraining(path):
        pretrain = pretraining_recipe.read(path, changes)
        from owlabel_training.pretraining.run import PretrainingRun

        return PretrainingRun(pretrain, _folder(data, pretrain.data.folder), out / pretrain.name)
    if ood_recipe.is_ood(path) is None:
        recipe = recipes.read(path, changes)
        from owlabel_training.core.base_run import BaseTraining

        folder = _folder(data, recipe.data.folder)
        return BaseTraining(recipe, folder, out / recipe.name)
    ood = ood_recipe.read(path, changes)
    start = base or (Path(ood.base.checkpoint) if ood.base.checkpoint else None)
    if start is None:
        raise ValueError("name the model to start from with --base or base.checkpoint")
    from owlabel_training.ood.run import OodTraining

    return OodTraining(ood, start, _folder(data, ood.data.folder), out / ood.name)


def _weak_shot(
    path: Path, given: tuple[Path | None, Path | None], out: Path, changes: list[str]
) -> Training:
    """Return the training of a recipe with [weak_shot]; without a base it starts from nothing."""
    from owlabel_training.weak_shot import recipe as weak_shot_recipe
    from owlabel_training.weak_shot.run import WeakShotTraining

    recipe = weak_shot_recipe.read(path, changes)
    data, base = given
    start = base or (Path(recipe.base.checkpoint) if recipe.base.checkpoint else None)
    return WeakShotTraining(recipe, start, _folder(data, recipe.data.folder), out / recipe.name)


def _folder(data: Path | None, named: str) -> Path:
    folder = data or (Path(named) if named else None)
    if folder is None:
        raise ValueError("name the data folder with --data or the variable OWLABEL_DATA")
    return folder


def _follow(training: Training) -> object:
    """Drive a training and print every validation."""
    from owlabel.jobs.job import Progress, run_to_end

    def show(progress: Progress) -> None:
        if "miou" in progress.metrics or progress.done % 50 == 0:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in progress.metrics.items())
            typer.echo(f"step {progress.done}  {progress.message}  {numbers}")

    return run_to_end(training.run(), show)


if __name__ == "__main__":
    app()
