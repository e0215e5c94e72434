"""Auxiliary labels as a layer: clusters in colours of their own, never among the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from owlabel.classes import distinct_color
from owlabel.clusters.auxiliary_settings import REMOVED
from owlabel_napari.canvas.layers import OurLayers
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt

if TYPE_CHECKING:
    from owlabel.session.session import Session

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
        self.only: str | None = None
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

    def show_only(self, cluster: str | None) -> None:
        """Show one cluster alone, "7" or "c2" of unknown objects; or all of pixels (None)."""
        self.only = cluster
        self.refresh()

    def refresh(self) -> None:
        """Show the clusters of the current image; nothing where there are none."""
        here = self.wanted and self.session.image_id is not None
        values = attempt(self.session, self._values) if here else None
        layer = self.layers.get(KIND)
        if values is None:
            if layer is not None and layer.visible:
                layer.visible = False
            return
        if layer is None:
            layer = Labels(values, name=NAME, colormap=_colors(), opacity=OPACITY)
            layer.editable = False
            self.layers.add(KIND, layer)
            return
        self.layers.put(layer, values)

    def _values(self) -> NDArray[np.uint8] | None:
        """Return a number above 0 for each cluster that is shown, uint8 (H, W); or None."""
        if self.only is not None and self.only.startswith("c"):
            objects = self.session.clusters.unknown_objects(self.only)
            kind = int(self.only.removeprefix("c"))
            return None if objects is None else objects.astype(np.uint8) * np.uint8(kind + 1)
        found = self.session.clusters.auxiliary_labels()
        if found is None:
            return None
        values = np.where(found == REMOVED, 0, found + 1).astype(np.uint8)
        if self.only is not None:
            values[found != int(self.only)] = 0
        return values


def _colors() -> DirectLabelColormap:
    """Return a colour for every cluster; none is transparent."""
    clear = (0.0, 0.0, 0.0, 0.0)
    shown: dict[int | None, Any] = {None: clear, 0: clear}
    for cluster in range(255):
        shown[cluster + 1] = (*(v / 255 for v in distinct_color(cluster)), 1.0)
    return DirectLabelColormap(color_dict=shown)
