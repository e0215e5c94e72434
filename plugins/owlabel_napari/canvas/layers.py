"""The layers that are ours in a viewer: made when first needed, found again, removed at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from napari.layers import Labels as LabelsLayer
from napari.utils.colormaps import DirectLabelColormap

from owlabel.classes import ClassTable, Labels
from owlabel_napari.canvas.layer_values import class_colors, class_features, colormap_of
from owlabel_napari.canvas.partial_repaint import Box, PartialRepaint, changed_box

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from owlabel.novel.click_regions import Region

ORDER = ("image", "prediction", "clusters", "score", "labels", "region", "candidates")
"""Kinds of layers, the lowest first."""


class OurLayers:
    """Layers of one viewer by kind; a layer that the user deleted is made again when needed."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self.viewer = viewer
        self._layers: dict[str, Layer] = {}
        self._region: Region | None = None
        self.repaint = PartialRepaint(viewer)
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

    def close(self) -> None:
        """Touch the canvas no more."""
        self.repaint.close()

    def remove_all(self) -> None:
        """Take every layer of ours out of the viewer."""
        for layer in self.present():
            self.viewer.layers.remove(layer)
        self._layers.clear()

    def add(self, kind: str, layer: Any) -> Any:
        """Put a new layer at its place among ours; the active layer stays active."""
        self.repaint.whole()
        active = self.viewer.layers.selection.active
        above = [self.get(k) for k in ORDER[ORDER.index(kind) + 1 :]]
        index = next(
            (self.viewer.layers.index(one) for one in above if one is not None),
            len(self.viewer.layers),
        )
        layer.metadata["owlabel"] = {**layer.metadata.get("owlabel", {}), "kind": kind}
        self.viewer.layers.insert(index, layer)
        if isinstance(layer, Shapes):
            layer.mode = "pan_zoom"
        if active is not None:
            self.viewer.layers.selection.active = active
        self._layers[kind] = layer
        for tell in self.made:
            tell(kind, layer)
        return layer

    def put(self, layer: Any, data: np.ndarray) -> None:
        """Give a layer new data, in place where that is possible: napari then has less to redo."""
        same = layer.visible and layer.data.shape == data.shape and layer.data.dtype == data.dtype
        if same and data.dtype == np.uint8 and data.ndim == 2:
            if (box := changed_box(layer.data, data)) is not None:
                layer.data[...] = data
                with self.repaint.only([box]):
                    _draw_part(layer, box)
            return
        self.repaint.whole()
        if layer.data.shape == data.shape and layer.data.dtype == data.dtype:
            layer.data[...] = data
            _refresh(layer)
        else:
            layer.data = data.copy()
        if not layer.visible:
            layer.visible = True

    def show_image(self, kind: str, data: np.ndarray, **settings: Any) -> Any:
        """Show an image layer with this data."""
        layer = self.get(kind)
        if layer is None:
            return self.add(kind, Image(data.copy(), **settings))
        self.put(layer, data)
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
            if not (layer.visible and np.array_equal(layer.data, values)):
                self.put(layer, values)
            if layer.name != settings["name"]:
                layer.name = settings["name"]
            if tuple(layer.contrast_limits) != settings["contrast_limits"]:
                layer.contrast_limits_range = settings["contrast_limits"]
                layer.contrast_limits = settings["contrast_limits"]
        if tuple(layer.scale) != scale or tuple(layer.translate) != translate:
            layer.scale, layer.translate = scale, translate
        return layer

    def show_labels(self, kind: str, values: Labels, classes: ClassTable) -> Any:
        """Show layer values, uint8 (H, W), in the colours of the classes."""
        layer = self.get(kind)
        if layer is not None:
            self.put(layer, values)
            return layer
        layer = LabelsLayer(
            values.copy(),
            name=kind,
            colormap=colormap_of(class_colors(classes)),
            features=class_features(classes),
            opacity=0.3 if kind == "prediction" else 0.7,
        )
        layer.metadata["owlabel"] = {"colors": class_colors(classes)}
        layer.editable = kind == "labels"
        return self.add(kind, layer)

    def show_colors(self, kind: str, classes: ClassTable) -> None:
        """Give a layer of labels the colours of the classes, unless it has them."""
        layer, colors = self.get(kind), class_colors(classes)
        if layer is not None and layer.metadata["owlabel"]["colors"] != colors:
            self.repaint.whole()
            layer.metadata["owlabel"]["colors"] = colors
            layer.colormap = colormap_of(colors)

    def show_names(self, kind: str, classes: ClassTable) -> None:
        """Give a layer of labels the names of the classes, for the status bar."""
        layer = self.get(kind)
        if layer is not None:
            layer.features = class_features(classes)

    def blank(self, kind: str) -> None:
        """Show nothing in this layer until it gets new data; quicker than to hide it."""
        layer = self.get(kind)
        if layer is None:
            return
        layer.data[...] = layer.contrast_limits[0] if kind == "score" else 0
        if layer.visible:  # else it must not come back with the eye of napari's list
            self.repaint.whole()
            _refresh(layer)

    def show_region(
        self, shape: tuple[int, int], region: Region | None, color: tuple[float, ...]
    ) -> Any:
        """Show the pending region, or none, on an image of `shape` (H, W).

        The layer stays, and only the windows of the old and new region are written and drawn: a
        layer that comes or gets new data takes longer, and a whole canvas far longer.
        """
        layer = self.get("region")
        if layer is None:
            layer = self._add_region(shape, color)
        if layer.data.shape != shape:
            layer.data, self._region = np.zeros(shape, np.uint8), None
        if region is self._region:
            return layer
        before, self._region = self._region, region
        boxes = [one.mask_box for one in (before, region) if one is not None]
        with self.repaint.only(boxes):
            if before is not None:
                _fill(layer, before.mask_box, before.mask, 0)
            if region is not None:
                _fill(layer, region.mask_box, region.mask, 1)
            self.repaint.draw_layer(layer, region is not None)
        return layer

    def _add_region(self, shape: tuple[int, int], color: tuple[float, ...]) -> Any:
        clear = (0.0, 0.0, 0.0, 0.0)
        colormap = DirectLabelColormap(color_dict={None: clear, 0: clear, 1: color})
        data = np.zeros(shape, np.uint8)
        layer = LabelsLayer(data, name="region", colormap=colormap, opacity=0.6)
        layer.editable = False
        self._region = None
        return self.add("region", layer)

    def show_box(
        self, box: tuple[int, int, int, int] | None, color: str, width: float = 1.0
    ) -> Any:
        """Show a frame, `width` image pixels wide, around the current candidate, or none."""
        self.repaint.whole()
        layer = self.get("candidates")
        if box is None:
            if layer is not None and layer.visible:
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
            return self.add("candidates", layer)
        layer.data = [corners]
        layer.edge_width = width
        layer.visible = True
        return layer


def _fill(layer: Any, box: Box, mask: np.ndarray, value: int) -> None:
    """Set the pixels of a mask at a box of the layer."""
    layer.data[box[0] : box[2], box[1] : box[3]][mask] = value
    _draw_part(layer, box)


def _draw_part(layer: Any, box: Box) -> None:
    """Give OpenGL this part of a layer of labels, as napari's brush does.

    A refresh slices all of the layer and finds its place on the canvas anew, which takes longer.
    """
    if layer.contour:
        _refresh(layer)  # the outline is computed from all labels
        return
    row0, col0, row1, col1 = box
    layer.events.labels_update(data=layer.data[row0:row1, col0:col1], offset=(row0, col0))


def _refresh(layer: Any) -> None:
    layer.refresh(thumbnail=False, extent=False, highlight=False)
