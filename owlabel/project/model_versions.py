"""Model versions: checkpoints in the project's folder and their rows."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from owlabel.project.storage.records import ModelVersion, ProjectError
from owlabel.project.storage.schema import ModelRow
from owlabel.project.tables.catalog import inside

MODELS = "models"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copied_in(folder: Path, path: Path) -> Path:
    """Copy a checkpoint into ``models/`` unless it is there, and return its path.

    Raises
    ------
    ProjectError
        If it cannot be read or copied; no partial copy remains.
    """
    models = folder / MODELS
    try:
        if path.resolve().parent == models.resolve():
            file_sha256(path)
            return path.resolve()
        models.mkdir(parents=True, exist_ok=True)
        return _copy(path, models)
    except OSError as error:
        raise ProjectError(f"the checkpoint {path} cannot be copied: {error.strerror}") from error


def _copy(path: Path, models: Path) -> Path:
    partial = models / f".{uuid.uuid4().hex}.tmp"
    try:
        shutil.copyfile(path, partial)
        target = _target(models, path, file_sha256(partial))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
        return target
    finally:
        partial.unlink(missing_ok=True)


def _target(models: Path, path: Path, digest: str) -> Path:
    """Return the path of the copy: its own name, or a name with its hash if that is taken."""
    target = models / path.name
    if target.exists() and file_sha256(target) != digest:
        target = models / f"{path.stem}-{digest[:12]}{path.suffix}"
    return target


def add(
    session: Session,
    folder: Path,
    stored: Path,
    what: tuple[str, str, int | None],
    metrics: Mapping[str, Any],
) -> ModelRow:
    """Insert the row of a checkpoint in the folder; `what` is (name, kind, parent id)."""
    name, kind, parent_id = what
    row = ModelRow(
        name=name,
        path=stored.relative_to(folder.resolve()).as_posix(),
        kind=kind,
        parent_id=parent_id,
        created=time.time(),
        metrics=dict(metrics),
        sha256=file_sha256(stored),
    )
    session.add(row)
    session.flush()
    return row


def models(session: Session, folder: Path) -> list[ModelVersion]:
    """Return all versions, oldest first."""
    return [
        as_model(row, folder) for row in session.scalars(select(ModelRow).order_by(ModelRow.id))
    ]


def as_model(row: ModelRow, folder: Path) -> ModelVersion:
    """Return the record of a model's row; raises ProjectError if its path leaves the folder."""
    return ModelVersion(
        id=row.id,
        name=row.name,
        path=inside(folder, row.path),
        kind=row.kind,
        parent_id=row.parent_id,
        created=row.created,
        metrics=row.metrics,
        hash=row.sha256,
    )
