"""Find the events of other processes; `owlabel.session.core.acts` reacts to them.

Labels that two processes wrote are merged in `owlabel.session.edits.labels.write_labels`.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from sqlalchemy import select

from owlabel.project.history import journal
from owlabel.project.storage.records import Event
from owlabel.project.storage.schema import EventRow

if TYPE_CHECKING:
    from owlabel.project.storage.database import Database


def last_event(database: Database) -> int:
    """Return the number of the newest event, 0 in a new project."""
    with database.reading() as session:
        row = journal.last(session)
        return 0 if row is None else row.seq


def events_of_others(database: Database, since: int, own: Set[int]) -> list[Event]:
    """Return the events after `since` except `own`; undo and redo include what they flipped."""
    with database.reading() as session:
        newer = select(EventRow.seq).where(EventRow.seq > since).order_by(EventRow.seq)
        others = [seq for seq in session.scalars(newer) if seq not in own]
        return [journal.event_with_flips(session, seq) for seq in others]
