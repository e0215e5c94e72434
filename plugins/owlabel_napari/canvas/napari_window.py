"""napari's window and canvas, found by public names only: plugins lose the private ones in 0.10."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLineEdit, QMainWindow, QOpenGLWidget, QWidget
from vispy.gloo import context
from vispy.scene import Widget
from vispy.scene.subscene import SubScene
from vispy.scene.visuals import VisualNode

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer


def main_window(viewer: napari.viewer.Viewer) -> QMainWindow | None:
    """Return the window of a viewer, in which its File menu lies; None for a viewer without one."""
    menu = getattr(getattr(viewer, "window", None), "file_menu", None)
    window = None if menu is None else menu.parentWidget().window()
    return window if isinstance(window, QMainWindow) else None


def drop_targets(viewer: napari.viewer.Viewer) -> list[QWidget]:
    """Return the widgets in the middle of the window on which files can be dropped."""
    middle = _middle(viewer)
    widgets = [] if middle is None else middle.findChildren(QWidget)
    return [w for w in widgets if w.acceptDrops() and not isinstance(w, QLineEdit)]


def scene_canvas(viewer: napari.viewer.Viewer) -> Any | None:
    """Return vispy's canvas of a viewer, None where there is none that draws with OpenGL in Qt."""
    middle = _middle(viewer)
    widgets = [] if middle is None else middle.findChildren(QOpenGLWidget)
    canvases = (reference() for reference in context.canvasses)
    return next((c for c in canvases if c is not None and c.native in widgets), None)


def layer_node(viewer: napari.viewer.Viewer, canvas: Any, layer: Layer) -> Any | None:
    """Return the node of vispy's scene that draws a layer, None where it cannot be told for sure.

    napari gives a node the place of its layer in the list as its order.
    """
    if layer not in viewer.layers or viewer.canvas.grid.enabled:
        return None
    place = viewer.layers.index(layer)
    nodes = [node for node in _drawn(canvas.scene) if node.order == place]
    return nodes[0] if len(nodes) == 1 else None


def _middle(viewer: napari.viewer.Viewer) -> QWidget | None:
    window = main_window(viewer)
    return None if window is None else window.centralWidget()


def _drawn(node: Any) -> Iterator[Any]:
    """Yield what a scene draws; what hangs on a layer, e.g. its outline, is not gone through."""
    for child in node.children:
        if isinstance(child, SubScene | Widget):
            yield from _drawn(child)
        elif isinstance(child, VisualNode):
            yield child
