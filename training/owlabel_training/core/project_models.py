"""Models that a training adds to a project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from owlabel.project.store import Project


def add_model(
    project: Project, file: Path, about: tuple[str, str], parent: Path, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Make a checkpoint in a project's folder a new model version.

    Parameters
    ----------
    project : Project
    file : Path
        The checkpoint.
    about : tuple of str
        Name and kind of the version.
    parent : Path
        Checkpoint of the model that the training began with.
    metrics : mapping
        What the window shows of the version.

    Returns
    -------
    dict
        ``model_id``, and ``path`` relative to the project's folder.
    """
    name, kind = about
    parents = (v.id for v in project.models() if v.path.resolve() == parent.resolve())
    version = project.add_model(file, name, kind, next(parents, None), dict(metrics))
    return {"model_id": version.id, "path": file.relative_to(project.folder).as_posix()}
