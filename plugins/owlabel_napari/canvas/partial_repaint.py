"""Draw only the part of the canvas that changed: without a GPU this is most of a click's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QOpenGLWidget
from vispy.gloo import gl

from owlabel_napari.canvas.napari_window import layer_node, scene_canvas
from owlabel_napari.events.connections import Connections

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

Box = tuple[int, int, int, int]
"""Rows and columns (row0, col0, row1, col1) of an image."""

MARGIN = 4.0
"""Canvas pixels around a box that are drawn again, too, for rounding and smoothing."""
HEAL_MS = 1000
"""Everything is drawn again this long after the last part."""


class PartialRepaint:
    """Limit drawings of a viewer's canvas to the boxes that changed.

    Software OpenGL (no GPU, remote desktops) takes about 10 ms a layer for a whole canvas.  The
    canvas keeps what it drew before, and a scissor limits the drawing to what a click changed.
    Whatever else changes the picture before that drawing calls `whole`; what nobody told of is
    put right by a drawing of everything `HEAL_MS` after the last part.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        For a model without a window nothing is done.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._boxes: list[Box] = []
        self._cut = False
        self._connections = Connections()
        self._canvas = scene_canvas(viewer)
        if self._canvas is None:
            return
        self._canvas.native.setUpdateBehavior(QOpenGLWidget.UpdateBehavior.PartialUpdate)
        self._heal = QTimer()
        self._heal.setSingleShot(True)
        self._heal.setInterval(HEAL_MS)
        self._heal.timeout.connect(self._draw_all)
        self._connections.own(self._heal)
        self._canvas.events.draw.connect(self._before, position="first")
        self._canvas.events.draw.connect(self._after, position="last")
        for signal in (
            self._canvas.events.resize, viewer.scene.camera.events, viewer.layers.events
        ):  # fmt: skip
            self._connections.add(signal, self.whole)

    @contextmanager
    def only(self, boxes: Sequence[Box]) -> Iterator[None]:
        """Limit the next drawing to these boxes, if the block is the only one to ask for it."""
        alone = self._canvas is not None and not self.pending
        before, self._boxes = self._boxes, []
        yield
        if (alone or before) and self.pending:
            self._boxes = [*before, *boxes]

    @property
    def pending(self) -> bool:
        """Whether a drawing was asked for that has not begun."""
        return self._canvas is not None and bool(getattr(self._canvas, "_update_pending", True))

    def whole(self, *_: Any) -> None:
        """Draw everything next time."""
        self._boxes = []

    def draw_layer(self, layer: Layer, wanted: bool) -> None:
        """Let OpenGL pass over a layer that holds nothing to see, or draw it again.

        Without a GPU an empty layer costs as much as a full one (about 10 ms).  The layer's own
        `visible` stays as it is: no event, and a layer that the user has hidden stays hidden.
        """
        if self._canvas is None:
            return
        node = layer_node(self._viewer, self._canvas, layer)
        if node is not None and node.visible != (wanted and layer.visible):
            node.visible = wanted and layer.visible

    def close(self) -> None:
        """Stop."""
        self._connections.close()
        self._boxes = []
        if self._canvas is not None:
            self._canvas.events.draw.disconnect(self._before)
            self._canvas.events.draw.disconnect(self._after)
            self._canvas = None

    def _draw_all(self) -> None:
        self.whole()
        if self._canvas is not None:
            self._canvas.update()

    def _before(self, _event: Any) -> None:
        """Set the scissor, in pixels of the framebuffer from its lower left corner."""
        if not self._boxes or self._canvas is None:
            self._heal.stop()  # everything is drawn now
            return
        left, top, right, bottom = self._on_canvas(np.asarray(self._boxes, float))
        scale, height = self._canvas.pixel_scale, self._canvas.size[1]
        gl.glEnable(gl.GL_SCISSOR_TEST)
        gl.glScissor(
            int(left * scale),
            int((height - bottom) * scale),
            int((right - left) * scale),
            int((bottom - top) * scale),
        )
        self._cut = True

    def _after(self, _event: Any) -> None:
        if not self._cut or self._canvas is None:
            return
        self._canvas.context.flush_commands()
        gl.glDisable(gl.GL_SCISSOR_TEST)
        self._cut = False
        self._boxes = []
        self._heal.start()

    def _on_canvas(self, boxes: np.ndarray) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom on the canvas of what holds all boxes, (k, 4)."""
        width, height = self._canvas.size  # type: ignore[union-attr]
        camera = self._viewer.scene.camera
        centre, zoom = np.asarray(camera.center[-2:], float), float(camera.zoom)
        middle = np.array([height, width]) / 2
        low = (boxes[:, :2].min(0) - 0.5 - centre) * zoom + middle - MARGIN  # (row, col)
        high = (boxes[:, 2:].max(0) - 0.5 - centre) * zoom + middle + MARGIN
        low, high = np.floor(np.clip(low, 0, None)), np.ceil(np.minimum(high, [height, width]))
        high = np.maximum(low, high)
        return float(low[1]), float(low[0]), float(high[1]), float(high[0])


def changed_box(before: np.ndarray, after: np.ndarray) -> Box | None:
    """Return the box that holds all pixels in which two maps (H, W) differ, or None."""
    differs = before != after
    rows = np.flatnonzero(differs.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(differs[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
