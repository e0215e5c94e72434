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
    """Return what the recipe asks for; its sections say which kind of training that is."""
    from owlabel_training.core.recipe import Recipe, read, sections

    data, base = given
    named = sections(path)
    if "weak_shot" in named:
        from owlabel_training.weak_shot.recipe import WeakShotRecipe
        from owlabel_training.weak_shot.run import WeakShotTraining

        weak = read(WeakShotRecipe, path, changes)
        start = _start(base, weak.base.checkpoint)
        return WeakShotTraining(weak, start, _folder(data, weak.data.folder), out / weak.name)
    if "pretraining" in named:
        from owlabel_training.pretraining.recipe import PretrainRecipe
        from owlabel_training.pretraining.run import PretrainingRun

        pretrain = read(PretrainRecipe, path, changes)
        return PretrainingRun(pretrain, _folder(data, pretrain.data.folder), out / pretrain.name)
    if named & {"entropy", "residual"}:
        from owlabel_training.ood.recipe import OodRecipe
        from owlabel_training.ood.run import OodTraining

        ood = read(OodRecipe, path, changes)
        start = _start(base, ood.base.checkpoint)
        if start is None:
            raise ValueError("name the model to start from with --base or base.checkpoint")
        return OodTraining(ood, start, _folder(data, ood.data.folder), out / ood.name)
    from owlabel_training.core.base_run import BaseTraining

    recipe = read(Recipe, path, changes)
    return BaseTraining(recipe, _folder(data, recipe.data.folder), out / recipe.name)


def _start(base: Path | None, named: str) -> Path | None:
    """Return the model to start from, if the command or the recipe names one."""
    return base or (Path(named) if named else None)


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
