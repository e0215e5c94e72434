"""Acts: committed to the project first, then passed on as changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from owlabel.project.history.action import Action
from owlabel.project.history.changes_elsewhere import events_of_others, last_event
from owlabel.project.storage.records import Change
from owlabel.project.store import Event, Project

ON_LABELS = {"accept", "ignore", "known", "paint", "touch_up", "review", "accept_proposal"}
"""Kinds of acts on the labels of one image. It counts as changed even if no pixel did."""
ON_REGION = {"click", "cancel", "correct", "reject_proposal"}
"""Kinds of acts that change only the pending region."""


@dataclass(frozen=True)
class Changes:
    """What acts have changed in a project or on the screen.

    Attributes
    ----------
    images : frozenset of int
        Ids of images whose labels, state or review changed.
    region : bool
        Whether the pending region must be computed again.
    moved : bool
        Whether another image became current.
    classes : bool
    settings : frozenset of str
        Keys of the settings that changed.
    tags : mapping
        Class id to the ids of the images whose tag changed.
    proposals : bool
    history : bool
        Whether undo or redo would now apply to another act.
    elsewhere : bool
        Whether an undo, a redo or another process made the changes.
    """

    images: frozenset[int] = frozenset()
    region: bool = False
    moved: bool = False
    classes: bool = False
    settings: frozenset[str] = frozenset()
    tags: Mapping[int, frozenset[int]] = field(default_factory=dict)
    proposals: bool = False
    history: bool = True
    elsewhere: bool = False

    @property
    def model(self) -> bool:
        """Whether another model is now in use."""
        return "active_model" in self.settings

    @classmethod
    def of_act(cls, kind: str, payload: Mapping[str, Any], rows: Sequence[Change]) -> Changes:
        """Return what one act of this session changed."""
        images = {int(c.row) for c in rows if c.table == "image"}
        if kind in ON_LABELS:
            images.add(int(payload["image_id"]))
        region = bool(images) or kind in ON_REGION
        return cls(images=frozenset(images), region=region, **_tables(rows))

    @classmethod
    def of_events(cls, events: Sequence[Event]) -> Changes:
        """Return what an undo, a redo or another process changed."""
        rows = [change for event in events for change in event.changes]
        images = frozenset(int(c.row) for c in rows if c.table == "image")
        return cls(images=images, region=True, elsewhere=True, **_tables(rows))


def _tables(rows: Sequence[Change]) -> dict[str, Any]:
    tags: dict[int, frozenset[int]] = {}
    for c in rows:
        if c.table == "tag":
            class_id = int(c.row)
            tags[class_id] = tags.get(class_id, frozenset()) | {int(i) for i in c.after}
    return {
        "classes": any(c.table == "label_class" for c in rows),
        "settings": frozenset(str(c.row) for c in rows if c.table == "setting"),
        "proposals": any(c.table == "proposal" for c in rows),
        "tags": tags,
    }


class Acts:
    """Commit acts to a project and pass on what changed.

    Parameters
    ----------
    project : Project
    refresh : callable
        Updates memory after changes and emits the signals.
    """

    def __init__(self, project: Project, refresh: Callable[[Changes], None]) -> None:
        self._project, self._refresh = project, refresh
        self._seen = last_event(project.database)  # the newest event that memory includes

    @contextmanager
    def act(self, kind: str, payload: Mapping[str, Any], label: str) -> Iterator[Action]:
        """Carry out an act that can be undone; it is on disk and in memory after the block.

        Parameters
        ----------
        kind : str
            Kind of the event in the log.
        payload : mapping
            Plain JSON values, enough to replay the act.
        label : str
            Name of the act for people.
        """
        with self._project.action(kind, payload, label) as action:
            yield action
        self._refresh(Changes.of_act(kind, payload, action.changes))

    def record(self, kind: str, payload: Mapping[str, Any], label: str) -> None:
        """Log an act that changes no table; its event alone holds it."""
        with self.act(kind, payload, label):
            pass

    def undo(self) -> Event | None:
        """Revert the last act and return its event; None if there is none."""
        return self._travel(self._project.undo())

    def redo(self) -> Event | None:
        """Repeat the act that was undone last and return its event; None if there is none."""
        return self._travel(self._project.redo())

    def _travel(self, event: Event | None) -> Event | None:
        if event is not None:
            self._project.own_events.add(event.seq)
            self._refresh(Changes.of_events([event]))
        return event

    def refresh_from_others(self) -> None:
        """Refresh memory after what other processes changed since the last call."""
        newest = last_event(self._project.database)
        if newest == self._seen:
            return
        others = events_of_others(self._project.database, self._seen, self._project.own_events)
        self._seen = newest
        if others:
            self._refresh(Changes.of_events(others))
