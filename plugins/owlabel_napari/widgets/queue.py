"""The queue of candidates over all images, best first, with small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from owlabel_napari.connections import Connections
from owlabel_napari.messages import attempt
from owlabel_napari.steps import Steps
from owlabel_napari.widgets.parts import hint, pixmap, row, tight, title
from owlabel_napari.widgets.thumbnails import Thumbnails

if TYPE_CHECKING:
    from owlabel.session import QueueItem, Session

SIDE = 56
LIMIT = 200


class QueueWidget(QWidget):
    """List the open candidates; the current one is selected, a click goes to another."""

    def __init__(
        self, session: Session, steps: Steps, thumbnails: Thumbnails, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.session, self.steps = session, steps
        self.list = QListWidget()
        self.list.setIconSize(QSize(SIDE, SIDE))
        self.list.setUniformItemSizes(True)
        self.list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.count, self.empty = hint(), hint()
        self.thumbnails = thumbnails
        self._icons: dict[int, QIcon] = {}
        self._shown: list[tuple[int, str | None]] = []
        self._connections = Connections()
        self._lay_out()
        self._connect()
        self._ask()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addLayout(row(title("Candidates"), None, self.count))
        layout.addWidget(self.empty)
        layout.addWidget(self.list, 1)
        self.count.setSizePolicy(title("").sizePolicy())
        self.count.setWordWrap(False)

    def _connect(self) -> None:
        self.list.itemClicked.connect(self._choose)
        self.list.verticalScrollBar().valueChanged.connect(lambda _value: self._ask_icons())
        self.thumbnails.ready.connect(self._put_icon)
        for signal in (self.session.queue_changed, self.session.classes_changed):
            self._connections.add(signal, self._ask)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def _ask(self, *_: Any) -> None:
        self.steps.ask("queue", self.refresh)

    def refresh(self) -> None:
        """Show the session's queue; rows are made anew only where it changed."""
        items = self.session.queue(LIMIT)
        shown = [(item.row.id, item.claimed) for item in items]
        if shown != self._shown:
            self._shown = shown
            self._fill(items)
        self._select()
        self.count.setText(f"{len(items)}{'+' if len(items) == LIMIT else ''} open")
        self.list.setVisible(bool(items))
        self.empty.setVisible(not items)
        self.empty.setText("" if items else self._why_empty())

    def _fill(self, items: list[QueueItem]) -> None:
        at = self.list.verticalScrollBar().value()
        self.list.clear()
        for item in items:
            entry = QListWidgetItem(_text(item))
            entry.setData(Qt.ItemDataRole.UserRole, item)
            entry.setSizeHint(QSize(SIDE, SIDE + 4))
            if item.row.id in self._icons:
                entry.setIcon(self._icons[item.row.id])
            self.list.addItem(entry)
        self.list.verticalScrollBar().setValue(at)
        self.steps.ask("thumbnails", self._ask_icons)

    def _select(self) -> None:
        current = self.session.candidate
        ids = [row_id for row_id, _ in self._shown]
        at = ids.index(current.row.id) if current is not None and current.row.id in ids else -1
        if at != self.list.currentRow():
            self.list.setCurrentRow(at)

    def _why_empty(self) -> str:
        done, total = self.session.progress
        if total == 0:
            return "No readable image in this project."
        if done < total:
            return f"None yet: {done} of {total} images are looked at. The best ones come first."
        return "None left. A lower threshold brings more."

    def _choose(self, entry: QListWidgetItem) -> None:
        item = entry.data(Qt.ItemDataRole.UserRole)
        attempt(self.session, self.session.select_candidate, item.row.id)

    def _ask_icons(self) -> None:
        """Ask for the pictures of the rows that can be seen now, and of the next few."""
        first = self.list.indexAt(self.list.viewport().rect().topLeft()).row()
        for index in range(max(first, 0), min(max(first, 0) + 20, self.list.count())):
            item = self.list.item(index).data(Qt.ItemDataRole.UserRole)
            self.thumbnails.ask(item.row.id, item.record.path, item.row.candidate.box)

    def _put_icon(self, row_id: int, picture: Any) -> None:
        icon = QIcon(pixmap(picture))
        self._icons[row_id] = icon
        for index, (shown, _) in enumerate(self._shown):
            if shown == row_id:
                self.list.item(index).setIcon(icon)


def _text(item: QueueItem) -> str:
    """Return the two lines of a candidate."""
    candidate = item.row.candidate
    what = f"{item.claimed}?" if item.claimed else "unknown"
    return f"{what}  ·  score {candidate.score:.2f}\n{item.record.relative}"
