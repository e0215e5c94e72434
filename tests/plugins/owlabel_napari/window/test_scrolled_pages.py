"""Pages that are scrolled: how wide they are, and what the wheel moves."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QComboBox, QSpinBox, QVBoxLayout, QWidget

from owlabel_napari.widgets.common.parts import scrolled
from owlabel_napari.widgets.train.loss_plot import LossPlot

pytestmark = pytest.mark.gui


def test_a_page_takes_no_more_room_from_the_picture_than_it_must(qtbot: Any) -> None:
    page = QWidget()
    QVBoxLayout(page).addWidget(LossPlot())
    area = scrolled(page)
    qtbot.addWidget(area)
    assert page.sizeHint().width() > 600  # a plot would like to have so much
    assert area.sizeHint().width() == area.minimumSizeHint().width() < 200


def test_the_wheel_over_a_number_moves_the_page_alone(qtbot: Any) -> None:
    page = QWidget()
    layout = QVBoxLayout(page)
    number, choice = QSpinBox(), QComboBox()
    number.setRange(0, 500)
    choice.addItems(["a", "b"])
    layout.addWidget(number)
    layout.addWidget(choice)
    area = scrolled(page)
    qtbot.addWidget(area)
    area.show()

    def taken(field: Any) -> bool:
        middle = QPointF(field.rect().center())
        at = field.mapToGlobal(field.rect().center())
        event = QWheelEvent(
            middle, QPointF(at), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(field, event)
        return event.isAccepted()

    number.setValue(100)
    assert not taken(number), "it goes on to the page"
    assert not taken(choice)
    assert (number.value(), choice.currentIndex()) == (100, 0)
    assert number.focusPolicy() == choice.focusPolicy() == Qt.FocusPolicy.StrongFocus


def test_no_page_of_the_panel_is_cut(panel: Any) -> None:
    panel.viewer.window.resize(1280, 780)
    panel.viewer.show()
    tabs = panel.workspace.tabs
    for index in range(tabs.count()):
        tabs.setCurrentIndex(index)
        QApplication.processEvents()
        page = tabs.widget(index)
        assert page.width() >= page.minimumSizeHint().width(), tabs.tabText(index)
