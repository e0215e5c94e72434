"""One SQLite database: connections, and transactions that commit or leave no trace."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from owlabel.project.storage.records import ProjectError

BUSY_SECONDS = 10.0
"""How long a writer waits for another process before it gives up."""
_REASONS = (
    ("locked", "another process has locked it for {wait:.0f} s; close the other program"),
    ("readonly", "it cannot be written; check the permissions of the folder"),
    ("full", "the disk is full; nothing was changed, free some space and try again"),
    ("unable to open", "the database cannot be opened; check the folder and its permissions"),
    ("malformed", "the database is damaged; restore a copy of the folder"),
    ("not a database", "the file is not a database; restore a copy of the folder"),
    ("disk i/o", "the disk reports an error; nothing was changed"),
)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in (
        f"busy_timeout={int(BUSY_SECONDS * 1000)}",
        "journal_mode=WAL",
        "synchronous=FULL",  # an acknowledged action survives a power cut
        "foreign_keys=ON",
        "trusted_schema=OFF",  # a project from elsewhere may contain views and triggers
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writer = connection.get_execution_options().get("writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def make_engine(path: Path) -> Engine:
    """Return an engine for the SQLite file; the option "writer" makes a transaction write."""
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def named(error: Exception, path: Path) -> ProjectError:
    """Return a ProjectError that explains an error of the database."""
    text = str(getattr(error, "orig", None) or error)
    for sign, words in _REASONS:
        if sign in text.lower():
            return ProjectError(f"{path}: {words.format(wait=BUSY_SECONDS)} ({text})")
    return ProjectError(f"{path}: the database reported an error: {text}")


class Database:
    """Sessions on one SQLite file.  May be used from several threads and processes.

    Parameters
    ----------
    path : Path
        The file; created if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = make_engine(path)
        self._writing = self.engine.execution_options(writer=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session that sees one state of the database; raises ProjectError."""
        with self._session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Yield the session of the only writer; it is committed to disk when the block ends.

        An exception in the block or in the commit leaves the old state.

        Raises
        ------
        ProjectError
            If the database is locked, damaged or cannot be written.
        """
        committing = False
        try:
            with self._session(self._writing) as session:
                yield session
                committing = True
                session.commit()
        except BaseException:
            if committing:  # the connection may still hold the write lock: close it
                self.engine.dispose()
            raise

    @contextmanager
    def _session(self, bind: Any) -> Iterator[Session]:
        try:
            with Session(bind, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            raise named(error, self.path) from error
        except sqlite3.Error as error:
            raise named(error, self.path) from error

    def close(self) -> None:
        """Close all connections; the last one merges the write-ahead log into the file."""
        self.engine.dispose()
