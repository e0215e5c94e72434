"""Closed-set mIoU and AP of a running OoD training, live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyqtgraph as pg
from napari.settings import get_settings
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel_napari.widgets.common.parts import tight

CURVES = {"miou": ("closed-set mIoU", "#f2c14e"), "ap": ("AP on OoD objects", "#00b4d8")}
"""Metric to its name and colour."""


class CoursePlot(QWidget):
    """Two curves over epochs, in percent, in the colours of napari's theme."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme = get_theme(get_settings().appearance.theme)
        self.plot = pg.PlotWidget(background=theme.background.as_hex())
        text = pg.mkPen(theme.text.as_hex())
        for name, label in (("left", "%"), ("bottom", "epoch")):
            axis = self.plot.getAxis(name)
            axis.setPen(text)
            axis.setTextPen(text)
            self.plot.setLabel(name, label)
        self.plot.addLegend(offset=(-6, 6), labelTextColor=theme.text.as_hex(), labelTextSize="8pt")
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(x=False, y=False)
        self.plot.hideButtons()
        self.plot.showGrid(y=True, alpha=0.2)
        self.plot.setYRange(0, 100)
        self._points: dict[str, list[tuple[float, float]]] = {key: [] for key in CURVES}
        self._curves = {
            key: self.plot.plot(
                [], [], pen=pg.mkPen(color, width=2), symbol="o", symbolSize=5,
                symbolBrush=color, symbolPen=None, name=name,
            )
            for key, (name, color) in CURVES.items()
        }  # fmt: skip
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(self.plot)
        self.setFixedHeight(150)

    def clear(self) -> None:
        """Begin anew."""
        for key, curve in self._curves.items():
            self._points[key] = []
            curve.setData([], [])

    def add(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Append what was measured after some epochs; rows without an epoch are passed over."""
        for key, curve in self._curves.items():
            new = [(r["epoch"], 100 * r[key]) for r in rows if "epoch" in r and key in r]
            if new:
                self._points[key].extend(new)
                epochs, values = zip(*self._points[key], strict=True)
                curve.setData(list(epochs), list(values))

    def __len__(self) -> int:
        return max(len(points) for points in self._points.values())
