"""The gallery over a real session without a worker: keys, filter, undo, and many images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from owlabel.session.session import Session

pytestmark = pytest.mark.gui


@pytest.fixture
def real(toy: Any) -> Session:
    """A session on four pictures, deer_1 to empty_2."""
    return Session(toy.project, start_worker=False)


@pytest.fixture
def gallery(qtbot: Any, real: Session) -> Iterator[Any]:
    from owlabel_napari.widgets.tags.gallery import Gallery

    real.labels.add_class("deer")
    real.labels.add_class("boar")
    made = Gallery(real)
    qtbot.addWidget(made)
    made.resize(900, 500)
    made.show()
    yield made
    made.close_widget()


def press(qtbot: Any, gallery: Any, key: str) -> None:
    qtbot.keyClicks(gallery.view, key)


def said(gallery: Any, class_id: int = 2) -> dict[int, str]:
    return gallery.session.project.tags.by_class(class_id)


def test_one_key_for_each_class_and_state(qtbot: Any, gallery: Any) -> None:
    gallery.select([1, 2])
    press(qtbot, gallery, "1")
    assert said(gallery) == {1: "present", 2: "present"}
    press(qtbot, gallery, "1")
    assert said(gallery) == {1: "absent", 2: "absent"}
    press(qtbot, gallery, "1")
    assert said(gallery) == {}
    press(qtbot, gallery, "2")
    assert said(gallery, 3) == {1: "present", 2: "present"}


def test_different_ones_become_present_first(qtbot: Any, gallery: Any) -> None:
    gallery.session.tags.tag([1], 2, "absent")
    gallery.select([1, 2, 3])
    press(qtbot, gallery, "1")
    assert said(gallery) == {1: "present", 2: "present", 3: "present"}
    gallery.session.undo()
    assert said(gallery) == {1: "absent"}
    assert gallery.model.tags[1] == {2: "absent"}, "the gallery follows"


def test_none_of_these_and_undo(qtbot: Any, gallery: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QShortcut

    gallery.session.tags.tag([1], 2, "present")
    gallery.view.selectAll()
    press(qtbot, gallery, "0")
    assert said(gallery) == {1: "present", 2: "absent", 3: "absent", 4: "absent"}
    assert set(said(gallery, 3).values()) == {"absent"}
    undo = gallery.findChildren(QShortcut)[0]
    assert undo.key().toString() == "Ctrl+Z"
    undo.activated.emit()
    assert said(gallery) == {1: "present"}
    held = Qt.KeyboardModifier.ControlModifier
    qtbot.keyClick(gallery.view, Qt.Key.Key_Z, held | Qt.KeyboardModifier.ShiftModifier)
    assert len(said(gallery)) == 4, "done again"
    qtbot.keyClick(gallery.view, Qt.Key.Key_Z, held)
    assert said(gallery) == {1: "present"}


def test_the_filter_and_what_stays_in_its_place(qtbot: Any, gallery: Any) -> None:
    gallery.session.tags.tag([1], 2, "present")
    gallery.only_class.value, gallery.only_state.value = 2, "unknown"
    assert gallery.model.ids == [2, 3, 4]
    gallery.select([3])
    press(qtbot, gallery, "1")
    assert gallery.model.ids == [2, 3, 4], "nothing jumps under the hand"
    gallery.again.click()
    assert gallery.model.ids == [2, 4]
    gallery.only_state.value = "present"
    assert gallery.model.ids == [1, 3]
    gallery.only_state.value = "absent"
    assert gallery.model.ids == []
    gallery.only_class.value, gallery.only_state.value = -1, "unknown"
    assert gallery.model.ids == [1, 2, 3, 4], "nothing is said about boars"


def test_a_whole_folder_is_tagged_with_one_key(qtbot: Any, real: Session) -> None:
    from owlabel_napari.widgets.tags.gallery import Gallery

    real.labels.add_class("deer")
    for i, folder in enumerate(("", "wood/", "wood/", "field/"), start=1):
        real.view.images.by_id[i] = replace(real.view.images.by_id[i], relative=f"{folder}{i}.png")
    made = Gallery(real)
    qtbot.addWidget(made)
    assert made.folder.choices == ("", ".", "field", "wood")
    made.folder.value = "wood"
    made.view.selectAll()
    press(qtbot, made, "1")
    assert said(made) == {2: "present", 3: "present"}
    made.close_widget()


def test_without_a_selection_or_class_it_says_what_to_do(
    qtbot: Any, gallery: Any, real: Session
) -> None:
    told: list[str] = []
    real.message.connect(lambda _level, text: told.append(text))
    press(qtbot, gallery, "1")
    gallery.select([1])
    press(qtbot, gallery, "7")
    assert told == [
        "Select images first: click one, or several with Shift or Ctrl.",
        "There is no class 7. To add one, type its name and press Enter.",
    ]
    assert said(gallery) == {}


def test_a_new_class_gets_the_next_key(qtbot: Any, gallery: Any) -> None:
    gallery.name.setText("elk")
    gallery.name.returnPressed.emit()
    qtbot.waitUntil(lambda: len(gallery._buttons) == 3)
    assert gallery._buttons[2][1].text() == "elk  3"
    gallery.select([4])
    press(qtbot, gallery, "3")
    assert gallery.session.project.tags.of(4) == {4: "present"}
    gallery.name.setText("Elk")
    gallery.name.returnPressed.emit()
    assert gallery.name.text() == "Elk", "a refused name stays to be changed"


def test_no_key_goes_on_to_the_canvas(qtbot: Any, gallery: Any) -> None:
    from qtpy.QtCore import QEvent, Qt
    from qtpy.QtGui import QKeyEvent

    for widget in (gallery.view, gallery.name):
        for key in (Qt.Key.Key_Return, Qt.Key.Key_K, Qt.Key.Key_Escape):
            event = QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier)
            event.ignore()
            widget.keyPressEvent(event)
            assert event.isAccepted(), (widget, key)


def test_a_double_click_opens_the_image(gallery: Any, real: Session) -> None:
    gallery.view.doubleClicked.emit(gallery.model.index(2))
    assert real.image_id == 3


def test_pictures_come_later_and_once(qtbot: Any, gallery: Any) -> None:
    gallery.grab()
    qtbot.waitUntil(lambda: len(gallery.pictures._kept) == 4)
    picture = gallery.pictures.get(1, gallery.model.records[1].path)
    assert (picture.width(), picture.height()) == (132, 99)


def test_ten_thousand_images_scroll_fluently(qtbot: Any, gallery: Any, real: Session) -> None:
    from qtpy.QtWidgets import QApplication

    first = real.records[0]
    real.view.images.by_id = {
        i: replace(first, id=i, relative=f"f/{i}.png") for i in range(1, 10_001)
    }
    begin = time.process_time()
    gallery.refilter()
    QApplication.processEvents()
    assert time.process_time() - begin < 3
    bar, took = gallery.view.verticalScrollBar(), []
    for step in range(40):
        begin = time.process_time()
        bar.setValue(bar.maximum() * step // 40)
        QApplication.processEvents()
        took.append(time.process_time() - begin)
    assert sorted(took)[20] < 0.2  # seconds of CPU for a screen of 30 cells; usually 0.02
    assert len(gallery.pictures._wanted) <= 120, "what was scrolled past is not read"
    gallery.view.selectAll()
    begin = time.process_time()
    gallery.refilter()
    assert time.process_time() - begin < 5
