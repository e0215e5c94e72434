"""Actions with undo and redo: one transaction, one event, and a journal of changed fields each.

The log only grows.  Each event stores the tops of the undo and the redo stack after it, so both
stacks are chains through the log.  No search is needed, and any process can continue after another.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from owlabel.project.storage.records import Change, Event, ProjectError
from owlabel.project.storage.schema import (
    ChangeRow,
    ClassRow,
    EventRow,
    ImageRow,
    ProposalRow,
    SettingRow,
)
from owlabel.project.tables.tags import assign_tags

UNDO, REDO = "undo", "redo"
_FIELDS = {
    "image": {"state", "revision_id", "review_labels_id", "review_source_id"},
    "label_class": {"name", "color", "active"},
    "setting": {"value"},
    "tag": {"states"},
    "proposal": {"state"},
}
"""The only fields that a journal may change, even if a database from elsewhere names others."""
_ROWS: dict[str, type[ImageRow | ClassRow | ProposalRow]] = {
    "image": ImageRow,
    "label_class": ClassRow,
    "proposal": ProposalRow,
}


def check_payload(kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload as a plain dict; raises ValueError unless it is plain JSON values."""
    if kind in (UNDO, REDO) or not kind:
        raise ValueError(f"an action needs a kind other than undo and redo, got {kind!r}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(payload), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the payload of {kind!r} must be plain JSON values: {error}") from error
    return plain


def last(session: Session, before: int | None = None) -> EventRow | None:
    """Return the newest event, or the newest one before a `seq`."""
    query = select(EventRow).order_by(EventRow.seq.desc()).limit(1)
    if before is not None:
        query = query.where(EventRow.seq < before)
    return session.scalars(query).first()


def heads(row: EventRow | None) -> tuple[int | None, int | None]:
    """Return the tops of the undo and the redo stack after this event."""
    return (None, None) if row is None else (row.undo_head, row.redo_head)


def begin(session: Session, kind: str, payload: Mapping[str, Any], label: str) -> EventRow:
    """Append the event of an action as the new top of the undo stack; the redo stack is emptied.

    Raises
    ------
    ValueError
        If the kind is reserved or the payload is not JSON.
    """
    row = EventRow(
        kind=kind, payload=check_payload(kind, payload), label=label, created=time.time()
    )
    session.add(row)
    session.flush()
    row.undo_head, row.redo_head = row.seq, None
    return row


def record(session: Session, seq: int, change: Change) -> None:
    """Apply one change of a field and write it to the journal."""
    _assign(session, change, change.after)
    session.add(
        ChangeRow(
            seq=seq,
            table=change.table,
            row=change.row,
            field=change.field,
            before=change.before,
            after=change.after,
        )
    )


def _assign(session: Session, change: Change, value: Any) -> None:
    if change.field not in _FIELDS.get(change.table, ()):
        raise ProjectError(
            f"the journal changes {change.table}.{change.field}, which is not allowed; restore a "
            "copy of the project"
        )
    if change.table == "setting":
        _assign_setting(session, change.row, value)
        return
    if change.table == "tag":
        assign_tags(session, int(change.row), value)
        return
    row = session.get(_ROWS[change.table], int(change.row))
    if row is None and change.table == "proposal":
        return  # newer proposals replace open ones; painted pixels stay in the image
    if row is None:
        raise ProjectError(
            f"the journal changes {change.table} {change.row}, which is missing; restore a copy of "
            "the project"
        )
    setattr(row, change.field, value)


def _assign_setting(session: Session, key: str, value: Any) -> None:
    row = session.get(SettingRow, key)
    if value is None:
        if row is not None:
            session.delete(row)
    elif row is None:
        session.add(SettingRow(key=key, value=value))
    else:
        row.value = value


def changes_of(session: Session, seqs: Iterable[int]) -> dict[int, tuple[Change, ...]]:
    """Return the changes of some events, each in the order in which they were written."""
    wanted = sorted(seqs)
    if not wanted:
        return {}
    changes_by_seq: dict[int, list[Change]] = {}
    low, high = wanted[0], wanted[-1]
    query = select(ChangeRow).where(ChangeRow.seq >= low, ChangeRow.seq <= high)
    for row in session.scalars(query.order_by(ChangeRow.id)):
        change = Change(row.table, row.row, row.field, row.before, row.after)
        changes_by_seq.setdefault(row.seq, []).append(change)
    return {seq: tuple(changes) for seq, changes in changes_by_seq.items()}


def as_event(row: EventRow, changes: tuple[Change, ...]) -> Event:
    """Return the record of an event's row."""
    return Event(row.seq, row.kind, row.payload, row.label, row.target, row.created, changes)


def events(session: Session, since: int = 0) -> list[Event]:
    """Return all events after a `seq`, oldest first."""
    query = select(EventRow).where(EventRow.seq > since).order_by(EventRow.seq)
    rows = list(session.scalars(query))
    changes = changes_of(session, (r.seq for r in rows))
    return [as_event(r, changes.get(r.seq, ())) for r in rows]


def event_with_flips(session: Session, seq: int) -> Event:
    """Return an event; an undo or redo includes the changes of the event that it flipped."""
    row = session.get_one(EventRow, seq)
    source = seq if row.target is None else row.target
    return as_event(row, changes_of(session, [source]).get(source, ()))


def trailing(
    session: Session, kinds: Sequence[str], image_id: int, since: int, own: Set[int]
) -> list[Event]:
    """Return the effective events of these kinds at the end of the log, newest first.

    Events after `since` that are not in `own` are skipped unless they concern the image.
    """
    events = []
    top, _ = heads(last(session))
    while top is not None:
        row = session.get_one(EventRow, top)
        elsewhere = top > since and top not in own and row.payload.get("image_id") != image_id
        if not elsewhere:
            if row.kind not in kinds:
                break
            events.append(as_event(row, ()))
        top, _ = heads(last(session, before=top))
    return events


def undo(session: Session) -> Event | None:
    """Undo the last effective event; None if there is none."""
    newest = last(session)
    top, _ = heads(newest)
    if newest is None or top is None:
        return None
    below, _ = heads(last(session, before=top))
    return _flip(session, UNDO, top, (below, top))


def redo(session: Session) -> Event | None:
    """Redo the event that was undone last; None if there is none."""
    _, top = heads(last(session))
    if top is None:
        return None
    query = select(EventRow.seq).where(EventRow.target == top, EventRow.kind == UNDO)
    undone_at = session.scalars(query.order_by(EventRow.seq.desc()).limit(1)).one()
    _, below = heads(last(session, before=undone_at))
    return _flip(session, REDO, top, (top, below))


def _flip(session: Session, kind: str, target: int, stacks: tuple[int | None, int | None]) -> Event:
    """Append an undo or redo event with the payload and label of the event that it flips."""
    flipped = session.get_one(EventRow, target)
    changes = changes_of(session, [target]).get(target, ())
    for change in reversed(changes) if kind == UNDO else changes:
        _assign(session, change, change.before if kind == UNDO else change.after)
    row = EventRow(
        kind=kind,
        payload=flipped.payload,
        label=flipped.label,
        target=target,
        created=time.time(),
        undo_head=stacks[0],
        redo_head=stacks[1],
    )
    session.add(row)
    session.flush()
    return as_event(row, changes)


def label_at(session: Session, seq: int | None) -> str | None:
    """Return the label of an event, None for None."""
    return None if seq is None else session.get_one(EventRow, seq).label
