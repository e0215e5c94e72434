"""The command ``owlabel-train``: a recipe to a checkpoint."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: see docs/architecture.md

import json
from pathlib import Path
from typing import Annotated

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
    restart: Annotated[bool, typer.Option(help="Forget an earlier run in the folder.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train a base model.  Run the same line again to go on after an interruption."""
    try:
        _train(recipe, data, out, change or [], restart, threads)
    except ValueError as error:
        typer.secho(f"owlabel-train: {error}", fg="red", err=True)
        raise typer.Exit(2) from error


def _train(
    path: Path, data: Path | None, out: Path, changes: list[str], restart: bool, threads: int
) -> None:
    """Read the recipe, check the data, train, and say how it goes."""
    from owlabel_training import recipe as recipes

    recipe = recipes.read(path, changes)
    folder = data or (Path(recipe.data.folder) if recipe.data.folder else None)
    if folder is None:
        raise ValueError("name the data folder with --data or the variable OWLABEL_DATA")
    import torch

    from owlabel_training.base import BaseTraining

    if threads:
        torch.set_num_threads(threads)
    training = BaseTraining(recipe, folder, out / recipe.name)
    if restart:
        for name in ("state.safetensors", "best.safetensors", "log.csv"):
            (training.output / name).unlink(missing_ok=True)
    result = _follow(training)
    typer.echo(json.dumps(result, indent=1))


def _follow(training: object) -> object:
    """Drive a training and print every validation."""
    from owlabel.jobs.job import Progress, run_to_end
    from owlabel_training.base import BaseTraining

    def show(progress: Progress) -> None:
        if "miou" in progress.metrics or progress.done % 50 == 0:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in progress.metrics.items())
            typer.echo(f"step {progress.done}  {progress.message}  {numbers}")

    if not isinstance(training, BaseTraining):
        raise TypeError(f"expected a BaseTraining, got {type(training).__name__}")
    return run_to_end(training.run(), show)


if __name__ == "__main__":
    app()
