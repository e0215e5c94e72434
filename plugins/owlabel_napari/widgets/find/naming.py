"""From Enter to a named region: asks for a name at the cursor, tells the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.find.name_field import NameField

if TYPE_CHECKING:
    from owlabel.session.session import Session


class Naming:
    """Hold the one name field of a panel.

    Parameters
    ----------
    session : Session
        Whose region is named.
    panel : QWidget
        The field lies over the middle of the window that this is docked in.
    """

    def __init__(self, session: Session, panel: QWidget) -> None:
        self.session, self.panel = session, panel
        self.field = NameField(self._names)
        self.field.named.connect(self._accept)
        self._last = ""

    def close(self) -> None:
        """Take the field away."""
        self.field.hide()
        self.field.setParent(None)
        self.field.deleteLater()

    def ask(self) -> None:
        """Ask for the name of the pending region; without one say what to do."""
        if self.session.labels.region is None:
            self.session.message.emit("info", "Click an object first. Then Enter names it.")
            return
        self.field.ask(self._middle(), self._proposal())

    def name_as(self, place: int) -> None:
        """Give the pending region the class at this place, from 1, of the list (Ctrl+1 ..)."""
        listed = self.session.classes.listed
        if place > len(listed):
            text = f"There is no class {place}: the list has {len(listed)} classes."
            self.session.message.emit("info", text)
        elif self.session.labels.region is None:
            text = f"Click an object first. Then Ctrl+{place} names it {listed[place - 1].name}."
            self.session.message.emit("info", text)
        else:
            self._accept(listed[place - 1].name)

    def _middle(self) -> QWidget:
        """Return the part of the window that holds the canvas."""
        for window in (self.panel.window(), *QApplication.topLevelWidgets()):  # a dock may float
            if isinstance(window, QMainWindow) and (middle := window.centralWidget()) is not None:
                return middle
        return self.panel

    def _proposal(self) -> str:
        """Return the class that claims the candidate, else the name given last."""
        item = self.session.queue.shown
        return item.class_name if item is not None and item.class_name else self._last

    def _names(self) -> list[str]:
        classes = self.session.classes
        return [c.name for c in (*reversed(classes.novel), *classes.base)]

    def _accept(self, name: str) -> None:
        named = attempt(self.session, self.session.labels.accept, name)
        if named is not None:
            self._last = named.name
