"""The menu entry that opens the gallery in which images are tagged."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from owlabel_napari.entry.windows import show_gallery

if TYPE_CHECKING:
    import napari.viewer


class GalleryOpener(QWidget):
    """What the Plugins menu docks; it gives way at once to the gallery, which has its own place.

    Where no project is open, the panel says what to do.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Passed by napari, which goes by the name and the annotation of this argument.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        QTimer.singleShot(0, self._give_way)

    def _give_way(self) -> None:
        """Leave the dock that napari has just made."""
        with suppress(LookupError):  # nobody docked it
            self.viewer.window.remove_dock_widget(self)
        self.deleteLater()
        show_gallery()
