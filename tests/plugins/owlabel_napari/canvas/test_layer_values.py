"""Class ids and layer values."""

import numpy as np

from owlabel.classes import MAX_CLASSES, UNSET, VOID
from owlabel_napari.canvas.layer_values import from_layer, to_layer


def test_labels_come_back_from_the_layer() -> None:
    labels = np.array([*range(MAX_CLASSES), UNSET, VOID], np.uint8)[None]
    np.testing.assert_array_equal(from_layer(to_layer(labels)), labels)


def test_nothing_said_is_napari_s_background() -> None:
    assert to_layer(np.array([[UNSET, 0, VOID]], np.uint8)).tolist() == [[0, 1, 255]]
