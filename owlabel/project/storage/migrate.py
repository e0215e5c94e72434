"""Backs up and migrates a database to the newest revision; rejects a newer database."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from owlabel.project.storage.records import ProjectError
from owlabel.project.storage.schema import REVISION

SCRIPTS = Path(__file__).parent / "migrations"


def found_revision(path: Path) -> str | None:
    """Return the revision of a database file without changing it, or None if it has none.

    Raises
    ------
    ProjectError
        If the file cannot be read or is not a database.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout=10000")
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if "alembic_version" not in tables:
                return None
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return None if row is None else str(row[0])
    except sqlite3.Error as error:
        raise ProjectError(f"{path} cannot be read as a project: {error}") from error


def known_revisions() -> list[str]:
    """Return all revisions known to this program, newest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()]


def back_up(path: Path, revision: str) -> Path:
    """Copy the database into its own folder and return the path; an earlier copy is replaced."""
    target = path.with_name(f"{path.stem}-{revision}.backup")
    partial = target.with_name(f".{target.name}.tmp")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)
    return target


def upgrade(engine: Engine) -> None:
    """Run the missing migrations in one transaction; a crash leaves the old revision."""
    from alembic.command import upgrade as run
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    writing = engine.execution_options(writer=True)
    with writing.begin() as connection:
        config.attributes["connection"] = connection
        run(config, "head")


def ensure(path: Path, engine: Engine) -> None:
    """Migrate the database of an existing project to `REVISION`.

    Raises
    ------
    ProjectError
        If it is not a project's database, or a newer program wrote it.  It is not changed then.
    """
    revision = found_revision(path)
    if revision == REVISION:
        return
    if revision is None:
        raise ProjectError(f"{path} is not the database of a project")
    if revision not in known_revisions():
        raise ProjectError(
            f"{path} was written by a newer version (database {revision}, this program reads up "
            f"to {REVISION}); update OWLabel"
        )
    back_up(path, revision)
    try:
        upgrade(engine)
    except DBAPIError as error:
        raise ProjectError(
            f"{path} could not be migrated from {revision} to {REVISION}: {error.orig}"
        ) from error
