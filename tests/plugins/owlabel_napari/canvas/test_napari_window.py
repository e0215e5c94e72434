"""napari's window is found by public names alone, and the tool works where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy

import owlabel_napari
from owlabel_napari.canvas.napari_window import drop_targets, layer_node, main_window, scene_canvas


@pytest.mark.gui
def test_a_plugin_is_given_the_window_without_a_warning(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    as_plugins_see_it = PublicOnlyProxy(viewer)  # warns of private names: an error in our tests
    assert main_window(as_plugins_see_it) is main_window(viewer) is not None
    assert scene_canvas(as_plugins_see_it) is scene_canvas(viewer) is not None
    assert drop_targets(as_plugins_see_it) == drop_targets(viewer) != []


@pytest.mark.gui
def test_each_window_has_its_own_canvas(make_napari_viewer: Any) -> None:
    first, second = make_napari_viewer(), make_napari_viewer()
    assert scene_canvas(first) is not scene_canvas(second)


@pytest.mark.gui
def test_the_node_of_a_layer_is_the_one_that_napari_hides_with_it(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    layers = [
        viewer.add_image(np.zeros((6, 8))),
        viewer.add_labels(np.zeros((6, 8), np.uint8)),
        viewer.add_shapes([np.array([(0, 0), (0, 3), (3, 3), (3, 0)])]),
    ]
    viewer.layers.move(0, 2)
    canvas = scene_canvas(viewer)
    for layer in layers:
        nodes = {one: layer_node(viewer, canvas, one) for one in layers}
        layer.visible = False
        assert [one for one in layers if not nodes[one].visible] == [layer]
        layer.visible = True
    viewer.canvas.grid.enabled = True
    assert layer_node(viewer, canvas, layers[0]) is None  # places are counted anew in each cell


def test_a_viewer_without_a_window_has_no_canvas() -> None:
    viewer = ViewerModel()
    assert main_window(viewer) is scene_canvas(viewer) is None
    assert drop_targets(viewer) == []


def test_no_private_name_of_the_window_is_used() -> None:
    for path in Path(owlabel_napari.__file__).parent.rglob("*.py"):
        assert "_qt_" not in path.read_text(), path
