"""The editable layer of human labels: every finished edit in napari goes to the session, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from owlabel.classes import Labels
from owlabel_napari.canvas.layer_values import from_layer, strangers, to_layer
from owlabel_napari.canvas.layers import OurLayers
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import refusal

if TYPE_CHECKING:
    from owlabel.session.session import Session


class Painting:
    """Show the human labels and hand every stroke, fill, polygon or napari undo to the session.

    napari tells of an edit in three ways: ``paint`` at the end of a stroke (and *before* the
    data changes in ``fill``, ``paint_polygon`` and ``data_setitem``), ``labels_update`` after
    each dab, ``set_data`` after its undo.  So each of them makes this look whether the layer
    differs from what was last known, except for dabs in the middle of a stroke.
    """

    def __init__(self, layers: OurLayers, session: Session) -> None:
        self.layers, self.session = layers, session
        self._known: Labels = np.zeros((0, 0), np.uint8)
        self._image_id: int | None = None
        self._busy = False
        self._connections = Connections()
        layers.made.append(self._watch)

    def close(self) -> None:
        """Stop listening to the layer."""
        self._connections.close()

    def show(self) -> None:
        """Put the session's human labels into the layer, and forget napari's own undo steps."""
        values = to_layer(self.session.labels.human())
        layer = self.layers.get("labels")
        same_image = self._image_id == self.session.image_id
        if layer is not None and same_image and np.array_equal(layer.data, values):
            self._known = values
            return
        if layer is not None and same_image and layer._block_history:
            self._merge(layer, values)
            return
        self._image_id, self._known = self.session.image_id, values
        self._busy = True
        try:
            layer = self.layers.show_labels("labels", values, self.session.classes)
            layer._reset_history()  # else Ctrl+Z writes this image's strokes into the next
            if not same_image:
                layer._overlays["polygon"].points = []  # nor is its polygon finished there
        finally:
            self._busy = False

    def _merge(self, layer: Any, values: Labels) -> None:
        """Take over what another process has labelled, but for the stroke that is under way."""
        changed = (values != self._known) & (layer.data == self._known)
        layer.data[changed] = values[changed]
        self._known = values
        layer.refresh()

    def _watch(self, kind: str, layer: Any) -> None:
        if kind != "labels":
            return
        self._connections.add(layer.events.paint, self._on_paint)
        self._connections.add(layer.events.labels_update, self._on_update)
        self._connections.add(layer.events.set_data, self._on_update)

    def _on_paint(self, _event: Any) -> None:
        self._commit()

    def _on_update(self, event: Any) -> None:
        if not event.source._block_history:  # else a stroke is under way; `paint` will follow
            self._commit()

    def _commit(self) -> None:
        """Hand the layer to the session if it differs from what the session knows."""
        layer = self.layers.get("labels")
        if self._busy or layer is None or layer.data.shape != self._known.shape:
            return
        if self._image_id != self.session.image_id or np.array_equal(layer.data, self._known):
            return
        self._busy = True
        try:
            self._accept(layer)
        finally:
            self._busy = False

    def _accept(self, layer: Any) -> None:
        unknown = strangers(layer.data, self.session.classes)
        if unknown:
            self.session.message.emit(
                "warning",
                f"No class has the layer value {unknown[0]}, so the stroke was undone. "
                "Select a class in the tab Classes, then paint.",
            )
            layer.data[...] = self._known
            layer.refresh()
            layer._reset_history()
            return
        painted = layer.data.copy()
        if not refusal(self.session, self.session.labels.paint, from_layer(painted)):
            self._known = painted  # else it stays on the screen and comes with the next stroke
