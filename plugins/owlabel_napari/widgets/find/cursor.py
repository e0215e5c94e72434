"""What the model thinks of the pixel under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from owlabel.ood.registry import SCORES
from owlabel_napari.events.connections import Connections
from owlabel_napari.widgets.common.parts import hint, row

if TYPE_CHECKING:
    from owlabel.session.session import Session

EVERY_MS = 120
NEAREST = 3


class CursorWidget(QWidget):
    """Tell score and nearest prototypes of one pixel, at most eight times a second.

    Parameters
    ----------
    session : Session
    score_under : callable, optional
        Returns name and raw value of the score shown at (row, col), or None.
    """

    def __init__(
        self,
        session: Session,
        score_under: Callable[[int, int], tuple[str, float] | None] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.session, self.score_under = session, score_under
        self.text = hint(" ")
        self.text.setWordWrap(False)
        self.setLayout(row(self.text))
        self._pixel: tuple[int, int] | None = None
        self._connections = Connections()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(EVERY_MS)
        self._timer.timeout.connect(self._tell)
        self._connections.own(self._timer)

    def close_widget(self) -> None:
        """Stop telling."""
        self._connections.close()

    def look_at(self, pixel: tuple[int, int] | None) -> None:
        """Describe this (row, col) soon, or nothing outside the image."""
        self._pixel = pixel
        if not self._timer.isActive():
            self._timer.start()

    def _tell(self) -> None:
        text = " " if self._pixel is None else self._describe(*self._pixel)
        self.text.setText(text)

    def _describe(self, line: int, col: int) -> str:
        distances = self.session.scores.distances(line, col)
        nearest = sorted(distances.items(), key=lambda pair: pair[1])[:NEAREST]
        near = "  ".join(f"{name} {distance:.1f}" for name, distance in nearest)
        under = None if self.score_under is None else self.score_under(line, col)
        score = "" if under is None else f"  {SCORES[under[0]].title} {under[1]:.3g}"
        return f"({line}, {col}){score}" + (f"  distance²: {near}" if near else "")
