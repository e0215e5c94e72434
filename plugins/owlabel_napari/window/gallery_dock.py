"""Where the gallery lies in the window: under the canvas, between the panels."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from owlabel_napari.widgets.tags.gallery import Gallery

if TYPE_CHECKING:
    import napari.viewer

    from owlabel.session.session import Session

NAME = "Tag images (OWLabel)"
"""Name of the dock in napari's own menus, so that they show and hide this gallery."""
SHARE = 0.55
"""Of the window's height that the gallery takes at first."""
_CORNERS = {
    Qt.Corner.BottomLeftCorner: Qt.DockWidgetArea.LeftDockWidgetArea,
    Qt.Corner.BottomRightCorner: Qt.DockWidgetArea.RightDockWidgetArea,
}
"""The panels reach down to the bottom, so that the gallery takes room from the canvas alone."""


class GalleryDock:
    """The gallery of one session and its dock, which may be closed and shown again.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    session : Session
    """

    def __init__(self, viewer: napari.viewer.Viewer, session: Session) -> None:
        self.viewer = viewer
        self.gallery = Gallery(session)
        self._window: QMainWindow | None = None
        self._corners: dict[Qt.Corner, Qt.DockWidgetArea] = {}

    @property
    def dock(self) -> QDockWidget | None:
        """The dock that the gallery lies in, None while it is closed."""
        widget: QWidget | None = self.gallery
        while widget is not None and not isinstance(widget, QDockWidget):
            widget = widget.parentWidget()
        return widget

    def show(self) -> None:
        """Dock the gallery, or bring it up where it is."""
        dock = self.dock
        if dock is None:
            dock = self.viewer.window.add_dock_widget(self.gallery, name=NAME, area="bottom")
            window = dock.parentWidget()
            if isinstance(window, QMainWindow):
                self._make_room(window, dock)
        dock.show()
        dock.raise_()
        self.gallery.view.setFocus()

    def _make_room(self, window: QMainWindow, dock: QDockWidget) -> None:
        if self._window is None:
            self._window = window
            self._corners = {corner: window.corner(corner) for corner in _CORNERS}
        for corner, area in _CORNERS.items():
            window.setCorner(corner, area)
        height = round(SHARE * window.height())
        window.resizeDocks([dock], [height], Qt.Orientation.Vertical)

    def close(self, *, viewer_goes: bool) -> None:
        """Stop the gallery and give the window back as it was."""
        self.gallery.close_widget()
        if viewer_goes:
            return
        if self.dock is not None:
            self.viewer.window.remove_dock_widget(self.dock)
        with suppress(RuntimeError):  # the window may be gone
            for corner, area in self._corners.items():
                if self._window is not None:
                    self._window.setCorner(corner, area)
        self.gallery.deleteLater()
