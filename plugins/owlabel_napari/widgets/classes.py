"""The class table: colour, name, shots, where it was found; and how far a novel class reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, FloatSlider
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from owlabel.classes import VOID, LabelClass
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import existing, hint, swatch, tight, title

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel_napari.canvas.overlays import Overlays

COLOR, NAME, SHOTS, FOUND = range(4)
FARTHEST = 6.0
"""Of the slider of lambda, unless the project has more."""
KEYS = 9
"""The first classes of the list have the keys Ctrl+1 .. Ctrl+9."""
ID = Qt.ItemDataRole.UserRole


class ClassesWidget(QWidget):
    """List the classes; a row chooses napari's brush, a double click renames a novel class."""

    def __init__(self, session: Session, overlays: Overlays, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.overlays = session, overlays
        self.table = QTableWidget(0, 4)
        most = max(FARTHEST, session.settings.lambda_novel)
        self.reach = FloatSlider(
            value=session.settings.lambda_novel,
            min=0,
            max=most,
            step=0.05,
            label="Reach λ",
            tracking=True,
        )
        self.reach.tooltip = (
            "A pixel joins a novel class if its squared distance to the prototype is below this"
        )
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(200)
        self._later.timeout.connect(self._keep_reach)
        self._connections = Connections()
        self._connections.own(self._later)
        self._lay_out()
        self._connect()
        self.refresh()

    def _lay_out(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(["", "Class", "Shots", "Found in"])
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setShowGrid(False)
        existing(table.verticalHeader()).setDefaultSectionSize(24)
        header = existing(table.horizontalHeader())
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column in (COLOR, SHOTS, FOUND):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        form = Container(widgets=[self.reach], labels=True)
        form.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("Classes"))
        layout.addWidget(table, 1)
        layout.addWidget(
            hint(
                "Select a row to set the class that brush, fill and polygon paint. "
                "Ctrl+1 to Ctrl+9 name the pending region."
            )
        )
        layout.addWidget(title("Novel classes from shots (NPM)"))
        layout.addWidget(form.native)

    def _connect(self) -> None:
        self.table.itemClicked.connect(self._choose)
        self.table.itemChanged.connect(self._rename)
        existing(self.table.itemDelegate()).closeEditor.connect(
            lambda *_: QTimer.singleShot(0, self.refresh)
        )
        self.reach.changed.connect(lambda _value: self._later.start())
        for signal in (
            self.session.classes_changed,
            self.session.labels.changed,
            self.session.models.changed,
            self.session.labels.prediction_changed,
        ):
            self._connections.add(signal, self.refresh)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def refresh(self, *_: Any) -> None:
        """Show the session's classes, the novel ones first; not while a name is being typed."""
        if self.table.state() == QAbstractItemView.State.EditingState:
            return
        rows = self.session.classes.listed
        with signals_blocked(self.table):
            self._fill_table(rows)
        if not self._later.isActive() and self.reach.value != self.session.settings.lambda_novel:
            with self.reach.changed.blocked():
                self.reach.max = max(self.reach.max, self.session.settings.lambda_novel)
                self.reach.value = self.session.settings.lambda_novel

    def _fill_table(self, rows: Sequence[LabelClass]) -> None:
        self.table.setRowCount(len(rows) + 1)
        for index, one in enumerate(rows):
            self._fill(index, one)
        self._put(len(rows), NAME, "ignore", VOID, editable=False)
        keys = [str(place + 1) if place < KEYS else "" for place in range(len(rows))]
        self.table.setVerticalHeaderLabels([*keys, ""])
        self.table.removeCellWidget(len(rows), COLOR)
        void = self._put(len(rows), COLOR, "", VOID, editable=False)
        void.setIcon(swatch((235, 235, 235)))

    def _fill(self, index: int, one: LabelClass) -> None:
        item = self._put(index, NAME, one.name, one.id, editable=one.novel)
        self._show_color(index, one)
        font = item.font()
        font.setBold(one.novel)
        item.setFont(font)
        shots = self.session.shots.count(one.id) if one.novel else None
        found = self.session.shots.occurrences.get(one.id) if one.novel else None
        self._put(index, SHOTS, "" if shots is None else str(shots), one.id, editable=False)
        text = "" if not one.novel else "…" if found is None else _images(found)
        self._put(index, FOUND, text, one.id, editable=False)

    def _put(
        self, index: int, column: int, text: str, class_id: int, *, editable: bool
    ) -> QTableWidgetItem:
        item = QTableWidgetItem(text)
        item.setData(ID, class_id)
        if not editable:  # as every new item is
            item.setFlags(item.flags() ^ Qt.ItemFlag.ItemIsEditable)
        if column != NAME:
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.table.setItem(index, column, item)
        return item

    def _show_color(self, index: int, one: LabelClass) -> None:
        """Put the class's colour on the button of its row, made where there is none yet."""
        self.table.takeItem(index, COLOR)  # of "ignore", which was in this row
        made = self.table.cellWidget(index, COLOR)
        if made is None:
            made = QToolButton()
            made.setAutoRaise(True)
            made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            made.clicked.connect(lambda _checked=False: self._ask_color(index))
            self.table.setCellWidget(index, COLOR, made)
        made.setIcon(swatch(one.color))
        made.setToolTip(f"Colour of {one.name}")

    def _ask_color(self, index: int) -> None:
        """Let the annotator choose the colour of the class in this row; nothing is held up."""
        one = self.session.classes.listed[index]
        dialog = QColorDialog(QColor(*one.color), self)
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(f"Colour of {one.name}")
        dialog.colorSelected.connect(lambda chosen: self.recolor(one.id, chosen.getRgb()[:3]))
        dialog.open()

    def recolor(self, class_id: int, color: tuple[int, int, int]) -> None:
        """Show a class in this colour from now on."""
        attempt(self.session, self.session.labels.recolor_class, class_id, color)

    def _choose(self, item: QTableWidgetItem) -> None:
        self.overlays.choose_brush(int(item.data(ID)))

    def _rename(self, item: QTableWidgetItem) -> None:
        if item.column() == NAME:
            attempt(self.session, self.session.labels.rename_class, int(item.data(ID)), item.text())
            self.refresh()

    def _keep_reach(self) -> None:
        attempt(self.session, self.session.settings.set, lambda_novel=float(self.reach.value))


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
