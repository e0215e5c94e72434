"""Pictures of several sizes, layers that somebody deletes, acts in the middle of another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from qtpy.QtWidgets import QAbstractItemView, QLineEdit, QWidget

from owlabel.classes import UNSET, ClassTable, LabelClass
from owlabel.project.store import Project, ProjectError
from owlabel.session.session import Session

pytestmark = pytest.mark.gui
SIZES = ((60, 80), (240, 320), (240, 320))


@pytest.fixture
def real(tmp_path: Path, stranger: Path) -> Session:
    """A session on a small and two large pictures that no model has looked at."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, (height, width) in zip("abc", SIZES, strict=True):
        pixels = np.full((height, width, 3), 60, np.uint8)
        pixels[height // 2 :, width // 2 :] = (200, 30, 30)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return Session(Project.create(tmp_path / "p.owlabel", folder, stranger), start_worker=False)


@pytest.fixture
def shown(qtbot: Any, real: Session) -> Iterator[Any]:
    from napari.components import ViewerModel

    from owlabel_napari.canvas.overlays import Overlays
    from owlabel_napari.events.deferred_work import Steps

    made = Overlays(ViewerModel(), real, Steps())
    made.steps.finish()
    yield made
    made.steps.close()
    made.close()
    real.close()


def test_a_pending_region_comes_back_with_its_larger_picture(shown: Any, real: Session) -> None:
    real.next_image()
    real.labels.click(200, 280)
    real.previous_image()
    assert shown.layers["image"].data.shape[:2] == (60, 80)
    real.next_image()
    assert shown.layers["image"].data.shape[:2] == (240, 320)
    assert shown.layers["region"].data[200, 280] == 1


def test_a_full_disk_does_not_stop_the_way_to_another_picture(
    shown: Any, real: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_image_id: int) -> None:
        raise ProjectError("the disk is full")

    monkeypatch.setattr(real.project, "set_focus", full)
    real.next_image()
    assert shown.layers["image"].data.shape[:2] == (240, 320)
    assert real.record().relative == "b.png"


@pytest.mark.parametrize("kinds", [["image"], ["image", "labels", "region"]])
def test_a_picture_that_somebody_deletes_comes_back(
    shown: Any, real: Session, kinds: list[str]
) -> None:
    for kind in kinds:
        shown.viewer.layers.remove(shown.layers[kind])
    real.labels.click(40, 60)
    real.labels.cancel_region()
    shown.steps.finish()
    real.next_image()
    assert shown.layers["image"].data.shape[:2] == (240, 320)
    real.labels.click(200, 280)
    assert shown.layers["region"].data[200, 280] == 1


def test_an_unfinished_polygon_is_not_finished_on_the_next_picture(
    shown: Any, real: Session
) -> None:
    real.next_image()
    labels = shown.layers["labels"]
    labels.mode = "polygon"
    polygon = labels._overlays["polygon"]
    polygon.points = [(5, 5), (5, 30), (30, 30)]
    real.next_image()
    polygon.add_polygon_to_labels(labels)
    assert (real.labels.human() == UNSET).all()


def test_a_key_waits_for_the_end_of_a_stroke(panel: Any, session: Any) -> None:
    keys, labels = panel.workspace.keys, panel.viewer.layers["labels"]
    press = keys._on_layer("D")
    with labels.block_history():
        press(labels)
        keys._on_viewer("D")(panel.viewer)
    assert session.calls == []
    press(labels)
    assert session.calls == [("next_image",)]


def test_what_is_hidden_does_not_come_back_over_another_picture(
    overlays: Any, session: Any
) -> None:
    layer = overlays.layers["prediction"]
    assert layer.data.any()
    overlays.show_kind("prediction", False)
    overlays.steps.finish()
    session.go_to(2)
    overlays.steps.finish()
    layer.visible = True  # the eye of napari's list
    assert not layer.data.any()


def test_why_the_session_cannot_look_around_is_told_once(
    panel: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ProjectError("the database is locked")

    told: list[str] = []
    monkeypatch.setattr(
        "owlabel_napari.window.workspace.show", lambda _level, text: told.append(text)
    )
    with monkeypatch.context() as patched:
        patched.setattr(session, "poll", broken)
        for _ in range(3):
            panel.workspace._poll()
    panel.workspace._poll()
    assert told == ["the database is locked"]


def test_many_classes_and_a_far_reach_fit_into_the_window(
    make_napari_viewer: Any, session: Any
) -> None:
    from owlabel_napari.window.panel import OWLabelPanel

    many = tuple(LabelClass(i, f"class {i}", (i, 0, 0), False) for i in range(171))
    session.classes, session.settings.lambda_novel = ClassTable(many), 9.0
    session.scores.beta = 70.0
    made = OWLabelPanel(make_napari_viewer())
    made.show_session(session)
    assert made.workspace.classes.reach.value == 9
    session.settings.lambda_novel = 12.0
    session.classes_changed.emit()
    assert made.workspace.classes.reach.value == 12
    made.close_project()


def test_a_name_that_is_being_typed_is_left_alone(panel: Any, session: Any) -> None:
    deer = LabelClass(5, "deer", (1, 2, 3), True)
    session.classes = ClassTable((*session.classes.classes, deer))
    session.classes_changed.emit()
    panel.workspace._show_tab("Classes")
    table = panel.workspace.classes.table
    item = next(table.item(row, 1) for row in range(table.rowCount())
                if table.item(row, 1).text() == "deer")  # fmt: skip
    table.editItem(item)
    assert table.state() == QAbstractItemView.State.EditingState
    editor = table.findChild(QLineEdit)
    editor.setText("roe")
    session.classes_changed.emit()
    assert editor.text() == "roe"


def test_a_field_whose_caller_is_gone_still_gives_the_name(qtbot: Any) -> None:
    from owlabel_napari.widgets.find.name_field import NameField

    canvas = QWidget()
    qtbot.addWidget(canvas)
    field = NameField(lambda: ["deer"])
    named: list[str] = []
    field.named.connect(named.append)
    field.ask(canvas, "deer")
    field._before = gone = QLineEdit()
    gone.deleteLater()
    qtbot.wait(20)
    field._finish()
    assert named == ["deer"]


def test_the_last_folder_that_was_wanted_is_opened(
    qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from owlabel_napari.window.project_opener import ProjectOpener

    class Made(SimpleNamespace):
        def __enter__(self) -> Made:
            return self

        def __exit__(self, *_: Any) -> None:
            pass

    def slow(folder: Path, *_: Any) -> Made:
        time.sleep(0.2)
        return Made(folder=folder)

    monkeypatch.setattr("owlabel_napari.window.project_opener.open_project", slow)
    opener, told = ProjectOpener(), []
    opener.ready.connect(told.append)
    opener.open(tmp_path / "first", None)
    opener.open(tmp_path / "second", None)
    qtbot.waitUntil(lambda: bool(told), timeout=5000)
    qtbot.wait(300)
    assert told == [tmp_path / "second"]
    assert not opener.busy
