"""A thin progress bar that asks for a repaint instead of repainting at once, as Qt's own does."""

from __future__ import annotations

from qtpy.QtCore import QRectF
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

ACCENT = QColor(0, 180, 216)
HEIGHT = 5


class Bar(QWidget):
    """Show how much is done; a repaint beside an OpenGL canvas is dear, so few are asked for."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._part = 0.0
        self.setFixedHeight(HEIGHT)

    def show_part(self, done: int, total: int) -> None:
        """Show `done` of `total`; nothing where `total` is 0."""
        part = round(done / total, 2) if total else 0.0
        if part != self._part:
            self._part = part
            self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw the track and the part that is done."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QColor(0, 0, 0, 0))
        for part, color in ((1.0, QColor(128, 128, 128, 70)), (self._part, ACCENT)):
            painter.setBrush(color)
            painter.drawRoundedRect(QRectF(0, 0, self.width() * part, HEIGHT), 2, 2)
        painter.end()
