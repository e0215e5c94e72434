"""Tags: what is said of this image and of all, files in and out, masks learnt from tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from owlabel.formats.tags.files import Reading
from owlabel_napari.canvas.keys import tip
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import (
    LineEdit,
    button,
    existing,
    hint,
    row,
    scrolled,
    swatch,
    tight,
    title,
)
from owlabel_napari.widgets.tags.gallery import NEXT
from owlabel_napari.widgets.train.weak_shot import WeakShotWidget

if TYPE_CHECKING:
    from owlabel.session.session import Session

NAME, HERE, PRESENT, ABSENT = range(4)
SIGN = {"present": "✓ present", "absent": "✗ absent", "unknown": "–"}
ROW, HEAD, MOST_ROWS = 24, 28, 9
"""Heights in pixels, and rows above which the table is scrolled."""
FILES = "Tags (*.csv *.tsv *.txt *.json)"


class TagsWidget(QWidget):
    """The tab for tags; every button is an act or a job of the session.

    Signals
    -------
    gallery_wanted, review_wanted
        The gallery, or the queue of masks from tags, shall be shown.
    """

    gallery_wanted = Signal()
    review_wanted = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.table = QTableWidget(0, 4)
        self.name = LineEdit("New class, then Enter")
        self.gallery = button("Gallery  Q", self.gallery_wanted.emit, tip("Q"))
        self.none = button(
            "None of these", self._none, "Tag every other class as absent from this image"
        )
        self.take = button("Import …", self._ask_file, "Import tags from a CSV, JSON or COCO file")
        self.folder = button(
            "Folders …",
            self._ask_folder,
            "Import tags from a folder that has one subfolder per class",
        )
        self.give = button("Export …", self._ask_target, "Write all tags to a CSV or JSON file")
        self.make_classes = QCheckBox("Create new classes")
        self.skip_unknown = QCheckBox("Skip unknown ones")
        self.imported = hint()
        self.masks = WeakShotWidget(session)
        self.masks.review_wanted.connect(self.review_wanted)
        self._connections = Connections()
        self._lay_out()
        self.table.cellClicked.connect(self._turn)
        self.name.returnPressed.connect(self._add_class)
        self._connections.add_later(
            (session.tags.changed, session.classes_changed, session.image_changed), self.show_tags
        )
        self.show_tags()

    def _lay_out(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(["Class", "This image", "✓", "✗"])
        table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setShowGrid(False)
        existing(table.verticalHeader()).setDefaultSectionSize(ROW)
        header = existing(table.horizontalHeader())
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        for column in (HERE, PRESENT, ABSENT):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        page = QWidget()
        outer, layout = QVBoxLayout(self), QVBoxLayout(page)
        tight(outer)
        tight(layout)
        outer.addWidget(scrolled(page))
        layout.addLayout(row(title("Tags: classes in the images"), None, self.gallery))
        layout.addWidget(table)
        layout.addWidget(
            hint("Click “This image” to change a tag: present, then absent, then unknown.")
        )
        layout.addLayout(row(self.name, self.none))
        layout.addLayout(row(self.take, self.folder, self.give))
        layout.addLayout(row(self.make_classes, self.skip_unknown))
        layout.addWidget(self.imported)
        layout.addWidget(self.masks)
        layout.addStretch(1)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()
        self.masks.close_widget()

    # -- tags ----------------------------------------------------------------------------------

    def show_tags(self) -> None:
        """Show the novel classes, what is said of this image, and how many of all."""
        session = self.session
        counts = session.project.tags.counts()
        here = {} if session.image_id is None else session.project.tags.of(session.image_id)
        novel = session.classes.novel
        self.table.setRowCount(len(novel))
        self.table.setVerticalHeaderLabels([str(i + 1) for i in range(len(novel))])
        for index, one in enumerate(novel):
            said = counts.get(one.id, {"present": 0, "absent": 0})
            named = self._put(index, NAME, one.name)
            named.setIcon(swatch(one.color))
            self._put(index, HERE, SIGN[here.get(one.id, "unknown")])
            self._put(index, PRESENT, str(said["present"]))
            self._put(index, ABSENT, str(said["absent"]))
        self.table.setFixedHeight(HEAD + ROW * min(max(len(novel), 2), MOST_ROWS))
        self.none.setEnabled(bool(novel) and session.image_id is not None)

    def _put(self, index: int, column: int, text: str) -> QTableWidgetItem:
        item = QTableWidgetItem(text)
        if column in (PRESENT, ABSENT):
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.table.setItem(index, column, item)
        return item

    def _turn(self, index: int, column: int) -> None:
        """Say the next of present, absent and unknown of this image."""
        session = self.session
        if column != HERE or session.image_id is None:
            return
        class_id = session.classes.novel[index].id
        state = NEXT[session.project.tags.of(session.image_id).get(class_id, "unknown")]
        attempt(session, session.tags.tag, [session.image_id], class_id, state)

    def _none(self) -> None:
        if self.session.image_id is not None:
            attempt(self.session, self.session.tags.tag_none, [self.session.image_id])

    def _add_class(self) -> None:
        if attempt(self.session, self.session.labels.add_class, self.name.text()) is not None:
            self.name.clear()

    # -- files ---------------------------------------------------------------------------------

    def import_from(self, path: Path) -> None:
        """Tag images as a file or folder says; tells what was done, or why nothing was."""
        how = Reading(self.make_classes.isChecked(), self.skip_unknown.isChecked())
        level = "info"
        try:
            told = f"{path.name}: {self.session.tags.import_file(path, how)}"
        except ValueError as error:
            level, told = "warning", str(error).replace(str(path), path.name)
        self.imported.setText(told)  # it may be longer than a passing message shows
        self.session.message.emit(level, told)

    def _ask_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import tags", "", FILES)
        if name:
            self.import_from(Path(name))

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self, "Choose a folder that has one subfolder per class"
        )
        if name:
            self.import_from(Path(name))

    def _ask_target(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export tags", "tags.csv", FILES)
        count = attempt(self.session, self.session.tags.export_file, Path(name)) if name else None
        if count is not None:
            self.session.message.emit("info", f"Wrote {count} tags to {name}")
