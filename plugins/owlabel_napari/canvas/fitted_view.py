"""The whole picture stays in view while the canvas changes its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from owlabel_napari.events.connections import Connections

if TYPE_CHECKING:
    import napari.viewer


class FittedView:
    """Fit the picture to the canvas again when a dock or the window takes or gives room.

    napari fits once, for the size of that moment: a panel that grows later would hide the picture's
    sides.  Where the annotator has moved or zoomed, the camera stays as it is, until the next fit.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._fitted: tuple[float, ...] | None = None
        self._connections = Connections()
        self._connections.add(viewer.events.reset_view, self._remember)
        self._connections.add(viewer.canvas.events.size, self._resized)

    def close(self) -> None:
        """Leave the camera alone from now on."""
        self._connections.close()

    def _remember(self, _event: object = None) -> None:
        self._fitted = self._camera()

    def _resized(self, _event: object = None) -> None:
        if self._fitted is not None and np.allclose(self._camera(), self._fitted, rtol=1e-3):
            self._viewer.reset_view()

    def _camera(self) -> tuple[float, ...]:
        camera = self._viewer.scene.camera
        return (*camera.center[-2:], camera.zoom)
