"""The queue of candidates over all images, best first, with small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSlider
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from owlabel_napari.events.connections import Connections
from owlabel_napari.events.deferred_work import Steps
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import button, existing, hint, pixmap, row, tight, title
from owlabel_napari.widgets.find.thumbnails import Thumbnails

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel.view.queue_order import QueueItem

SIDE = 56
LIMIT = 200
ROWS = 10
"""Rows that count as on the screen while the list itself is not."""
SHOWN = (
    ("everything", "all"),
    ("unknown to the model", "unknown"),
    ("masks from tags", "weak_shot"),
    ("masks from clusters", "cluster"),
)
UNKNOWN = "This filter learns from you: name five candidates and mark five as known (K) to use it"


class QueueWidget(QWidget):
    """List the open candidates; the current one is selected, a click goes to another.

    Likely false ones are hidden, and it is said how many.  Once a candidate was chosen, or while
    the pointer is over the list, everything down to the last row on the screen keeps its place;
    the rest is ranked anew as more becomes known, and all of it on demand.
    """

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
        self._bar = existing(self.list.verticalScrollBar())
        self._seen = existing(self.list.viewport())
        self.count, self.empty = hint(), hint()
        self.hide_above = FloatSlider(
            value=session.queue.hide_above, min=0, max=1, step=0.01, label="Hide above"
        )
        self.hide_above.tooltip = (
            "Hide candidates whose probability of being a false alarm is higher than this"
        )
        self.only = ComboBox(choices=SHOWN, value=session.queue.show, label="")
        self.hidden = QCheckBox("Show hidden")
        self.again = button(
            "Sort again", session.queue.rank, "Sort all candidates by their current rank"
        )
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(250)
        self.thumbnails = thumbnails
        self._icons: dict[str, QIcon] = {}
        self._shown: list[tuple[str, str | None, str]] = []
        self._connections = Connections()
        self._connections.own(self._later)
        self._lay_out()
        self._connect()
        self._ask()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addLayout(row(title("Candidates"), self.only.native, None, self.count))
        layout.addLayout(row(QLabel("Hide if false above"), self.hide_above.native))
        layout.addLayout(row(self.hidden, None, self.again))
        layout.addWidget(self.empty)
        layout.addWidget(self.list, 1)
        self.count.setSizePolicy(title("").sizePolicy())
        self.count.setWordWrap(False)

    def _connect(self) -> None:
        self.list.itemClicked.connect(self._choose)
        self._bar.valueChanged.connect(lambda _value: self._ask_icons())
        self._bar.valueChanged.connect(lambda _value: self._pin())
        self.hide_above.changed.connect(lambda _value: self._later.start())
        self._later.timeout.connect(self._keep_limit)
        self.only.changed.connect(self.show_only)
        self.hidden.toggled.connect(self.session.queue.reveal_hidden)
        self.thumbnails.ready.connect(self._put_icon)
        for signal in (self.session.queue.changed, self.session.classes_changed):
            self._connections.add(signal, self._ask)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def show_only(self, kind: str) -> None:
        """List one kind of `candidate_queue.SHOW`."""
        self.session.queue.show = kind
        self.session.queue.rank()

    def _ask(self, *_: Any) -> None:
        self.steps.ask("queue", self.refresh)

    def refresh(self) -> None:
        """Show the session's queue; rows are made anew only where it changed."""
        if not self._engaged():
            self.session.queue.unpin()
        items = self.session.queue.items(LIMIT)
        self._show_kinds()
        shown = [(item.key, item.class_name, _percent(item)) for item in items]
        if shown != self._shown:
            self._shown = shown
            self._fill(items)
        self._select()
        self._pin()
        self._tell_hidden(len(items))
        self.list.setVisible(bool(items))
        self.empty.setVisible(not items)
        self.empty.setText("" if items else self._why_empty())

    def _show_kinds(self) -> None:
        """Offer to show one kind alone once there are proposals, and show which it is."""
        kind = self.session.queue.show
        self.only.visible = kind != "all" or self.session.project.proposals.count() > 0
        if self.only.value != kind:
            with self.only.changed.blocked():
                self.only.value = kind

    def _tell_hidden(self, shown: int) -> None:
        """Say how many candidates are open, and how many of them are hidden as likely false."""
        known = self.session.queue
        learnt = known.classifier is not None and not known.classifier.keeps_all
        words = f"{shown}{'+' if shown == LIMIT else ''} open"
        if known.hidden:
            words += f", {known.hidden} likely false {'shown' if known.show_hidden else 'hidden'}"
        self.count.setText(words)
        for widget in (self.hide_above.native, self.hidden):
            widget.setEnabled(learnt)
            widget.setToolTip(self.hide_above.tooltip if learnt else UNKNOWN)
        if not self._later.isActive() and self.hide_above.value != known.hide_above:
            with self.hide_above.changed.blocked():
                self.hide_above.value = known.hide_above

    def _keep_limit(self) -> None:
        attempt(self.session, self.session.settings.set, hide_above=float(self.hide_above.value))

    def _engaged(self) -> bool:
        """Tell whether the annotator works with the list, so that it must not jump."""
        return self.session.queue.shown is not None or self.list.underMouse()

    def _pin(self) -> None:
        """Keep everything down to the last row on the screen in its place."""
        if self._engaged() and self._shown:
            bottom = self._seen.rect().bottomLeft()
            last = self.list.indexAt(bottom).row() if self.list.isVisible() else -1
            end = last + 1 if last >= 0 else min(len(self._shown), ROWS)
            self.session.queue.pin([entry[0] for entry in self._shown[:end]])

    def _fill(self, items: list[QueueItem]) -> None:
        at = self._bar.value()
        self.list.clear()
        for item in items:
            entry = QListWidgetItem(_text(item))
            entry.setData(Qt.ItemDataRole.UserRole, item)
            entry.setSizeHint(QSize(SIDE, SIDE + 4))
            if item.key in self._icons:
                entry.setIcon(self._icons[item.key])
            self.list.addItem(entry)
        self._bar.setValue(at)
        self.steps.ask("thumbnails", self._ask_icons)

    def _select(self) -> None:
        current = self.session.queue.shown
        keys = [key for key, *_ in self._shown]
        at = keys.index(current.key) if current is not None and current.key in keys else -1
        if at != self.list.currentRow():
            self.list.setCurrentRow(at)

    def _why_empty(self) -> str:
        if self.session.queue.show in ("weak_shot", "cluster"):
            return "No proposed masks are left. Select “everything” to go on."
        done, total = self.session.progress
        if total == 0:
            return "This project has no readable image."
        if done < total:
            return f"No candidates yet: {done} of {total} images are embedded."
        if self.session.queue.hidden:
            return "Only likely false alarms are left. Tick “Show hidden” to see them."
        return "No candidates are left. Lower the threshold to get more."

    def _choose(self, entry: QListWidgetItem) -> None:
        item = entry.data(Qt.ItemDataRole.UserRole)
        self._pin()
        attempt(self.session, self.session.queue.select, item.key)

    def _ask_icons(self) -> None:
        """Ask for the pictures of the rows that can be seen now, and of the next few."""
        first = self.list.indexAt(self._seen.rect().topLeft()).row()
        for index in range(max(first, 0), min(max(first, 0) + 20, self.list.count())):
            item = existing(self.list.item(index)).data(Qt.ItemDataRole.UserRole)
            self.thumbnails.ask(item.key, item.record.path, item.box)

    def _put_icon(self, key: str, picture: Any) -> None:
        icon = QIcon(pixmap(picture))
        self._icons[key] = icon
        for index, (shown, *_) in enumerate(self._shown):
            if shown == key:
                existing(self.list.item(index)).setIcon(icon)


def _text(item: QueueItem) -> str:
    """Return the two lines of a candidate."""
    if item.proposal is not None:
        return f"{item.class_name}?  ·  {100 * item.score:.0f} % sure\n{item.record.relative}"
    what = f"{item.class_name}?" if item.class_name else "unknown"
    return f"{what}  ·  score {item.score:.2f}{_percent(item)}\n{item.record.relative}"


def _percent(item: QueueItem) -> str:
    return "" if item.false is None else f"  ·  {100 * item.false:.0f} % false"
