"""Split and tag a folder with full labels: ``python -m experiments.methods.weak_shot_lists DIR``.

Writes ``train.txt``, ``val.txt`` and ``test.txt`` (in the order of the names) and ``tags.json``,
what somebody would say who looks at the pictures.  For experiments on scenes of the generator.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from owlabel_training.core.data import read_frames

MIN_SHARE = 0.001
"""A class is in a picture where it covers this share of it."""


def main(
    folder: Annotated[Path, typer.Argument(help="images/, labels/ and classes.json.")],
    val: Annotated[int, typer.Option(min=1, help="Frames to choose thresholds on.")] = 15,
    test: Annotated[int, typer.Option(min=1, help="Frames to measure on.")] = 30,
) -> None:
    """Write the lists and the tags."""
    names = sorted(path.stem for path in (folder / "labels").glob("*.png"))
    if len(names) <= val + test:
        typer.secho(f"{folder / 'labels'} has {len(names)} masks: too few", fg="red", err=True)
        raise typer.Exit(2)
    first, second = len(names) - val - test, len(names) - test
    parts = {"train": names[:first], "val": names[first:second], "test": names[second:]}
    for part, some in parts.items():
        (folder / f"{part}.txt").write_text("\n".join(some) + "\n", encoding="utf-8")
    text = json.dumps({"tags": tags_of(folder, names)}, indent=1)
    (folder / "tags.json").write_text(text + "\n", encoding="utf-8")
    typer.echo(", ".join(f"{part}: {len(some)}" for part, some in parts.items()))


def tags_of(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """Return the classes that cover at least a thousandth of each frame."""
    frames = read_frames(folder, names)
    found = {}
    for name, label in zip(frames.names, frames.labels, strict=True):
        share = np.bincount(label.ravel(), minlength=256) / label.size
        found[name] = [c.name for c in frames.classes.classes if share[c.id] >= MIN_SHARE]
    return found


if __name__ == "__main__":
    typer.run(main)
