"""The layers that are ours in a viewer: made when first needed, found again, removed at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from owlabel.classes import ClassTable, Labels
from owlabel_napari.layer_values import class_colormap, class_features

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

ORDER = ("image", "prediction", "score", "labels", "region", "candidates")
"""Kinds of layers, the lowest first."""


class OurLayers:
    """Layers of one viewer by kind; a layer that the user deleted is made again when needed."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.viewer = viewer
        self._layers: dict[str, Layer] = {}
        self.made: list[Callable[[str, Any], None]] = []
        """Told of every new layer: ``made(kind, layer)``."""

    def get(self, kind: str) -> Any | None:
        """Return the layer of this kind, or None where there is none (any more)."""
        layer = self._layers.get(kind)
        return layer if layer is not None and layer in self.viewer.layers else None

    def __getitem__(self, kind: str) -> Any:
        layer = self.get(kind)
        if layer is None:
            raise KeyError(kind)
        return layer

    def present(self) -> list[Any]:
        """Return all layers that are there, the lowest first."""
        return [layer for kind in ORDER if (layer := self.get(kind)) is not None]

    def remove_all(self) -> None:
        """Take every layer of ours out of the viewer."""
        for layer in self.present():
            self.viewer.layers.remove(layer)
        self._layers.clear()

    def _add(self, kind: str, layer: Any) -> Any:
        """Put a new layer at its place among ours; the active layer stays active."""
        from napari.layers import Shapes

        active = self.viewer.layers.selection.active
        above = [self.get(k) for k in ORDER[ORDER.index(kind) + 1 :]]
        index = next(
            (self.viewer.layers.index(one) for one in above if one is not None),
            len(self.viewer.layers),
        )
        layer.metadata["owlabel"] = {"kind": kind}
        self.viewer.layers.insert(index, layer)
        if isinstance(layer, Shapes):
            layer.mode = "pan_zoom"
        if active is not None:
            self.viewer.layers.selection.active = active
        self._layers[kind] = layer
        for tell in self.made:
            tell(kind, layer)
        return layer

    def show_image(self, kind: str, data: np.ndarray, **settings: Any) -> Any:
        """Show an image layer with this data."""
        from napari.layers import Image

        layer = self.get(kind)
        if layer is None:
            return self._add(kind, Image(data, **settings))
        layer.data = data
        layer.visible = True
        return layer

    def show_score(self, values: np.ndarray, shape: tuple[int, int], **settings: Any) -> Any:
        """Show a score map (h, w) over an image of `shape` (H, W), enlarged by the GPU.

        The pixel centre i of the map lies at (i + .5) H / h - .5 of the image.
        """
        scale = (shape[0] / values.shape[0], shape[1] / values.shape[1])
        translate = ((scale[0] - 1) / 2, (scale[1] - 1) / 2)
        layer = self.get("score")
        if layer is None:
            layer = self.show_image(
                "score", values, blending="translucent", interpolation2d="linear", **settings
            )
        else:
            layer.data = values
            layer.name = settings["name"]
            layer.contrast_limits_range = settings["contrast_limits"]
            layer.contrast_limits = settings["contrast_limits"]
        layer.scale, layer.translate = scale, translate
        layer.visible = True
        return layer

    def show_labels(self, kind: str, values: Labels, classes: ClassTable) -> Any:
        """Show layer values, uint8 (H, W), in the colours of the classes."""
        from napari.layers import Labels as LabelsLayer

        layer = self.get(kind)
        if layer is not None:
            layer.data = values
            layer.visible = True
            return layer
        layer = LabelsLayer(
            values,
            name=kind,
            colormap=class_colormap(classes),
            features=class_features(classes),
            opacity=0.3 if kind == "prediction" else 0.7,
        )
        layer.editable = kind == "labels"
        return self._add(kind, layer)

    def show_region(
        self, mask: Labels, corner: tuple[int, int], color: tuple[float, float, float, float]
    ) -> Any:
        """Show the pending region: its window alone, moved to its place."""
        from napari.layers import Labels as LabelsLayer
        from napari.utils.colormaps import DirectLabelColormap

        layer = self.get("region")
        if layer is None:
            clear = (0.0, 0.0, 0.0, 0.0)
            colormap = DirectLabelColormap(color_dict={None: clear, 0: clear, 1: color})
            layer = LabelsLayer(mask, name="region", colormap=colormap, opacity=0.6)
            layer.editable = False
            layer.translate = corner
            return self._add("region", layer)
        layer.data = mask
        layer.translate = corner
        layer.visible = True
        return layer

    def show_box(
        self, box: tuple[int, int, int, int] | None, color: str, width: float = 1.0
    ) -> Any:
        """Show a frame, `width` image pixels wide, around the current candidate, or none."""
        from napari.layers import Shapes

        layer = self.get("candidates")
        if box is None:
            if layer is not None:
                layer.visible = False
            return layer
        r0, c0, r1, c1 = box
        corners = np.array([(r0, c0), (r0, c1), (r1, c1), (r1, c0)], float) - 0.5
        if layer is None:
            layer = Shapes(
                [corners],
                shape_type="rectangle",
                name="candidates",
                edge_color=color,
                face_color="transparent",
                edge_width=width,
            )
            return self._add("candidates", layer)
        layer.data = [corners]
        layer.edge_width = width
        layer.visible = True
        return layer
