"""What a training changed: intersection over union of each class, before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import button, existing, hint, row, tight, title

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel.session.training.results import TrainingResult

BETTER, WORSE = QColor(90, 200, 120), QColor(235, 110, 90)


class ComparisonWidget(QWidget):
    """Show the result that waits, if any, with Adopt and Discard."""

    column = "IoU of"
    worse_if_higher: frozenset[str] = frozenset()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.head, self.note = title(""), hint()
        self.table = QTableWidget(0, 4)
        self.adopt = button("Adopt", self._adopt, "Label with the new model from now on")
        self.discard = button("Discard", self._discard, "Keep the model as it is")
        self._lay_out()

    def _lay_out(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels([self.column, "before", "after", "Δ"])
        rows = existing(table.verticalHeader())
        rows.setVisible(False)
        rows.setDefaultSectionSize(22)
        table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        table.setShowGrid(False)
        header = existing(table.horizontalHeader())
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2, 3):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(self.head)
        layout.addWidget(table)
        layout.addWidget(self.note)
        layout.addLayout(row(None, self.discard, self.adopt))

    def refresh(self) -> None:
        """Show the newest result that is neither adopted nor discarded."""
        result = self.result()
        self.setVisible(result is not None)
        if result is None:
            return
        self.head.setText(self.heading(result))
        before = result.comparison.get("before", {})
        after = result.comparison.get("after", {})
        names = self.order(result, {*before, *after})
        self.table.setRowCount(len(names))
        for index, name in enumerate(names):
            self._fill(index, name, before.get(name), after.get(name))
        self.table.setFixedHeight(min(32 + 22 * max(len(names), 1), 236))
        self.note.setText(self.told(result))

    def result(self) -> Any:
        """Return the result to show, or None."""
        return self.session.training.result("plm")

    def heading(self, result: Any) -> str:
        """Return the line above the table."""
        return f"“{result.request['class_name']}” is trained"

    def order(self, result: Any, names: set[str]) -> list[str]:
        """Return the rows' names: the trained class first."""
        return sorted(names, key=lambda n: (n != result.request["class_name"], n))

    def told(self, result: Any) -> str:
        """Return what the numbers rest on."""
        return _note(result)

    def _fill(self, index: int, name: str, before: float | None, after: float | None) -> None:
        change = None if before is None or after is None else after - before
        texts = (name, _percent(before), _percent(after), _percent(change, sign=True))
        for column, text in enumerate(texts):
            item = QTableWidgetItem(text)
            if column:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            if column == 3 and change is not None and abs(change) >= 0.001:
                better = (change > 0) != (name in self.worse_if_higher)
                item.setForeground(BETTER if better else WORSE)
            self.table.setItem(index, column, item)

    def _adopt(self) -> None:
        self._settle(self.session.models.adopt)

    def _discard(self) -> None:
        self._settle(self.session.models.discard)

    def _settle(self, act: Any) -> None:
        result = self.result()
        if result is not None:
            attempt(self.session, act, result.model_id)
        self.refresh()


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None or value != value:
        return "–"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def _note(result: TrainingResult) -> str:
    pixels = result.comparison.get("pixels")
    if isinstance(pixels, dict):
        pixels = sum(pixels.values())
    if not pixels:
        return "Nothing was compared: no pixel is labelled by hand."
    return f"In percent, on {pixels:,} pixels labelled by hand. Before: the prototypes (NPM)."
