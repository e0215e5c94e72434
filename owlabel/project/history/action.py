"""The changes that an action can make: labels, reviews, states, tags, classes and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from owlabel.classes import (
    MAX_CLASSES,
    UNSET,
    ClassTable,
    LabelClass,
    Labels,
    clean_name,
    distinct_color,
)
from owlabel.project.history import journal
from owlabel.project.storage.records import STATES, Change
from owlabel.project.storage.revisions import Revisions, check_labels
from owlabel.project.storage.schema import ClassRow, EventRow, ImageRow, RevisionRow, SettingRow
from owlabel.project.tables import tags
from owlabel.project.tables.catalog import image_row
from owlabel.project.tables.proposals import PROPOSAL_STATES, proposal_row

Color = tuple[int, int, int]


def class_table(session: Session) -> ClassTable:
    """Return the active classes in the order in which they were added."""
    rows = session.scalars(select(ClassRow).where(ClassRow.active).order_by(ClassRow.id))
    return ClassTable(tuple(as_class(row) for row in rows))


def as_class(row: ClassRow) -> LabelClass:
    """Return the record of a class's row."""
    red, green, blue = (int(v) for v in row.color)
    return LabelClass(row.id, row.name, (red, green, blue), row.novel)


def _check_color(color: Color) -> list[int]:
    plain = [int(v) for v in color]
    if len(plain) != 3 or any(not 0 <= v <= 255 for v in plain):
        raise ValueError(f"a colour must have three values in 0 .. 255, got {color}")
    return plain


class Action:
    """A running action, made by `Project.action` and used inside its block.

    Parameters
    ----------
    session : Session
        The writing session; the project commits it.
    revisions : Revisions
        Reads the label maps that edits start from.
    event : EventRow
        The event of this action, already in the log of this transaction.

    Attributes
    ----------
    changes : list of Change
        The fields that this action has changed so far.
    """

    def __init__(self, session: Session, revisions: Revisions, event: EventRow) -> None:
        self._session = session
        self._revisions = revisions
        self._event = event
        self.changes: list[Change] = []
        self._fresh: dict[int, Labels] = {}
        self._images: dict[
            int, ImageRow
        ] = {}  # the session holds weak references and would query again

    @property
    def seq(self) -> int:
        """The number of this action in the event log."""
        return self._event.seq

    def labels_since(self, image_id: int, revision_id: int | None) -> Labels | None:
        """Return the human layer (H, W) of an image, or None if it is still the given revision.

        An edit starts from labels that were read before its transaction.  Another process may have
        written newer labels since then.
        """
        image = self._image(image_id)
        if image.revision_id == revision_id:
            return None
        if image.revision_id is None:
            return np.full((image.height or 0, image.width or 0), UNSET, np.uint8)
        return self._revisions.read(self._session, image.revision_id)

    def state(self, image_id: int) -> str:
        """Return the current state of an image, read inside this transaction."""
        return self._image(image_id).state

    def has_labels(self, image_id: int) -> bool:
        """Return whether an image has human labels, read inside this transaction."""
        return self._image(image_id).revision_id is not None

    def class_ids(self) -> set[int]:
        """Return the ids of the active classes, read inside this transaction."""
        return set(self._session.scalars(select(ClassRow.id).where(ClassRow.active)))

    def set_labels(self, image_id: int, labels: Labels) -> int:
        """Replace the human layer of an image and return its revision's id.

        Parameters
        ----------
        image_id : int
            The image.
        labels : array of uint8, shape (H, W)
            Class ids, VOID, or UNSET where nobody has labelled.

        Raises
        ------
        ValueError
            If no image has this id, or the map is not uint8 of the image's shape.
        """
        return self._set_map(image_id, "revision_id", labels)

    def set_review(self, image_id: int, labels: Labels | None, source: Labels | None) -> None:
        """Freeze the composed labels of an image and their sources; None removes the review.

        Parameters
        ----------
        image_id : int
            The image.
        labels : array of uint8, shape (H, W), or None
            Class ids or VOID.
        source : array of uint8, shape (H, W), or None
            Values of `Source`; None if and only if `labels` is None.

        Raises
        ------
        ValueError
            If only one of the two is None, or a map is not uint8 of the image's shape.
        """
        if labels is None and source is None:
            for field in ("review_labels_id", "review_source_id"):
                self._set_image(self._image(image_id), field, None)
        elif labels is None or source is None:
            raise ValueError("a review needs both labels and source, or neither")
        else:
            self._set_map(image_id, "review_labels_id", labels)
            self._set_map(image_id, "review_source_id", source)

    def set_state(self, image_id: int, state: str) -> None:
        """Set the state of an image; raises ValueError if the state is unknown."""
        if state not in STATES:
            raise ValueError(f"a state must be one of {', '.join(STATES)}, got {state!r}")
        stored = "new" if state == "proposed" else state  # the history leaves out a model's work
        self._set_image(self._image(image_id), "state", stored)

    def set_tags(self, class_id: int, states: Mapping[int, str]) -> int:
        """Tag images with the state of a class; return how many tags changed.

        Parameters
        ----------
        class_id : int
            An active class.
        states : mapping
            Image id to "present", "absent" or "unknown".

        Raises
        ------
        ValueError
            If the class or an image does not exist, or a state is another word.
        """
        tags.check(self._session, class_id, states)
        before = tags.states(self._session, class_id, states)
        old = {str(i): before.get(i) for i, s in states.items() if before.get(i, "unknown") != s}
        new = {key: None if (s := states[int(key)]) == "unknown" else s for key in old}
        self._change("tag", class_id, "states", old, new)
        return len(new)

    def set_proposal(self, proposal_id: int, state: str) -> None:
        """Set the state of a proposal; raises ValueError if proposal or state is unknown."""
        if state not in PROPOSAL_STATES:
            raise ValueError(f"a state must be one of {', '.join(PROPOSAL_STATES)}, got {state!r}")
        row = proposal_row(self._session, proposal_id)
        self._change("proposal", row.id, "state", row.state, state)

    def add_class(self, name: str, color: Color | None = None) -> LabelClass:
        """Add a novel class with an id that this project has never used.

        Raises
        ------
        ValueError
            If the name is taken or malformed, or all ids are used.
        """
        name = self._free_name(name, None)
        ids = list(self._session.scalars(select(ClassRow.id)))
        new_id = max(ids, default=-1) + 1
        if new_id >= MAX_CLASSES:
            raise ValueError(f"a project can have at most {MAX_CLASSES} classes")
        plain = _check_color(color or distinct_color(new_id))
        row = ClassRow(id=new_id, name=name, color=plain, novel=True, active=False)
        self._session.add(row)
        self._session.flush()
        self._change("label_class", new_id, "active", False, True)
        return as_class(row)

    def update_class(
        self,
        class_id: int,
        name: str | None = None,
        color: Color | None = None,
        active: bool | None = None,
    ) -> LabelClass:
        """Change name or colour of a class, or hide it; its id and pixels stay.

        Raises
        ------
        ValueError
            If no class has this id, or the name is taken or malformed.
        """
        row = self._session.get(ClassRow, class_id)
        if row is None:
            raise ValueError(f"no class has the id {class_id}")
        shown = row.active if active is None else active
        if name is not None or (shown and not row.active):
            name = self._free_name(row.name if name is None else name, class_id)
            self._change("label_class", class_id, "name", row.name, name)
        if color is not None:
            self._change("label_class", class_id, "color", row.color, _check_color(color))
        if shown != row.active:
            self._change("label_class", class_id, "active", row.active, shown)
        return as_class(row)

    def set_setting(self, key: str, value: Any) -> None:
        """Set a plain JSON value, e.g. "active_model"; None removes the setting."""
        journal.check_payload("setting", {key: value})
        row = self._session.get(SettingRow, key)
        self._change("setting", key, "value", None if row is None else row.value, value)

    def committed(self) -> None:
        """Keep the new maps in memory; the project calls this after the commit."""
        for revision_id, labels in self._fresh.items():
            self._revisions.remember(revision_id, labels)

    def _free_name(self, name: str, but: int | None) -> str:
        cleaned = clean_name(name)
        taken = class_table(self._session).find(cleaned)
        if taken is not None and taken.id != but:
            raise ValueError(f"there is already a class named {taken.name!r}")
        return cleaned

    def _image(self, image_id: int) -> ImageRow:
        if image_id not in self._images:
            self._images[image_id] = image_row(self._session, image_id)
        return self._images[image_id]

    def _set_map(self, image_id: int, field: str, labels: Labels) -> int:
        labels = np.ascontiguousarray(labels)
        check_labels(labels)
        image = self._image(image_id)
        if (image.height, image.width) != labels.shape:
            raise ValueError(
                f"{image.relative} is {image.height} x {image.width}, its labels are {labels.shape}"
            )
        row = self._add_revision(image_id, getattr(image, field), labels)
        self._set_image(image, field, row.id)
        return row.id

    def _add_revision(self, image_id: int, parent_id: int | None, labels: Labels) -> RevisionRow:
        parent = None if parent_id is None else self._session.get_one(RevisionRow, parent_id)
        row = self._revisions.add(self._session, image_id, parent, labels, self._fresh)
        if parent is None or row.id != parent.id:
            self._fresh[row.id] = labels.copy()
        return row

    def _set_image(self, row: ImageRow, field: str, value: Any) -> None:
        self._change("image", row.id, field, getattr(row, field), value)

    def _change(self, table: str, row: int | str, field: str, before: Any, after: Any) -> None:
        if before != after:
            change = Change(table, str(row), field, before, after)
            journal.record(self._session, self._event.seq, change)
            self.changes.append(change)
