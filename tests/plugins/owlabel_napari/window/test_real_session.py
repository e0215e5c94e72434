"""The widgets follow the signals of a real session: the fakes emit what a test asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from owlabel.session.session import Session
from owlabel_napari.canvas.layer_values import layer_value

pytestmark = pytest.mark.gui


@pytest.fixture
def real(toy: Any) -> Session:
    return Session(toy.project, start_worker=False)


@pytest.fixture
def workspace(make_napari_viewer: Any, real: Session) -> Iterator[Any]:
    from owlabel_napari.window.workspace import Workspace

    made = Workspace(make_napari_viewer(), real)
    made.steps.finish()
    yield made
    made.close_workspace()


@pytest.mark.parametrize(
    ("key", "slider", "value"),
    [
        ("threshold", "overlay.threshold", 0.9),
        ("beta", "overlay.beta", 7.0),
        ("gamma", "overlay.gamma", 0.2),
        ("hide_above", "queue.hide_above", 0.9),
        ("lambda_novel", "classes.reach", 2.5),
    ],
)
def test_undo_of_a_setting_moves_its_slider(
    workspace: Any, real: Session, qtbot: Any, key: str, slider: str, value: float
) -> None:
    widget, name = slider.split(".")
    control = getattr(getattr(workspace, widget), name)
    before = control.value
    assert before != pytest.approx(value)
    real.settings.set(**{key: value})
    workspace.steps.finish()
    qtbot.waitUntil(lambda: control.value == pytest.approx(value))
    real.undo()
    workspace.steps.finish()
    qtbot.waitUntil(lambda: control.value == pytest.approx(before))
    qtbot.wait(400)
    assert control.value == pytest.approx(before), "the slider was stored again"


def test_undo_of_the_threshold_moves_the_limits_of_the_heat_map(
    workspace: Any, real: Session
) -> None:
    before = tuple(workspace.overlays.layers["score"].contrast_limits)
    real.settings.set(threshold=0.9)
    workspace.steps.finish()
    assert tuple(workspace.overlays.layers["score"].contrast_limits) != before
    real.undo()
    workspace.steps.finish()
    assert tuple(workspace.overlays.layers["score"].contrast_limits) == pytest.approx(before)


def test_naming_updates_layers_queue_thumbnails_and_candidate(
    workspace: Any, real: Session, qtbot: Any
) -> None:
    keys = [item.key for item in real.queue.items()]
    assert len(keys) > 1, "the toy has candidates on two images"
    real.queue.select(keys[0])
    workspace.steps.finish()
    qtbot.waitUntil(lambda: workspace.candidate.picture.pixmap() is not None)
    qtbot.waitUntil(lambda: workspace.candidate.what.text().startswith("What is this"))
    assert workspace.queue.list.count() == len(keys)
    layers = workspace.overlays.layers
    predicted = np.array(layers["prediction"].data)
    real.labels.click(*real.queue.shown.peak)
    real.labels.accept("deer")
    workspace.steps.finish()
    deer = layer_value(real.classes.find("deer").id)
    assert set(np.unique(layers["labels"].data)) == {0, deer}
    assert not np.array_equal(np.array(layers["prediction"].data), predicted)
    qtbot.waitUntil(lambda: workspace.candidate.what.text() == "Done")
    assert keys[0] not in [item.key for item in real.queue.items()]
    assert workspace.queue.list.count() == len(real.queue.items())
    real.queue.next()
    workspace.steps.finish()
    qtbot.waitUntil(lambda: real.queue.shown.key in workspace.thumbnails.made)
    qtbot.waitUntil(lambda: workspace.candidate.what.text() != "Done")
