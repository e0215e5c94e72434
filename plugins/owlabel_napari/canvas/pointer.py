"""The mouse in napari's canvas: what counts as a click, and what a click asks of the session."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from owlabel_napari.events.messages import attempt

if TYPE_CHECKING:
    import napari.viewer

    from owlabel.session.session import Session

DRAG = 4.0
"""A press that moves by more canvas pixels than this is a drag, not a click."""
LEFT, RIGHT = 1, 2


class Pointer:
    """Turn clicks into `session.labels.click`; brush strokes and drags stay napari's.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose canvas is clicked.
    session : Session
        What is told.
    hover : callable, optional
        Told the (row, col) under the cursor, or None outside the image.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        session: Session,
        hover: Callable[[tuple[int, int] | None], None] | None = None,
    ) -> None:
        self.viewer, self.session, self.hover = viewer, session, hover
        self._last: tuple[tuple[int, int] | None, bool] = (None, True)
        self._zooms = [
            f for f in viewer.mouse_double_click_callbacks if "zoom" in getattr(f, "__name__", "")
        ]
        for zoom in self._zooms:  # two quick clicks are two clicks
            viewer.mouse_double_click_callbacks.remove(zoom)
        viewer.mouse_drag_callbacks.append(self.on_press)
        viewer.mouse_double_click_callbacks.append(self.on_double_click)
        viewer.mouse_move_callbacks.append(self.on_move)

    def close(self) -> None:
        """Give the mouse back to napari."""
        viewer = self.viewer
        for callbacks, ours in (
            (viewer.mouse_drag_callbacks, self.on_press),
            (viewer.mouse_double_click_callbacks, self.on_double_click),
            (viewer.mouse_move_callbacks, self.on_move),
        ):
            if ours in callbacks:
                callbacks.remove(ours)
        viewer.mouse_double_click_callbacks.extend(self._zooms)

    def on_press(self, _viewer: Any, event: Any) -> Generator[None, None, None]:
        """Follow one press until its release; a click is a press that hardly moved."""
        start = np.asarray(event.pos, float)
        ours = self._is_ours(event)
        yield
        farthest = 0.0
        while event.type == "mouse_move":
            farthest = max(farthest, float(np.abs(np.asarray(event.pos) - start).max()))
            yield
        if ours and farthest <= DRAG:
            self._click(event)

    def on_double_click(self, _viewer: Any, event: Any) -> None:
        """Take the second of two quick clicks as a click, unless it says the same again."""
        if self._is_ours(event) and (self._pixel(event.position), _adds(event)) != self._last:
            self._click(event)

    def on_move(self, _viewer: Any, event: Any) -> None:
        """Tell who wants to know which pixel is under the cursor."""
        if self.hover is not None:
            self.hover(self._pixel(event.position))

    def _is_ours(self, event: Any) -> bool:
        """Tell whether a press may become a click: no tool of napari is chosen."""
        active = self.viewer.layers.selection.active
        others = any(key != "Shift" for key in event.modifiers)
        free = active is None or str(active.mode) == "pan_zoom"
        return free and not others and event.button in (LEFT, RIGHT)

    def _click(self, event: Any) -> None:
        pixel = self._pixel(event.position)
        if pixel is None:
            return
        self._last = (pixel, _adds(event))
        attempt(self.session, self.session.labels.click, *pixel, add=_adds(event))

    def _pixel(self, position: Any) -> tuple[int, int] | None:
        """Return the (row, col) of a position in the world, or None outside the image."""
        if self.session.image_id is None or self.viewer.dims.ndisplay != 2:
            return None
        height, width = self.session.record().shape or (0, 0)
        row, col = (round(float(v)) for v in position[-2:])
        return (row, col) if 0 <= row < height and 0 <= col < width else None


def _adds(event: Any) -> bool:
    """Tell whether a click adds: the left button without Shift."""
    return event.button == LEFT and "Shift" not in event.modifiers
