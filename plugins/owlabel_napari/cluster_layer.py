"""Auxiliary labels as a layer: clusters in colours of their own, never among the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from owlabel.classes import distinct_color
from owlabel_napari.connections import Connections
from owlabel_napari.layers import OurLayers
from owlabel_napari.messages import attempt

if TYPE_CHECKING:
    from owlabel.session import Session

KIND, NAME = "clusters", "clusters (no classes)"
OPACITY = 0.55


class ClusterLayer:
    """Shows the clusters of the current image while somebody wants to see them.

    Parameters
    ----------
    layers : OurLayers
    session : Session
    """

    def __init__(self, layers: OurLayers, session: Session) -> None:
        self.layers, self.session = layers, session
        self.wanted = False
        self.only: int | None = None
        self._connections = Connections()
        self._connections.add(session.image_changed, self._blank)
        self._connections.add_later([session.image_changed], self.refresh)

    def close(self) -> None:
        """Stop listening."""
        self._connections.close()

    def _blank(self, _image_id: int) -> None:
        self.layers.blank(KIND)  # never the last image's clusters over this one

    def show(self, wanted: bool) -> None:
        """Show or hide the layer."""
        self.wanted = wanted
        self.refresh()

    def show_only(self, cluster: int | None) -> None:
        """Show one cluster alone, or all (None)."""
        self.only = cluster
        self.refresh()

    def refresh(self) -> None:
        """Show the clusters of the current image; nothing where there are none."""
        here = self.wanted and self.session.image_id is not None
        found = attempt(self.session, self.session.auxiliary_labels) if here else None
        layer = self.layers.get(KIND)
        if found is None:
            if layer is not None and layer.visible:
                layer.visible = False
            return
        values = np.where(found == 255, 0, found + 1).astype(np.uint8)
        if self.only is not None:
            values[found != self.only] = 0
        if layer is None:
            layer = Labels(values, name=NAME, colormap=_colors(), opacity=OPACITY)
            layer.editable = False
            self.layers.add(KIND, layer)
            return
        self.layers.put(layer, values)

    def cluster_at(self, row: int, col: int) -> int | None:
        """Return the cluster that is shown at a pixel, None where none is."""
        layer = self.layers.get(KIND)
        if layer is None or not layer.visible:
            return None
        value = int(layer.data[row, col])
        return value - 1 if value else None


def _colors() -> DirectLabelColormap:
    """Return a colour for every cluster; none is transparent."""
    clear = (0.0, 0.0, 0.0, 0.0)
    shown: dict[int | None, Any] = {None: clear, 0: clear}
    for cluster in range(255):
        shown[cluster + 1] = (*(v / 255 for v in distinct_color(cluster)), 1.0)
    return DirectLabelColormap(color_dict=shown)
