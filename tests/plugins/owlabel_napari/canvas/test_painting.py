"""Every finished edit in napari's labels layer reaches the session exactly once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from owlabel.classes import UNSET, VOID
from owlabel.project.store import ProjectError

pytestmark = pytest.mark.gui


@pytest.fixture
def labels(overlays: Any) -> Any:
    layer = overlays.viewer.layers["labels"]
    layer.selected_label, layer.brush_size = 2, 5
    return layer


def paints(session: Any) -> int:
    return sum(call[0] == "labels.paint" for call in session.calls)


def test_a_stroke_of_many_dabs_is_painted_once(labels: Any, session: Any) -> None:
    with labels.block_history():  # what napari does between press and release
        for col in range(10, 40, 5):
            labels.paint((20, col), 2, refresh=False)
            labels._partial_labels_refresh()
        assert paints(session) == 0
    assert paints(session) == 1
    assert session.labels.human()[20, 30] == 1


def test_a_stroke_under_way_outlives_what_another_process_labels(labels: Any, session: Any) -> None:
    with labels.block_history():
        labels.paint((20, 10), 2, refresh=False)
        elsewhere = session.labels.human().copy()
        elsewhere[40:44] = 0
        session.labels._human[session.image_id] = elsewhere
        session.labels.changed.emit(session.image_id)  # as a poll does
        assert labels.data[20, 10] == 2
        assert (labels.data[40:44] == 1).all()
        labels.paint((20, 30), 2, refresh=False)
        assert paints(session) == 0
    assert paints(session) == 1
    human = session.labels.human()
    assert human[20, 10] == human[20, 30] == 1
    assert (human[40:44] == 0).all()


@pytest.mark.parametrize(
    "edit",
    [
        lambda layer: layer.fill((5, 5), 2),
        lambda layer: layer.paint_polygon([(5, 5), (5, 30), (30, 30)], 2),
        lambda layer: layer.data_setitem((np.array([5, 6]), np.array([7, 7])), 2),
        lambda layer: layer.paint((5, 5), 255),
    ],
    ids=["fill", "polygon", "setitem", "void"],
)
def test_each_other_edit_is_painted_once(labels: Any, session: Any, edit: Any) -> None:
    edit(labels)
    assert paints(session) == 1
    assert set(np.unique(session.labels.human())) <= {UNSET, 1, VOID}
    assert np.any(session.labels.human() != UNSET)


def test_a_stroke_that_could_not_be_written_comes_with_the_next(
    labels: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_labels: np.ndarray) -> None:
        raise ProjectError("the disk is full: make room")

    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    with monkeypatch.context() as patched:
        patched.setattr(session.labels, "paint", full)
        labels.paint((20, 20), 2)
    assert told == ["the disk is full: make room"]
    assert np.all(session.labels.human() == UNSET)
    assert labels.data[20, 20] == 2
    labels.paint((40, 40), 2)
    assert session.labels.human()[20, 20] == session.labels.human()[40, 40] == 1


def test_the_undo_of_napari_is_painted_too(labels: Any, session: Any) -> None:
    labels.paint((20, 20), 2)
    labels.undo()
    assert paints(session) == 2
    assert np.all(session.labels.human() == UNSET)


def test_napari_cannot_undo_into_the_next_image(labels: Any, session: Any) -> None:
    labels.paint((20, 20), 2)
    session.go_to(2)
    labels.undo()
    assert np.all(labels.data == 0)
    assert np.all(session.labels.human() == UNSET)
    session.go_to(1)
    assert labels.data[20, 20] == 2


def test_a_value_that_is_no_class_is_refused(labels: Any, session: Any) -> None:
    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    labels.paint((20, 20), 77)
    assert paints(session) == 0
    assert np.all(labels.data == 0)
    assert "77" in told[0]
