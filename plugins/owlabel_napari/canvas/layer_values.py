"""Class ids to the values of napari's Labels layers and back; colours and names of a class table.

napari takes 0 as background, so a class id stands in a layer as id + 1; `UNSET` is 0, `VOID` 255.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from napari.utils.colormaps import Colormap, DirectLabelColormap, ensure_colormap

from owlabel.classes import MAX_CLASSES, UNSET, VOID, ClassTable, Labels, distinct_color, present

Color = tuple[int, int, int]
NOTHING = 0
"""Value of a layer where nobody has said anything."""


def _to_layer_table() -> Labels:
    table = np.zeros(256, np.uint8)
    table[:MAX_CLASSES] = np.arange(1, MAX_CLASSES + 1)
    table[VOID] = VOID
    return table


def _from_layer_table() -> Labels:
    table = np.full(256, UNSET, np.uint8)
    table[1 : MAX_CLASSES + 1] = np.arange(MAX_CLASSES)
    table[VOID] = VOID
    return table


_TO_LAYER, _FROM_LAYER = _to_layer_table(), _from_layer_table()


def to_layer(labels: Labels) -> Labels:
    """Return the layer values of a label map, uint8 of the same shape."""
    return np.asarray(cv2.LUT(labels, _TO_LAYER))


def from_layer(values: Labels) -> Labels:
    """Return the label map of layer values; what is no class becomes `UNSET`."""
    return np.asarray(cv2.LUT(values, _FROM_LAYER))


def layer_value(class_id: int) -> int:
    """Return the layer value of one class id (or of `VOID`)."""
    return int(_TO_LAYER[class_id])


def strangers(values: Labels, classes: ClassTable) -> list[int]:
    """Return the layer values that stand for no class of the table, sorted."""
    known = {NOTHING, VOID} | {layer_value(c.id) for c in classes.classes}
    return [v for v in present(values) if v not in known]


def class_colors(classes: ClassTable) -> tuple[Color, ...]:
    """Return the colour of every class id; one without a class has what a new class would get.

    So a layer keeps its colours when a class is added: to change them costs napari 20 ms a layer.
    """
    named = {c.id: c.color for c in classes.classes}
    return tuple(named.get(i) or distinct_color(i) for i in range(MAX_CLASSES))


@lru_cache(maxsize=4)
def colormap_of(colors: tuple[Color, ...]) -> DirectLabelColormap:
    """Return the colormap of `class_colors`; nothing said is transparent, void pale."""
    shown: dict[int | None, Any] = {None: (0.0, 0.0, 0.0, 0.0), NOTHING: (0.0, 0.0, 0.0, 0.0)}
    for class_id, color in enumerate(colors):
        shown[layer_value(class_id)] = (*(v / 255 for v in color), 1.0)
    shown[VOID] = (0.92, 0.92, 0.92, 0.75)
    return DirectLabelColormap(color_dict=shown)


def class_features(classes: ClassTable) -> dict[str, list[Any]]:
    """Return the class names by layer value, as a Labels layer shows them in the status bar."""
    values = [NOTHING, *(layer_value(c.id) for c in classes.classes), VOID]
    names = ["unlabelled", *(c.name for c in classes.classes), "ignore"]
    return {"index": values, "class": names}


def score_colormap() -> Colormap:
    """Return the heat map of scores: inferno that fades out at its low end."""
    steps = np.linspace(0, 1, 64)
    colors = np.array(ensure_colormap("inferno").map(0.25 + 0.75 * steps))
    colors[:, 3] = steps**1.3
    return Colormap(colors, name="owlabel score")
