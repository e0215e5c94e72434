"""The form of the score overlay: greyed scores, the reading of the threshold, beta and gamma."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from owlabel.ood.registry import SCORES

pytestmark = pytest.mark.gui


@pytest.fixture
def form(qtbot: Any, session: Any, overlays: Any) -> Iterator[Any]:
    from owlabel_napari.widgets.find.overlay_form import OverlayWidget

    made = OverlayWidget(session, overlays)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_widget()


def test_a_score_that_cannot_be_had_is_grey_and_says_why(form: Any, session: Any) -> None:
    model, names = form.score.native.model(), list(SCORES)
    enabled = [model.item(i).isEnabled() for i in range(len(names))]
    assert [n for n, on in zip(names, enabled, strict=True) if not on] == ["rpl_energy"]
    tip = form.score.native.itemData(names.index("rpl_energy"), Qt.ItemDataRole.ToolTipRole)
    assert "needs a residual block" in tip
    assert SCORES["rpl_energy"].source in tip
    session.scores.lacking.clear()
    session.scores.changed.emit()
    assert model.item(names.index("rpl_energy")).isEnabled()


def test_a_score_that_goes_away_is_left(form: Any, session: Any, overlays: Any) -> None:
    form.score.value = "sml"
    session.scores.lacking["sml"] = "needs statistics"
    session.models.changed.emit()
    assert form.score.value == overlays.score_name == "entropy"


def test_the_next_score_passes_over_grey_ones(form: Any, session: Any) -> None:
    form.score.value = "sml_smooth"
    form.next_score()  # not rpl_energy
    assert form.score.value == next(iter(SCORES))


def test_the_threshold_reads_in_false_alarms(form: Any, session: Any) -> None:
    form.threshold.value = 0.25
    assert form.reading.text() == "about 750 false-alarm pixels per image"
    assert form.reading.toolTip() == "over all pixels of 3 images"
    session.scores.alarms, session.scores.reviewed = 98765.0, False
    session.scores.changed.emit()
    assert form.reading.text() == "at most about 74,000 false-alarm pixels per image"
    session.scores.alarms = None
    session.scores.changed.emit()
    assert "No scale yet" in form.reading.text()


def test_a_threshold_from_elsewhere_is_followed(form: Any, session: Any) -> None:
    session.settings.threshold = 0.9
    session.queue.changed.emit()
    assert form.threshold.value == 0.9
    assert "100" in form.reading.text()
    assert ("settings.set", {"threshold": 0.9}) not in session.calls


def mixture(gamma: float, mmsp_norm: str) -> tuple[str, dict[str, object]]:
    return "settings.set", {"beta": 5.0, "gamma": gamma, "mmsp_norm": mmsp_norm}


def test_beta_and_gamma_belong_to_the_mixture(form: Any, session: Any, qtbot: Any) -> None:
    assert not form.mixing.native.isVisible()
    form.score.value = "mixture"
    assert form.mixing.native.isVisible()
    form.beta.value, form.gamma.value = 5.0, 0.3
    qtbot.waitUntil(lambda: mixture(0.3, "none") in session.calls)
    form.spread.value = True
    assert session.calls[-1] == mixture(0.3, "minmax")
    session.scores.beta = 80.0  # set without the window
    session.scores.changed.emit()
    assert form.beta.value == 80
    session.scores.mmsp_norm = "none"
    session.scores.changed.emit()
    assert not form.spread.value


def test_the_score_is_drawn_on_its_scale(form: Any, session: Any, overlays: Any) -> None:
    session.settings.threshold = 0.5
    session.scores.limits = lambda name, values=None: (-4.0, 6.0)
    session.scores.changed.emit()
    overlays.steps.finish()
    assert tuple(overlays.layers["score"].contrast_limits) == (1.0, 6.0)


def test_a_pixel_that_is_no_number_is_shown_as_strange(session: Any, overlays: Any) -> None:
    values = np.zeros((15, 20), np.float32)
    values[2, 3] = np.nan
    session.scores.current = lambda name: values
    session.scores.changed.emit()
    overlays.steps.finish()
    assert overlays.layers["score"].data[2, 3] == 1


def test_a_refusal_of_a_score_is_told(session: Any, overlays: Any) -> None:
    def refuse(name: str) -> None:
        raise ValueError("needs a residual block")

    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    session.scores.current = refuse
    overlays.show_score("rpl_energy")
    overlays.steps.finish()
    assert told == ["needs a residual block"]
    assert not overlays.layers["score"].visible


def test_the_raw_score_under_the_cursor_is_told(qtbot: Any, session: Any, overlays: Any) -> None:
    from owlabel_napari.widgets.find.cursor import CursorWidget

    line = CursorWidget(session, overlays.score_under)
    qtbot.addWidget(line)
    line.look_at((59, 79))
    qtbot.waitUntil(lambda: "Entropy 1 " in line.text.text())
    overlays.show_kind("score", False)
    overlays.steps.finish()
    line.look_at((0, 0))
    qtbot.waitUntil(lambda: line.text.text().startswith("(0, 0)  distance"))
    line.close_widget()
