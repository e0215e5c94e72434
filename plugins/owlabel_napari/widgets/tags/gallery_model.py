"""The images of a gallery as Qt's model, and how one of them is painted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QObject, QPointF, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from owlabel_napari.widgets.common.parts import existing
from owlabel_napari.widgets.tags.image_previews import HEIGHT, WIDTH, Pictures

if TYPE_CHECKING:
    from owlabel.session.session import Session

ID = Qt.ItemDataRole.UserRole
MARGIN, TEXT, CHIP = 5, 16, 15
CELL = QSize(WIDTH + 2 * MARGIN, HEIGHT + TEXT + 2 * MARGIN)


class GalleryModel(QAbstractListModel):
    """Which images are shown, and what was said of them.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.ids: list[int] = []
        self.records = {r.id: r for r in session.records}
        self.tags: dict[int, dict[int, str]] = {}
        self._row: dict[int, int] = {}

    def show(self, ids: Sequence[int]) -> None:
        """Show these images."""
        self.beginResetModel()
        self.records = {r.id: r for r in self.session.records}
        self.ids = [i for i in ids if i in self.records]
        self._row = {image_id: row for row, image_id in enumerate(self.ids)}
        self.endResetModel()

    def refresh(self) -> None:
        """Read again what was said."""
        self.tags = self.session.project.tags.all()

    def take(self, changed: Mapping[int, Mapping[int, str]]) -> None:
        """Note what is said now: class id to image id to state.

        Whoever shows it paints it anew: `dataChanged` would lay out all images again.
        """
        for class_id, states in changed.items():
            for image_id, state in states.items():
                said = self.tags.setdefault(image_id, {})
                if state == "unknown":
                    said.pop(class_id, None)
                else:
                    said[class_id] = state

    def index_of(self, image_id: int) -> QModelIndex:
        """Return where an image stands; an invalid index where it is not shown."""
        row = self._row.get(image_id)
        return QModelIndex() if row is None else self.index(row)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of images."""
        return 0 if parent is not None and parent.isValid() else len(self.ids)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return name, id, or what was said, of one image."""
        if not index.isValid():
            return None
        image_id = self.ids[index.row()]
        if role == ID:
            return image_id
        if role == Qt.ItemDataRole.DisplayRole:
            return PurePosixPath(self.records[image_id].relative).name
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._told(image_id)
        return None

    def _told(self, image_id: int) -> str:
        names, said = self.session.classes.names, self.tags.get(image_id, {})
        lines = [f"{names[c]}: {state}" for c, state in said.items() if c in names]
        return "\n".join([self.records[image_id].relative, *(lines or ["no tags yet"])])


class GalleryDelegate(QStyledItemDelegate):
    """Paint an image: its picture, its name, and a chip for each class that was spoken of.

    A filled chip is a class that is present, a crossed out frame one that is absent.
    """

    def __init__(
        self, model: GalleryModel, pictures: Pictures, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.model, self.pictures = model, pictures

    def sizeHint(self, _option: QStyleOptionViewItem, _index: QModelIndex) -> QSize:
        """Return the size of a cell."""
        return CELL

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Paint one image."""
        painter = existing(painter)
        image_id = self.model.ids[index.row()]
        cell, palette = option.rect, option.palette
        painter.save()
        if option.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(
                cell.adjusted(1, 1, -1, -1), palette.color(QPalette.ColorRole.Highlight)
            )
        frame = QRect(cell.x() + MARGIN, cell.y() + MARGIN, WIDTH, HEIGHT)
        picture = self.pictures.get(image_id, self.model.records[image_id].path)
        if picture is None:
            painter.fillRect(frame, QColor(128, 128, 128, 40))
        else:
            place = QRect(frame)
            place.setSize(picture.size())
            place.moveCenter(frame.center())
            painter.drawPixmap(place, picture)
        text = QRect(frame.x(), frame.bottom() + 1, WIDTH, TEXT)
        name = option.fontMetrics.elidedText(str(index.data()), Qt.TextElideMode.ElideMiddle, WIDTH)
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        painter.drawText(text, Qt.AlignmentFlag.AlignCenter, name)
        self._paint_chips(painter, frame, self.model.tags.get(image_id, {}))
        painter.restore()

    def _paint_chips(self, painter: QPainter, frame: QRect, said: dict[int, str]) -> None:
        novel = self.model.session.classes.novel
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        x, y = frame.x() + 2, frame.bottom() - CHIP - 1
        for place, one in enumerate(novel, start=1):
            state = said.get(one.id)
            if state is None:
                continue
            if x + CHIP > frame.right():
                x, y = frame.x() + 2, y - CHIP - 2
            paint_chip(painter, QRect(x, y, CHIP, CHIP), one.color, state, place)
            x += CHIP + 2


def paint_chip(
    painter: QPainter, at: QRect, color: tuple[int, int, int], state: str, place: int
) -> None:
    """Paint what was said of the class at a place, from 1, of the list."""
    solid = QColor(*color)
    present = state == "present"
    painter.setPen(QPen(QColor(0, 0, 0, 160), 1))
    painter.setBrush(solid if present else QColor(20, 20, 20, 200))
    painter.drawRoundedRect(at, 3, 3)
    dark = solid.lightness() > 120
    painter.setPen(QColor("black") if present and dark else QColor("white"))
    if place <= 9:
        font = painter.font()
        font.setPixelSize(CHIP - 4)
        painter.setFont(font)
        painter.drawText(at, Qt.AlignmentFlag.AlignCenter, str(place))
    if not present:
        painter.setPen(QPen(solid, 2))
        painter.drawLine(QPointF(at.bottomLeft()), QPointF(at.topRight()))
