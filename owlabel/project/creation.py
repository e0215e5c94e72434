"""Creates a project's folder, and migrates old projects."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from sqlalchemy.orm import Session

from owlabel.classes import ClassTable
from owlabel.project import model_versions
from owlabel.project.storage import migrate
from owlabel.project.storage.database import Database
from owlabel.project.storage.records import ProjectError
from owlabel.project.storage.schema import ClassRow, MetaRow, SettingRow

DATABASE = "project.db"


def create(folder: Path, images_root: Path, checkpoint: Path | None, name: str) -> None:
    """Create the folder with the first model and the database; the database appears last.

    Raises
    ------
    ProjectError
        If the folder already holds a project, the image folder is missing, or writing fails.
    """
    path = folder / DATABASE
    if path.exists():
        raise ProjectError(f"{folder} already holds a project; open it instead")
    if not images_root.is_dir():
        raise ProjectError(f"the image folder {images_root} does not exist")
    classes = _classes_of(checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stored = None if checkpoint is None else model_versions.copied_in(folder, checkpoint)
        partial = folder / f".{uuid.uuid4().hex}.tmp"
        _fill_database(partial, images_root, stored, classes, name)
        _publish(partial, path)
    except OSError as error:
        raise ProjectError(f"{folder} cannot be written: {error.strerror}") from error


def _classes_of(checkpoint: Path | None) -> ClassTable:
    if checkpoint is None:
        return ClassTable(())
    from owlabel.checkpoints.header import read_header

    return read_header(checkpoint).classes


def _fill_database(
    partial: Path, images_root: Path, stored: Path | None, classes: ClassTable, name: str
) -> None:
    database = Database(partial)
    try:
        migrate.upgrade(database.engine)
        with database.writing() as session:
            _write_facts(session, partial.parent, images_root, name)
            _write_classes(session, classes)
            if stored is not None:
                what = (stored.stem, "base", None)
                model = model_versions.add(session, partial.parent, stored, what, {})
                session.add(SettingRow(key="active_model", value=model.id))
    finally:
        database.close()


def _write_facts(session: Session, folder: Path, images_root: Path, name: str) -> None:
    facts = {
        "name": name,
        "images_root": str(images_root),
        "images_root_relative": Path(os.path.relpath(images_root, folder)).as_posix(),
    }
    session.add_all(MetaRow(key=key, value=value) for key, value in facts.items())


def _write_classes(session: Session, classes: ClassTable) -> None:
    session.add_all(
        ClassRow(id=c.id, name=c.name, color=list(c.color), novel=c.novel, active=True)
        for c in classes.classes
    )


def _publish(partial: Path, path: Path) -> None:
    """Give the finished database its name; of two processes at once only one succeeds."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise ProjectError(f"{path.parent} already holds a project; open it instead") from None
    finally:
        partial.unlink(missing_ok=True)


def migrate_in_place(path: Path) -> None:
    """Migrate a database to the newest revision; raises ProjectError, see `migrate.ensure`."""
    database = Database(path)
    try:
        migrate.ensure(path, database.engine)
    finally:
        database.close()
