"""What other processes have done to a project since somebody looked."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from owlabel.project import history
from owlabel.project.records import Event

if TYPE_CHECKING:
    from owlabel.project.database import Database


def last_event(database: Database) -> int:
    """Return the number of the newest event, 0 in a new project."""
    with database.reading() as session:
        row = history.last(session)
        return 0 if row is None else row.seq


def events_of_others(database: Database, since: int, own: Set[int]) -> list[Event]:
    """Return the events after a `seq` but for some; undo and redo with what they flipped."""
    with database.reading() as session:
        return [event for event in history.flips(session, since) if event.seq not in own]
