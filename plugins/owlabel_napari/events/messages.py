"""Showing what the session says: a refusal is shown, never swallowed and never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from napari.utils.notifications import show_error, show_info, show_warning

from owlabel_napari.events.connections import Connections

if TYPE_CHECKING:
    from owlabel.session.session import Session

R = TypeVar("R")
_SHOW = {"info": show_info, "warning": show_warning, "error": show_error}


def attempt(session: Session, act: Callable[..., R], *args: Any, **kwargs: Any) -> R | None:
    """Do an act of the session; where it refuses (ValueError), say why and return None."""
    try:
        return act(*args, **kwargs)
    except ValueError as error:
        session.message.emit("warning", str(error))
        return None


def refusal(session: Session, act: Callable[..., Any], *args: Any) -> str:
    """Do an act of the session; return why it refuses, told as by `attempt`, or ""."""
    try:
        act(*args)
    except ValueError as error:
        session.message.emit("warning", str(error))
        return str(error)
    return ""


def show(level: str, text: str) -> None:
    """Show a message of level ``info``, ``warning`` or ``error`` as one of napari's."""
    _SHOW.get(level, show_info)(text)


class Findings:
    """Tell in how many images a novel class was found, whenever that number is new."""

    def __init__(self, session: Session, connections: Connections) -> None:
        self.session = session
        self._told = dict(session.shots.occurrences)
        connections.add(session.classes_changed, self._look)

    def _look(self) -> None:
        found, names = self.session.shots.occurrences, self.session.classes.names
        for class_id, count in found.items():
            if self._told.get(class_id) != count and class_id in names:
                total = len(self.session.records)
                text = f"{names[class_id]}: found in {count} of {total} images"
                self.session.message.emit("info", text)
        if found:
            self._told = dict(found)
