"""The inline field in which a region gets its name, at the cursor; never modal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from qtpy.QtCore import QEvent, QPoint, Qt, Signal
from qtpy.QtGui import QCursor, QKeyEvent
from qtpy.QtWidgets import QApplication, QFrame, QHBoxLayout, QLineEdit, QWidget

from owlabel_napari.widgets.common.parts import completer, existing

WIDTH = 190


class _Edit(QLineEdit):
    """A line edit that keeps Enter and Escape from the canvas under it."""

    escaped = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Keep every key here."""
        key = existing(event)
        if key.key() == Qt.Key.Key_Escape:
            self.escaped.emit()
        else:
            super().keyPressEvent(event)
        key.accept()


class NameField(QFrame):
    """Ask for a class name over the canvas.

    Parameters
    ----------
    names : callable
        Returns the names to complete.

    Signals
    -------
    named : (str,)
        The name that was typed, after Enter.
    """

    named = Signal(str)

    def __init__(self, names: Callable[[], Sequence[str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.names = names
        self.edit = _Edit()
        self.edit.setPlaceholderText("Name, then Enter")
        self.edit.setMaxLength(80)
        self._before: QWidget | None = None
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAutoFillBackground(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.edit)
        self.setFixedWidth(WIDTH)
        self.edit.returnPressed.connect(self._finish)
        self.edit.escaped.connect(self.dismiss)
        self.hide()

    def ask(self, over: QWidget, proposal: str = "") -> None:
        """Show the field near the cursor over a widget, its text proposed and selected."""
        self._before = QApplication.focusWidget()
        self.edit.setCompleter(completer(self.names(), self))
        self.edit.setText(proposal)
        self.edit.selectAll()
        self.setParent(over)
        self.adjustSize()
        self.move(self._place(over))
        self.show()
        self.raise_()
        self.edit.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def dismiss(self) -> None:
        """Hide the field and give the keyboard back."""
        self.hide()
        before, self._before = self._before, None
        if before is not None:
            with suppress(RuntimeError):  # an editor of a table may be gone
                before.setFocus()

    def event(self, event: QEvent | None) -> bool:
        """Keep mouse presses on the frame from the canvas."""
        if event is not None and event.type() == QEvent.Type.MouseButtonPress:
            event.accept()
            return True
        return bool(super().event(event))

    def _place(self, over: QWidget) -> QPoint:
        at = over.mapFromGlobal(QCursor.pos())
        if not over.rect().contains(at):
            at = QPoint(over.width() // 2, over.height() // 2)
        return QPoint(
            max(0, min(at.x() + 14, over.width() - self.width())),
            max(0, min(at.y() + 14, over.height() - self.height())),
        )

    def _finish(self) -> None:
        text = self.edit.text().strip()
        self.dismiss()
        if text:
            self.named.emit(text)
