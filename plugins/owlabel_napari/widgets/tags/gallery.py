"""The gallery: many images at once, tagged with one key for each class."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from qtpy.QtCore import QItemSelection, QItemSelectionModel, QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QLabel,
    QListView,
    QShortcut,
    QVBoxLayout,
    QWidget,
)

from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import (
    LineEdit,
    button,
    existing,
    hint,
    row,
    sideways,
    swatch,
    tight,
)
from owlabel_napari.widgets.tags.gallery_model import CELL, ID, GalleryDelegate, GalleryModel
from owlabel_napari.widgets.tags.image_previews import Pictures

if TYPE_CHECKING:
    from owlabel.session.session import Session

KEYS = 9
NEXT = {"unknown": "present", "present": "absent", "absent": "unknown"}
ANY, ALL = -1, ""
STATES = [("all", ALL), ("unknown", "unknown"), ("present", "present"), ("absent", "absent")]
HELP = (
    "Press 1 to 9 to tag the selected images: present, then absent, then unknown. "
    "Press 0 if no other class is in them. Ctrl+A selects all; a double click opens an image."
)


class Gallery(QWidget):
    """Show images as small pictures and tag those that are selected.

    What no longer fits the filter stays where it is until the filter is set anew, so that nothing
    jumps under the hand.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.pictures = Pictures(self)
        self.model = GalleryModel(session, self)
        self.view = _View()
        self.view.setModel(self.model)
        self.selection = existing(self.view.selectionModel())
        self.view.setItemDelegate(GalleryDelegate(self.model, self.pictures, self.view))
        self.only_class = ComboBox(choices=[("any class", ANY)], label="")
        self.only_state = ComboBox(choices=STATES, label="")
        self.folder = ComboBox(choices=[("all folders", ALL)], label="")
        self.again = button(
            "Refresh", self.refilter, "Show only the images that match the filter now (F5)"
        )
        self.none = button(
            "None of these  0",
            self.tag_none,
            "Tag every other class as absent from the selected images (0)",
        )
        self.name = LineEdit("New class, then Enter")
        self.count, self.classes = QLabel(), QHBoxLayout()
        self._buttons: list[tuple[int, Any]] = []
        self._connections = Connections()
        self._lay_out()
        self._connect()
        self._show_classes()
        self._show_folders()
        self.refilter()

    def _lay_out(self) -> None:
        self.name.setFixedWidth(190)
        tight(self.classes)
        self.classes.addStretch(1)
        classes = QWidget()
        classes.setLayout(self.classes)
        filters = row(
            QLabel("Show"), self.only_class.native, self.only_state.native, self.folder.native,
            self.again, None,
        )  # fmt: skip
        layout = QVBoxLayout(self)
        tight(layout, 4)
        layout.addWidget(sideways(classes))
        layout.addLayout(row(self.none, self.name, None, self.count))
        layout.addLayout(filters)
        layout.addWidget(self.view, 1)
        layout.addWidget(hint(HELP))

    def _connect(self) -> None:
        session = self.session
        self.view.pressed_key.connect(self.tag_at)
        self.view.doubleClicked.connect(lambda at: attempt(session, session.go_to, at.data(ID)))
        self.selection.selectionChanged.connect(lambda *_: self._tell())
        self.pictures.ready.connect(lambda i: self.view.update(self.model.index_of(i)))
        self.name.returnPressed.connect(self._add_class)
        for box in (self.only_class, self.only_state, self.folder):
            box.changed.connect(lambda _value: self.refilter())
        self._acts = {
            "Ctrl+Z": session.undo, "Ctrl+Shift+Z": session.redo, "F5": self.refilter
        }  # fmt: skip
        for keys in self._acts:
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda keys=keys: self.act(keys))
        self.view.pressed_other.connect(self.act)  # where the window is not the active one
        self._connections.add(session.tags.changed, self._tags_changed)
        self._connections.add_later([session.classes_changed], self._show_classes)

    def close_widget(self) -> None:
        """Stop listening and reading."""
        self._connections.close()
        self.pictures.close()

    # -- what is shown -------------------------------------------------------------------------

    def refilter(self) -> None:
        """Show the images that fit the filter now."""
        chosen = set(self.selected())
        self.model.refresh()
        self.model.show([r.id for r in self.session.records if self._fits(r)])
        self.select([i for i in self.model.ids if i in chosen])
        self._tell()

    def _fits(self, record: Any) -> bool:
        folder, state, class_id = self.folder.value, self.only_state.value, self.only_class.value
        if folder not in (ALL, None) and _folder(record.relative) != folder:
            return False
        if state in (ALL, None):
            return True
        said = self.model.tags.get(record.id, {})
        ids = [c.id for c in self.session.classes.novel] if class_id == ANY else [class_id]
        return any(said.get(i, "unknown") == state for i in ids) or (not ids and state == "unknown")

    def _tags_changed(self, changed: Any) -> None:
        self.model.take(changed)
        existing(self.view.viewport()).update()
        self._show_counts()

    def _show_classes(self) -> None:
        """Make a button for each novel class, and the choices of the filter."""
        novel = self.session.classes.novel
        while self._buttons:
            self._buttons.pop()[1].deleteLater()
        for place, one in enumerate(novel, start=1):
            made = button("", partial(self.tag_at, place))
            made.setIcon(swatch(one.color))
            self.classes.insertWidget(place - 1, made)
            self._buttons.append((one.id, made))
        before = self.only_class.value
        with self.only_class.changed.blocked():
            self.only_class.choices = [("any class", ANY), *((c.name, c.id) for c in novel)]
            self.only_class.value = before if before in [c.id for c in novel] else ANY
        self.none.setEnabled(bool(novel))
        self._show_counts()
        existing(self.view.viewport()).update()

    def _show_counts(self) -> None:
        counts, names = self.session.project.tags.counts(), self.session.classes.names
        for place, (class_id, made) in enumerate(self._buttons, start=1):
            said = counts.get(class_id, {"present": 0, "absent": 0})
            key = f"  {place}" if place <= KEYS else ""
            name = names.get(class_id, "")
            made.setText(f"{name}{key}")
            made.setToolTip(
                f"{name}: present in {said['present']}, absent from {said['absent']} images"
            )

    def _show_folders(self) -> None:
        found = sorted({_folder(r.relative) for r in self.session.records})
        self.folder.visible = len(found) > 1
        with self.folder.changed.blocked():
            named = [("(top)" if f == "." else f, f) for f in found]
            self.folder.choices = [("all folders", ALL), *named]

    def _tell(self) -> None:
        chosen = len(self.selection.selectedIndexes())
        self.count.setText(f"{chosen} of {len(self.model.ids)} selected")

    def act(self, keys: str) -> None:
        """Do what these keys stand for; others stand for nothing."""
        if keys in self._acts:
            attempt(self.session, self._acts[keys])

    # -- tagging -------------------------------------------------------------------------------

    def selected(self) -> list[int]:
        """Return the images that are selected, in their order."""
        rows = sorted(index.row() for index in self.selection.selectedIndexes())
        return [self.model.ids[r] for r in rows]

    def select(self, image_ids: list[int]) -> None:
        """Select these images, as far as they are shown."""
        wanted, selection = set(image_ids), QItemSelection()
        for place, image_id in enumerate(self.model.ids):
            if image_id in wanted:
                selection.select(self.model.index(place), self.model.index(place))
        flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
        self.selection.select(selection, flag)

    def tag_at(self, place: int) -> None:
        """Say of the selected images that the class at this place is present, absent, unknown."""
        if place == 0:
            self.tag_none()
            return
        novel, chosen = self.session.classes.novel, self._chosen()
        if not novel or place > len(novel):
            text = f"There is no class {place}. To add one, type its name and press Enter."
            self.session.message.emit("info", text)
        elif chosen:
            class_id = novel[place - 1].id
            said = {self.model.tags.get(i, {}).get(class_id, "unknown") for i in chosen}
            state = NEXT[said.pop()] if len(said) == 1 else "present"
            attempt(self.session, self.session.tags.tag, chosen, class_id, state)

    def tag_none(self) -> None:
        """Say that no novel class is in the selected images but those that were said to be."""
        chosen = self._chosen()
        if chosen:
            attempt(self.session, self.session.tags.tag_none, chosen)

    def _chosen(self) -> list[int]:
        chosen = self.selected()
        if not chosen:
            self.session.message.emit(
                "info", "Select images first: click one, or several with Shift or Ctrl."
            )
        return chosen

    def _add_class(self) -> None:
        if attempt(self.session, self.session.labels.add_class, self.name.text()) is not None:
            self.name.clear()
            self.view.setFocus()


def _folder(relative: str) -> str:
    return PurePosixPath(relative).parent.as_posix()


class _View(QListView):
    """Small pictures in rows; digits are keys of classes.

    Signals
    -------
    pressed_key : (int,)
        The digit.
    pressed_other : (str,)
        Other keys, as Qt writes them, e.g. "Ctrl+Z".
    """

    pressed_key = Signal(int)
    pressed_other = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setGridSize(CELL)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(CELL.height() // 2)  # the window must fit on small screens

    def sizeHint(self) -> QSize:
        """Return two rows."""
        return QSize(8 * CELL.width(), 2 * CELL.height() + 8)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Tell digits; arrows, Ctrl+A and the like are Qt's; no key goes on to the canvas."""
        event = existing(event)
        held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        digit = event.key() - int(Qt.Key.Key_0)
        if 0 <= digit <= KEYS and not held:
            self.pressed_key.emit(digit)
        else:
            super().keyPressEvent(event)
            self.pressed_other.emit(QKeySequence(event.key() | _held(event)).toString())
        event.accept()

    def keyboardSearch(self, search: str | None) -> None:
        """Do nothing."""


def _held(event: QKeyEvent) -> int:
    """Return Ctrl and Shift as Qt adds them to a key."""
    held, mask = event.modifiers(), 0
    for modifier in (Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier):
        if held & modifier:
            mask |= int(getattr(modifier, "value", modifier))
    return mask
