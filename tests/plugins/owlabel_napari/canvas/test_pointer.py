"""The mouse and the keys as Qt delivers them, whichever of our layers is active."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from owlabel_napari.canvas.napari_window import main_window, scene_canvas

pytestmark = pytest.mark.gui
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def canvas(panel: Any, qtbot: Any) -> Any:
    panel.viewer.window.resize(1200, 800)
    panel.viewer.show()
    QApplication.processEvents()
    panel.viewer.reset_view()
    native = scene_canvas(panel.viewer).native
    native.setFocus()
    return native


def middle(canvas: Any) -> QPoint:
    return QPoint(canvas.width() // 2, canvas.height() // 2)


def clicks(session: Any) -> list[Any]:
    return [call for call in session.calls if call[0] == "labels.click"]


def test_a_click_adds_and_a_shift_click_removes(canvas: Any, session: Any) -> None:
    QTest.mouseClick(canvas, LEFT, NONE, middle(canvas))
    QTest.mouseClick(canvas, LEFT, SHIFT, middle(canvas))
    QTest.mouseClick(canvas, RIGHT, NONE, middle(canvas))
    (_, row, col, add), second, third = clicks(session)
    assert (abs(row - 29.5) <= 1, abs(col - 39.5) <= 1, add) == (True, True, True)
    assert second[3] is False
    assert third[3] is False


def test_a_drag_is_no_click(canvas: Any, session: Any) -> None:
    QTest.mousePress(canvas, LEFT, NONE, middle(canvas))
    QTest.mouseMove(canvas, middle(canvas) + QPoint(30, 0))
    QTest.qWait(20)
    QTest.mouseRelease(canvas, LEFT, NONE, middle(canvas) + QPoint(30, 0))
    assert clicks(session) == []


def test_a_brush_stroke_is_no_click_and_is_painted(panel: Any, canvas: Any, session: Any) -> None:
    panel.workspace.overlays.choose_brush(1)
    panel.viewer.layers["labels"].mode = "paint"
    QTest.mouseClick(canvas, LEFT, NONE, middle(canvas))
    assert [call[0] for call in session.calls] == ["labels.paint"]


KEYS = (
    (Qt.Key.Key_N, NONE, "queue.next"),
    (Qt.Key.Key_N, SHIFT, "queue.previous"),
    (Qt.Key.Key_U, NONE, "labels.mark_ignore"),
    (Qt.Key.Key_K, NONE, "labels.mark_known"),
    (Qt.Key.Key_D, NONE, "next_image"),
    (Qt.Key.Key_A, NONE, "previous_image"),
    (Qt.Key.Key_Z, CONTROL, "undo"),
    (Qt.Key.Key_Z, CONTROL | SHIFT, "redo"),
    (Qt.Key.Key_Escape, NONE, "labels.cancel_region"),
)


def test_the_keys_fire_whichever_layer_is_active(panel: Any, canvas: Any, session: Any) -> None:
    session.labels.click(12, 14)
    session.queue.select("candidate 7")
    panel.workspace.steps.finish()
    layers = panel.viewer.layers
    assert {layer.name for layer in layers} >= {"image", "prediction", "labels", "candidates"}
    for active in (*layers, None):
        layers.selection.active = active
        for key, modifier, act in KEYS:
            QTest.keyClick(canvas, key, modifier)
            assert session.calls[-1][0] == act, active


def test_enter_asks_for_a_name_and_enter_gives_it(panel: Any, canvas: Any, session: Any) -> None:
    session.labels.click(12, 14)
    QTest.keyClick(canvas, Qt.Key.Key_Return)
    field = panel.workspace.naming.field
    assert field.isVisible()
    QTest.keyClicks(field.edit, "deer")
    QTest.keyClick(field.edit, Qt.Key.Key_Return)
    assert session.calls[-2] == ("labels.accept", "deer")
    assert not field.isVisible()


def test_the_heat_map_goes_and_comes_and_changes(panel: Any, canvas: Any) -> None:
    steps, score = panel.workspace.steps, panel.viewer.layers[2]
    QTest.keyClick(canvas, Qt.Key.Key_H)
    steps.finish()
    assert not score.visible
    QTest.keyClick(canvas, Qt.Key.Key_H)
    before = score.name
    QTest.keyClick(canvas, Qt.Key.Key_H, SHIFT)
    steps.finish()
    assert score.visible
    assert score.name != before


def test_enter_closes_a_polygon_while_one_is_drawn(panel: Any, canvas: Any, session: Any) -> None:
    labels = panel.viewer.layers["labels"]
    panel.workspace.overlays.choose_brush(1)
    labels.mode = "polygon"
    labels._overlays["polygon"].points = [[5, 5], [5, 30], [30, 30]]
    QTest.keyClick(canvas, Qt.Key.Key_Return)
    assert [call[0] for call in session.calls] == ["labels.paint"]


def test_the_keys_work_while_the_panel_has_the_focus(panel: Any, canvas: Any, session: Any) -> None:
    window = main_window(panel.viewer)
    window.activateWindow()
    panel.workspace.queue.list.setFocus()
    QTest.qWait(10)
    QTest.keyClick(panel.workspace.queue.list, Qt.Key.Key_N)
    assert ("queue.next",) in session.calls


def test_control_s_exports_again_and_the_menu_gets_it_back(
    panel: Any, canvas: Any, session: Any, tmp_path: Any
) -> None:
    export = panel.workspace.export
    export.folder.value, export.done_once = str(tmp_path / "new"), True
    menu = panel.viewer.window.file_menu
    QTest.keyClick(canvas, Qt.Key.Key_S, CONTROL)
    assert session.calls[-1][:2] == ("export", tmp_path / "new")
    panel.close_project()
    taken = [s.toString() for action in menu.actions() for s in action.shortcuts()]
    assert "Ctrl+S" in taken
