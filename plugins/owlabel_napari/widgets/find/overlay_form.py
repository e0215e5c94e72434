"""Which score lies over the image, how strongly, and from where on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, Container, FloatSlider
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel.ood.candidates import SCORE
from owlabel.ood.registry import SCORES
from owlabel_napari.canvas.keys import tip
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import existing, hint, row, tight

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel_napari.canvas.overlays import Overlays

KEEP_MS = 250
"""A slider is stored when it has been still for so long."""
STEEPEST = 50.0
"""Of the beta slider, the end of the paper's ablation."""


class OverlayWidget(QWidget):
    """Set the score overlay; the threshold is also the least score of a candidate."""

    def __init__(self, session: Session, overlays: Overlays, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session, self.overlays = session, overlays
        self.score = ComboBox(
            choices=[(s.title, name) for name, s in SCORES.items()],
            value=overlays.score_name,
            label="Score",
        )
        self.opacity = FloatSlider(value=overlays.opacity, min=0, max=1, label="Opacity")
        self.threshold = FloatSlider(
            value=session.settings.threshold, min=0, max=1, label="Threshold"
        )
        self.threshold.tooltip = (
            "Hide pixels with a lower score. The slider is logarithmic: 0 marks half of the normal "
            "pixels, 1 marks one in a thousand.\nThe queue always uses entropy: it hides "
            "candidates below the same position on the scale of entropy."
        )
        steepest = max(STEEPEST, session.scores.beta)
        self.beta = FloatSlider(value=session.scores.beta, min=0, max=steepest, label="β")
        self.beta.tooltip = "Steepness of the change from MMSP to EDS"
        self.gamma = FloatSlider(value=session.scores.gamma, min=0, max=1, label="γ")
        self.gamma.tooltip = "Value of EDS at which both have the same weight"
        relative = session.scores.mmsp_norm == "minmax"
        self.spread = CheckBox(value=relative, text="MMSP relative to the image")
        self.spread.tooltip = "Rescale MMSP to 0 .. 1 in each image, as the authors' code does"
        self.heat = CheckBox(value=True, text=tip("H", "heat map"))
        self.prediction = CheckBox(value=True, text="Prediction")
        self.reading, self.formula = hint(), hint()
        self._connections = Connections()
        self._keep_threshold = self._later(self._store_threshold)
        self._keep_mixture = self._later(self._store_mixture)
        self._connect()
        self._lay_out()
        self._read_scores()

    def _later(self, act: Any) -> QTimer:
        """Return a timer that runs `act` once its slider has come to rest."""
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(KEEP_MS)
        timer.timeout.connect(act)
        self._connections.own(timer)
        return timer

    def _connect(self) -> None:
        self.score.changed.connect(self._choose)
        self.opacity.changed.connect(self.overlays.set_opacity)
        self.threshold.changed.connect(self._threshold_moved)
        for slider in (self.beta, self.gamma):
            slider.changed.connect(lambda _value: self._keep_mixture.start())
        self.spread.changed.connect(lambda _on: self._store_mixture())
        self.heat.changed.connect(lambda on: self.overlays.show_kind("score", on))
        self.prediction.changed.connect(lambda on: self.overlays.show_kind("prediction", on))
        add = self._connections.add
        add(self.session.queue.changed, self._read_settings)
        add(self.session.scores.changed, self._read_scores)
        add(self.session.models.changed, self._read_scores)
        add(self.session.image_changed, self._tell_reading)

    def _lay_out(self) -> None:
        sliders = [self.score, self.opacity, self.threshold]
        form = Container(widgets=sliders, labels=True)
        mixing: list[Any] = [self.beta, self.gamma, self.spread]
        self.mixing = Container(widgets=mixing, labels=True)
        for container in (form, self.mixing):
            container.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addLayout(row(self.prediction.native, self.heat.native, None))
        layout.addWidget(form.native)
        layout.addWidget(self.reading)
        layout.addWidget(self.mixing.native)
        layout.addWidget(self.formula)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def toggle_heat(self) -> None:
        """Show or hide the heat map (H)."""
        self.heat.value = not self.heat.value

    def next_score(self) -> None:
        """Go to the next score that can be had (Shift+H)."""
        names = list(SCORES)
        at = names.index(self.score.value)
        following = (*names[at + 1 :], *names[:at])
        can = (n for n in following if self.session.scores.unavailable(n) is None)
        self.score.value = next(can, self.score.value)

    # -- what the user moves -----------------------------------------------------------------

    def _choose(self, name: str) -> None:
        self.overlays.show_score(name)
        self._tell_score()

    def _threshold_moved(self, _value: float) -> None:
        self._tell_reading()
        self._keep_threshold.start()

    def _store_threshold(self) -> None:
        attempt(self.session, self.session.settings.set, threshold=float(self.threshold.value))
        self.overlays.show_limits()

    def _store_mixture(self) -> None:
        beta, gamma = float(self.beta.value), float(self.gamma.value)
        norm = "minmax" if self.spread.value else "none"
        attempt(self.session, self.session.settings.set, beta=beta, gamma=gamma, mmsp_norm=norm)

    # -- from the session --------------------------------------------------------------------

    def _read_settings(self, *_: Any) -> None:
        """Follow settings that came from elsewhere, e.g. an undo."""
        scoring = self.session.scores
        if (
            not self._keep_threshold.isActive()
            and self.threshold.value != self.session.settings.threshold
        ):
            with self.threshold.changed.blocked():
                self.threshold.value = self.session.settings.threshold
            self.overlays.show_limits()
            self._tell_reading()
        if not self._keep_mixture.isActive():
            with self.spread.changed.blocked():
                self.spread.value = scoring.mmsp_norm == "minmax"
            for slider, value in ((self.beta, scoring.beta), (self.gamma, scoring.gamma)):
                if slider.value != value:
                    with slider.changed.blocked():
                        slider.max = max(slider.max, value)
                        slider.value = value

    def _read_scores(self, *_: Any) -> None:
        """Grey what cannot be had, with the reason; leave a score that cannot be had any more."""
        items = self.score.native.model()
        for index, (name, score) in enumerate(SCORES.items()):
            reason = self.session.scores.unavailable(name)
            if isinstance(items, QStandardItemModel):
                existing(items.item(index)).setEnabled(reason is None)
            about = f"{score.formula}\nRange: {score.range}\nSource: {score.source}"
            tip = about if reason is None else f"{about}\nNot available: {reason}"
            self.score.native.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
        if self.session.scores.unavailable(self.score.value) is not None:
            self.score.value = SCORE
        self._read_settings()
        self._tell_score()

    def _tell_score(self) -> None:
        score = SCORES[self.score.value]
        self.mixing.visible = score.name == "mixture"
        self.formula.setText(f"{score.title} = {score.formula}")
        about = f"Range: {score.range}\nSource: {score.source}\nNeeds {score.need}"
        self.formula.setToolTip(about)
        self.score.native.setToolTip(f"{score.formula}\n{about}")
        self._tell_reading()

    def _tell_reading(self, *_: Any) -> None:
        """Say what the threshold means for a usual image."""
        if self.session.image_id is None:
            self.reading.setText("")
            return
        alarms = self.session.scores.false_alarms_shown(
            self.score.value, float(self.threshold.value)
        )
        if alarms is None:
            self.reading.setText("No scale yet: it is measured while the images are embedded")
            self.reading.setToolTip("Until then the heat map shows the whole range of the score")
            return
        bound = "" if self.session.scores.reviewed else "at most "
        self.reading.setText(f"{bound}about {_rounded(alarms)} false-alarm pixels per image")
        self.reading.setToolTip(self.session.scores.describe_scale(self.score.value))


def _rounded(count: float) -> str:
    """Return a number of pixels to two digits: a guess is no measurement."""
    if count < 1:
        return "no" if count < 0.05 else "less than 1"
    digits = max(len(str(int(count))) - 2, 0)
    return f"{round(count, -digits):,.0f}"
