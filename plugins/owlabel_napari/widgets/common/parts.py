"""Small pieces that the widgets share: titles, hints, buttons, rows, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from napari.qt import get_current_stylesheet
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QImage, QKeyEvent, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QCompleter,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QWidget,
)

MARGIN = 6
P = TypeVar("P")
QUIET = "font-size: 11px; color: rgba(160, 165, 175, 255);"
FAILED = "font-size: 11px; color: rgb(235, 110, 90);"
"""Styles of small text: a hint, and what went wrong."""


def existing(part: P | None) -> P:
    """Return a part that every widget of its kind has; by its types, Qt might return None."""
    assert part is not None
    return part


def title(text: str) -> QLabel:
    """Return a section heading."""
    label = QLabel(text)
    label.setStyleSheet("font-weight: 600;")
    return label


def hint(text: str = "") -> QLabel:
    """Return a line of small, quiet, wrapped text."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setStyleSheet(QUIET)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def say(label: QLabel, text: str, *, failed: bool = False) -> None:
    """Show a text in a hint, red where something went wrong; without text no line at all."""
    label.setStyleSheet(FAILED if failed else QUIET)
    label.setText(text)
    label.setVisible(bool(text))


def button(text: str, press: Callable[[], Any], tip: str = "") -> QPushButton:
    """Return a push button that leaves the keyboard to the canvas."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda _checked=False: press())
    return made


def row(*widgets: QWidget | None) -> QHBoxLayout:
    """Return widgets side by side; None stands for a stretch."""
    layout = QHBoxLayout()
    tight(layout)
    for widget in widgets:
        if widget is None:
            layout.addStretch(1)
        else:
            layout.addWidget(widget)
    return layout


def tight(layout: QLayout, margin: int = 0) -> None:
    """Give a layout the panel's spacing."""
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(MARGIN)


class LineEdit(QLineEdit):
    """A line of text that keeps every key from the canvas, where Enter and letters are acts."""

    def __init__(self, placeholder: str, longest: int = 80) -> None:
        super().__init__()
        self.setPlaceholderText(placeholder)
        self.setMaxLength(longest)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Keep the key here."""
        super().keyPressEvent(event)
        existing(event).accept()


def completer(names: Iterable[str], parent: QObject) -> QCompleter:
    """Return what completes names wherever the typed text occurs in them, in the window's style."""
    made = QCompleter(list(names), parent)
    made.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
    made.setFilterMode(Qt.MatchFlag.MatchContains)
    existing(made.popup()).setStyleSheet(get_current_stylesheet())  # a window of its own
    return made


class _Scrolled(QScrollArea):
    """As wide as its page must be and the bar beside it, however low: the rest is the picture's.

    The wheel moves the page; a number or a choice under the pointer only once it was clicked.
    """

    def showEvent(self, event: QShowEvent | None) -> None:
        """Watch the fields that the page has now."""
        for kind in (QAbstractSpinBox, QComboBox, QAbstractSlider):
            for field in self.findChildren(kind):
                if not isinstance(field, QScrollBar):
                    field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # the wheel gives no focus
                    field.installEventFilter(self)
        super().showEvent(event)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Hand the wheel over a field without focus to the page."""
        fields = QAbstractSpinBox | QComboBox | QAbstractSlider
        if (
            event is not None
            and event.type() == QEvent.Type.Wheel
            and isinstance(watched, fields)
            and not isinstance(watched, QScrollBar)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def minimumSizeHint(self) -> QSize:
        """Return the least size; Qt's own leaves the width of the page out."""
        page, hint = self.widget(), super().minimumSizeHint()
        if page is not None:
            bar = existing(self.verticalScrollBar()).sizeHint().width()
            hint.setWidth(page.minimumSizeHint().width() + bar)
        return hint

    def sizeHint(self) -> QSize:
        """Return the size that is asked for: a plot on the page would like to be very wide."""
        hint = super().sizeHint()
        hint.setWidth(self.minimumSizeHint().width())
        return hint


def scrolled(page: QWidget) -> QScrollArea:
    """Return a page that is scrolled up and down where the window is too low for it."""
    area = _Scrolled()
    area.setWidget(page)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area


def bring_into_view(widget: QWidget) -> None:
    """Scroll the page that a widget lies on, if it does, once the widget has its place."""
    area: QWidget | None = widget
    while area is not None and not isinstance(area, QScrollArea):
        area = area.parentWidget()
    if area is not None:
        QTimer.singleShot(0, partial(area.ensureWidgetVisible, widget))


def sideways(page: QWidget) -> QScrollArea:
    """Return a row of widgets that is scrolled sideways where the window is too narrow for it."""
    area = QScrollArea()
    area.setWidget(page)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFixedHeight(38)
    return area


def pixmap(picture: NDArray[np.uint8]) -> QPixmap:
    """Return a pixmap of an RGB picture, uint8 (H, W, 3)."""
    data = np.ascontiguousarray(picture)
    height, width = data.shape[:2]
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image.copy())


def swatch(color: tuple[int, int, int], side: int = 14) -> QIcon:
    """Return a square of one colour."""
    square = QPixmap(side, side)
    square.fill(QColor(*color))
    return QIcon(square)
