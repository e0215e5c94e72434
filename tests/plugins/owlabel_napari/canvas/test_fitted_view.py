"""The picture is seen whole, whatever room the docks leave; a camera that was moved stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from owlabel_napari.canvas.fitted_view import FittedView


@pytest.fixture
def viewer() -> Any:
    model = ViewerModel()
    model.canvas.size = (400, 800)
    model.add_image(np.zeros((120, 160)))
    return model


@pytest.fixture(autouse=True)
def fitted(viewer: Any) -> FittedView:
    """Follow the viewer; events alone do not keep what listens to them."""
    return FittedView(viewer)


def seen(viewer: Any) -> tuple[float, float]:
    """Return how many pixels of the picture the canvas is high and wide."""
    height, width = viewer.canvas.size
    return height / viewer.scene.camera.zoom, width / viewer.scene.camera.zoom


def test_a_smaller_canvas_shows_the_whole_picture(viewer: Any) -> None:
    viewer.reset_view()
    viewer.canvas.size = (400, 300)
    rows, cols = seen(viewer)
    assert rows >= 120
    assert 160 <= cols < 180


def test_a_camera_that_was_moved_stays(viewer: Any) -> None:
    viewer.reset_view()
    viewer.scene.camera.zoom *= 2
    zoom, center = viewer.scene.camera.zoom, viewer.scene.camera.center
    viewer.canvas.size = (400, 300)
    assert viewer.scene.camera.zoom == zoom
    assert viewer.scene.camera.center == center


def test_a_closed_one_leaves_the_camera_alone(viewer: Any, fitted: FittedView) -> None:
    viewer.reset_view()
    fitted.close()
    zoom = viewer.scene.camera.zoom
    viewer.canvas.size = (400, 300)
    assert viewer.scene.camera.zoom == zoom
