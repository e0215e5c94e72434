"""The loss of a running training, live."""

from __future__ import annotations

import pyqtgraph as pg
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel_napari.widgets.common.parts import tight

ACCENT = "#00b4d8"


class LossPlot(QWidget):
    """A curve over training steps, in the colours of napari's theme."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme = get_theme(get_settings().appearance.theme)
        self.plot = pg.PlotWidget(background=theme.background.as_hex())
        self._steps: list[float] = []
        self._values: list[float] = []
        text = pg.mkPen(theme.text.as_hex())
        for name, label in (("left", "loss"), ("bottom", "step")):
            axis = self.plot.getAxis(name)
            axis.setPen(text)
            axis.setTextPen(text)
            self.plot.setLabel(name, label)
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.hideButtons()
        self.plot.showGrid(y=True, alpha=0.2)
        self._curve = self.plot.plot([], [], pen=pg.mkPen(ACCENT, width=2))
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(self.plot)
        self.setFixedHeight(150)

    def clear(self) -> None:
        """Begin a new curve."""
        self._steps, self._values = [], []
        self._curve.setData([], [])

    def add(self, points: list[tuple[float, float]]) -> None:
        """Append (step, loss) pairs; a step that was there begins the curve anew from there.

        A run whose worker was killed goes on from the last state that it wrote.
        """
        for step, value in points:
            while self._steps and self._steps[-1] >= step:
                self._steps.pop()
                self._values.pop()
            self._steps.append(step)
            self._values.append(value)
        if points:
            self._curve.setData(self._steps, self._values)

    def __len__(self) -> int:
        return len(self._steps)
