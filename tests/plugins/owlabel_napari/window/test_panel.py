"""The panel over a fake session: layers follow signals, widgets call acts, closing undoes all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari._qt.qt_viewer import QtViewer
from PIL import Image
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication

from owlabel_napari.canvas.napari_window import drop_targets
from owlabel_napari.entry.windows import panel_of
from owlabel_napari.widgets.classes import COLOR, NAME
from owlabel_napari.window.panel import OWLabelPanel

pytestmark = pytest.mark.gui


def test_the_layers_of_an_open_project(overlays: Any) -> None:
    layers = overlays.viewer.layers
    names = [layer.name for layer in layers]
    assert (names[:2], names[2][:5], names[3]) == (["image", "prediction"], "OoD: ", "labels")
    assert layers["prediction"].data[0, 0] == 2  # class 1, sky
    assert "sky" in layers["prediction"].get_status((0, 0), world=True)["value"]


def test_the_score_lies_over_the_image_to_half_a_pixel(overlays: Any) -> None:
    score = overlays.viewer.layers[2]
    assert score.data.shape == (15, 20)
    np.testing.assert_allclose(score.data_to_world((0, 0)), (1.5, 1.5))  # centre of 4 x 4 pixels


def test_a_picture_that_is_gone_is_told_and_black(overlays: Any, session: Any) -> None:
    def gone() -> None:
        raise ValueError("2.png: no such file")

    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    session.image = gone
    session.go_to(2)
    assert told == ["2.png: no such file"]
    assert not overlays.viewer.layers["image"].data.any()


def test_a_click_and_a_name_make_a_class(panel: Any, session: Any) -> None:
    session.labels.click(12, 14)
    assert panel.viewer.layers["region"].data.sum() == 48
    panel.workspace.naming.field.named.emit("deer")
    panel.workspace.steps.finish()
    assert panel.viewer.layers["labels"].data[12, 14] == 3  # class 2
    assert not panel.viewer.layers["region"].data.any()
    assert panel.workspace.classes.table.item(0, NAME).text() == "deer"


def test_the_first_classes_have_keys(panel: Any, session: Any) -> None:
    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    table, press = panel.workspace.classes.table, panel.workspace.keys.acts
    assert [table.item(place, NAME).text() for place in (0, 1)] == ["road", "sky"]
    assert table.verticalHeaderItem(1).text() == "2"
    press["Control-2"]()
    press["Control-3"]()
    assert told == [
        "Click an object first. Then Ctrl+2 names it sky.",
        "There is no class 3: the list has 2 classes.",
    ]
    session.labels.click(12, 14)
    press["Control-2"]()
    assert ("labels.accept", "sky") in session.calls


def test_a_button_of_each_class_asks_for_its_colour(panel: Any, session: Any) -> None:
    from qtpy.QtGui import QColor
    from qtpy.QtWidgets import QColorDialog

    classes = panel.workspace.classes
    classes.table.cellWidget(1, COLOR).click()
    dialog = classes.findChild(QColorDialog)
    assert dialog.currentColor().getRgb()[:3] == (70, 130, 180)
    dialog.colorSelected.emit(QColor(1, 2, 3))
    dialog.reject()
    assert ("labels.recolor_class", 1, (1, 2, 3)) in session.calls
    assert classes.table.cellWidget(2, COLOR) is None  # "ignore" is no class


def test_a_refusal_is_shown_and_not_raised(panel: Any, session: Any) -> None:
    told: list[tuple[str, str]] = []
    session.message.connect(lambda *said: told.append(said))
    panel.workspace.naming.field.named.emit("deer")  # nothing was clicked
    assert told == [("warning", "there is no region: click an object first")]


def test_going_to_a_candidate_frames_it_and_moves_the_camera(panel: Any, session: Any) -> None:
    session.queue.select("candidate 8")  # on image 2
    panel.workspace.steps.finish()
    assert panel.viewer.layers["candidates"].visible
    camera, canvas = panel.viewer.scene.camera, panel.viewer.canvas.size
    away = np.abs(np.subtract(camera.center[-2:], (15, 20)))
    assert np.all(away <= np.array(canvas) / camera.zoom / 2)
    assert panel.workspace.queue.list.currentRow() == 1
    assert panel.viewer.layers["image"].data[0, 0, 0] == 40


def test_opening_and_closing_three_times(panel: Any, session: Any) -> None:
    from owlabel_napari.window.panel import OWLabelPanel

    panel.close_project()
    viewer = panel.viewer
    for _ in range(3):
        one = OWLabelPanel(viewer)
        dock = viewer.window.add_dock_widget(one, name="again")
        one.show_session(session)
        one.workspace.steps.finish()
        viewer.window.remove_dock_widget(dock)
        assert session.closed
        assert not viewer.layers
        assert len(session.image_changed) == len(session.labels.changed) == 0
        assert not viewer.mouse_drag_callbacks[1:]
        assert len(viewer.keymap) == 0


def test_export_asks_before_it_replaces(panel: Any, session: Any, tmp_path: Any) -> None:
    form = panel.workspace.export
    form.folder.value = str(tmp_path)
    form.export()
    assert session.calls == []
    form.replace.click()
    assert session.calls == [("export", tmp_path, "masks", "reviewed", True)]


def test_a_folder_that_cannot_be_opened_is_explained(panel: Any, qtbot: Any, tmp_path: Any) -> None:
    panel.open_later(tmp_path / "nowhere")
    assert panel.pages.currentWidget() is panel.start
    assert not panel.start.open_button.isEnabled()
    qtbot.waitUntil(lambda: "no folder" in panel.start.problem.text(), timeout=20000)


def test_a_folder_dropped_on_the_canvas_opens(
    make_napari_viewer: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    opened: list[Any] = []
    to_napari: list[Any] = []
    monkeypatch.setattr(OWLabelPanel, "open_later", lambda _self, folder: opened.append(folder))
    monkeypatch.setattr(
        QtViewer, "_open_from_list_of_urls_data", lambda _self, *a, **k: to_napari.append(a)
    )
    viewer = make_napari_viewer()
    panel_of(viewer)
    canvas = next(w for w in drop_targets(viewer) if isinstance(w, QtViewer))

    def drop(*paths: Any) -> None:
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        held = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        enter = QDragEnterEvent(QPoint(5, 5), Qt.DropAction.CopyAction, mime, *held)
        QApplication.sendEvent(canvas, enter)  # makes the canvas the target of the drop
        event = QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, *held)
        QApplication.sendEvent(canvas, event)

    empty, pictures = tmp_path / "empty", tmp_path / "pictures"
    empty.mkdir()
    pictures.mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(pictures / "one.png")
    drop(empty)
    drop(pictures, empty)
    drop(pictures / "one.png")
    assert (len(to_napari), opened) == (3, [])  # none of ours: napari asks or opens
    drop(pictures)
    assert (len(to_napari), opened) == (3, [pictures])


def test_a_finding_is_told_once(panel: Any, session: Any) -> None:
    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    session.labels.click(12, 14)
    session.labels.accept("deer")
    session.shots.occurrences = {2: 3}
    session.classes_changed.emit()
    session.classes_changed.emit()
    assert told == ["deer: found in 3 of 3 images"]


def test_closing_the_window_closes_the_session(make_napari_viewer: Any, session: Any) -> None:
    from qtpy.QtWidgets import QApplication

    from owlabel_napari.window.panel import OWLabelPanel

    viewer = make_napari_viewer()
    panel = OWLabelPanel(viewer)
    viewer.window.add_dock_widget(panel, name="OWLabel")
    panel.show_session(session)
    viewer.close()
    QApplication.processEvents()
    assert session.closed


def test_a_page_that_scrolls_is_not_cut_at_its_side(qtbot: Any) -> None:
    from qtpy.QtWidgets import QLabel

    from owlabel_napari.widgets.common.parts import scrolled

    page = QLabel("a line that is rather long")
    area = scrolled(page)
    qtbot.addWidget(area)
    bar = area.verticalScrollBar().sizeHint().width()
    assert area.minimumSizeHint().width() == page.minimumSizeHint().width() + bar
