"""Which score lies over the image, how strongly, and from where on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, Container, FloatSlider
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel.scores import SCORES
from owlabel_napari.connections import Connections
from owlabel_napari.messages import attempt
from owlabel_napari.widgets.parts import hint, row, tight

if TYPE_CHECKING:
    from owlabel.session import Session
    from owlabel_napari.overlays import Overlays


class OverlayWidget(QWidget):
    """Set the score overlay; the threshold is also the least score of a candidate."""

    def __init__(self, session: Session, overlays: Overlays, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.overlays = session, overlays
        self.score = ComboBox(
            choices=[(s.label, name) for name, s in SCORES.items()],
            value=overlays.score_name,
            label="Score",
        )
        self.opacity = FloatSlider(value=overlays.opacity, min=0, max=1, label="Opacity")
        self.threshold = FloatSlider(value=session.threshold, min=0, max=1, label="From")
        self.threshold.tooltip = (
            "Hides lower scores; candidates whose absolute distance score is lower leave the queue"
        )
        self.heat = CheckBox(value=True, text="Heat map (H)")
        self.prediction = CheckBox(value=True, text="Prediction")
        self.formula = hint()
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(250)
        self._later.timeout.connect(self._keep_threshold)
        self._connections = Connections()
        self._connections.own(self._later)
        self._connect()
        self._lay_out()
        self._tell_formula()

    def _connect(self) -> None:
        self.score.changed.connect(self._choose)
        self.opacity.changed.connect(self.overlays.set_opacity)
        self.threshold.changed.connect(lambda _value: self._later.start())
        self.heat.changed.connect(lambda on: self.overlays.show_kind("score", on))
        self.prediction.changed.connect(lambda on: self.overlays.show_kind("prediction", on))
        self._connections.add(self.session.queue_changed, self._read_threshold)

    def _lay_out(self) -> None:
        form = Container(widgets=[self.score, self.opacity, self.threshold], labels=True)
        form.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addLayout(row(self.prediction.native, self.heat.native, None))
        layout.addWidget(form.native)
        layout.addWidget(self.formula)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def toggle_heat(self) -> None:
        """Show or hide the heat map (H)."""
        self.heat.value = not self.heat.value

    def next_score(self) -> None:
        """Go to the next score (Shift+H)."""
        names = list(SCORES)
        self.score.value = names[(names.index(self.score.value) + 1) % len(names)]

    def _choose(self, name: str) -> None:
        self.overlays.show_score(name)
        self._tell_formula()

    def _tell_formula(self) -> None:
        score = SCORES[self.score.value]
        self.formula.setText(f"{_short(score.name)} = {score.formula}")
        self.formula.setToolTip(f"Range: {score.range}\nSource: {score.source}")

    def _keep_threshold(self) -> None:
        attempt(self.session, self.session.set_threshold, float(self.threshold.value))
        self.overlays.show_limits()

    def _read_threshold(self, *_: Any) -> None:
        if not self._later.isActive() and self.threshold.value != self.session.threshold:
            with self.threshold.changed.blocked():
                self.threshold.value = self.session.threshold
            self.overlays.show_limits()


def _short(name: str) -> str:
    """Return a score's short name as the papers write it: EDS absolute, MMSP, entropy."""
    first, *rest = name.split("_")
    return " ".join([first.upper() if first in ("eds", "mmsp", "msp") else first, *rest])
