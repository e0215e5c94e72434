"""``owlabel large``: choose whether a project's model reduces large images or tiles them."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from safetensors.numpy import load_file, save_file

from owlabel.checkpoints.header import KEY, LARGE_IMAGES, CheckpointHeader, read_header
from owlabel.commands.console import ProjectArg, open_session, out

Choice = Literal["reduce", "tile"]


def large(
    project: ProjectArg,
    how: Annotated[str, typer.Argument(help="How to handle large images: reduce or tile.")],
) -> None:
    """Use a version of the model that reduces large images or cuts them into tiles.

    Tiles keep every detail, but time and disk space grow with the number of pixels. A reduced image
    costs no more than an image of the model's `max_side`. The previous version is kept.
    """
    with open_session(project) as session:
        if how not in LARGE_IMAGES:
            raise ValueError(f"choose one of {', '.join(LARGE_IMAGES)}, got {how!r}")
        if session.models.header.large_images != how:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / f"{session.models.active.path.stem}-{how}.safetensors"
                with_large_images(session.models.active.path, copy, cast(Choice, how))
                session.models.switch(session.models.add_file(copy).id)
        side = session.models.header.max_side
        what = "reduced" if how == "reduce" else "cut into tiles"
        out.print(f"images larger than {side} are {what}: {session.models.active.name}")


def with_large_images(path: Path, copy: Path, how: Choice) -> CheckpointHeader:
    """Write a copy of a checkpoint with another `large_images` and new hashes of its heads.

    Parameters
    ----------
    path, copy : Path
        The model, and the path of the copy.
    how : {"reduce", "tile"}

    Raises
    ------
    owlabel.checkpoints.header.CheckpointError
        If `path` is not a model.
    """
    header = read_header(path)
    heads = tuple(
        replace(head, hash=hashlib.sha256(f"{head.hash} {how}".encode()).hexdigest()[:16])
        for head in header.heads
    )
    name = f"{header.name.removesuffix(' (tile)').removesuffix(' (reduce)')} ({how})"
    changed = replace(header, large_images=how, heads=heads, name=name)
    save_file(load_file(path), copy, metadata={KEY: changed.to_json()})
    return changed
