"""Two views of one image: the same geometry for picture and labels, colours for the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel_training.core.data import jittered
from owlabel_training.pretraining.recipe import PretrainingRecipe

Pixels = NDArray[np.uint8]
LabelMap = NDArray[np.int64]
NONE = -1
"""The label of a pixel that is never used."""
GREY = 0.5
APART = 0.25
"""How far the centres of two views may be from each other, as a share of the crop."""


@dataclass(frozen=True)
class Place:
    """Where in an image a view is taken.

    Attributes
    ----------
    centre : tuple of float
        (row, col) in pixels.
    zoom, angle : float
        Pixels of the view to one of the image; radians.
    mirrored : bool
    """

    centre: tuple[float, float]
    zoom: float
    angle: float
    mirrored: bool

    def matrix(self, side: int) -> NDArray[np.float64]:
        """Return the affine map (2, 3) from the view's (x, y) to the image's."""
        cos, sin = np.cos(self.angle) / self.zoom, np.sin(self.angle) / self.zoom
        turn = np.array([[cos, -sin], [sin, cos]])
        if self.mirrored:
            turn = turn @ np.diag([-1.0, 1.0])
        middle = np.full(2, (side - 1) / 2)
        at = np.array([self.centre[1], self.centre[0]])
        return np.column_stack([turn, at - turn @ middle])


def places(
    rng: np.random.Generator, shape: tuple[int, int], side: int, recipe: PretrainingRecipe
) -> tuple[Place, Place]:
    """Draw where the two views of an image are taken: near each other, so that they overlap."""
    first = _centre(rng, shape, side)
    drawn = []
    for number in range(2):
        zoom = float(np.exp(rng.uniform(*np.log(recipe.scale))))
        shift = rng.uniform(-APART, APART, 2) * side / zoom if number else np.zeros(2)
        row, col = (
            float(np.clip(first[a] + shift[a], 0, shape[a] - 1)) for a in (0, 1)
        )  # fmt: skip
        angle = np.deg2rad(rng.uniform(-recipe.rotation, recipe.rotation))
        drawn.append(Place((row, col), zoom, float(angle), bool(rng.random() < 0.5)))
    return drawn[0], drawn[1]


def _centre(rng: np.random.Generator, shape: tuple[int, int], side: int) -> tuple[float, float]:
    """Draw a point from which a crop at zoom 1 stays inside, where the image is large enough."""
    row, col = (
        float(rng.uniform(min(side / 2, length / 2), max(length - side / 2, length / 2)))
        for length in shape
    )
    return row, col


def view(image: Pixels, labels: LabelMap, place: Place, side: int) -> tuple[Pixels, LabelMap]:
    """Return the part of an image at a place, bilinear, and its labels, nearest.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    labels : ndarray of int64, shape (H, W)
        Below 0: never used.
    place : Place
    side : int

    Returns
    -------
    image : ndarray of uint8, shape (side, side, 3)
        Grey outside the image.
    labels : ndarray of int64, shape (side, side)
        `NONE` outside the image.
    """
    matrix = place.matrix(side)
    grey = int(GREY * 255)
    picture = cv2.warpAffine(
        image,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(grey, grey, grey),
    )
    y, x = np.mgrid[:side, :side]
    col, row = (np.rint(m[0] * x + m[1] * y + m[2]).astype(np.int64) for m in matrix)
    height, width = labels.shape
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    nearest = labels[row.clip(0, height - 1), col.clip(0, width - 1)]
    return np.asarray(picture, np.uint8), np.where(inside, nearest, NONE)


def recoloured(
    picture: Pixels, rng: np.random.Generator, recipe: PretrainingRecipe
) -> NDArray[np.float32]:
    """Return the picture in [0, 1] with random brightness, contrast, saturation, hue, and grey."""
    values = jittered(picture, rng, recipe.jitter)
    hue, grey = rng.uniform(-recipe.hue, recipe.hue), rng.random() < recipe.grey
    if recipe.hue > 0:
        hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)  # hue in degrees
        hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
        values = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)
    if grey:
        values = values.mean(axis=2, keepdims=True).repeat(3, axis=2)
    return np.asarray(values, np.float32)


def cut_out(
    picture: NDArray[np.float32], labels: LabelMap, rng: np.random.Generator, largest: int
) -> None:
    """Blot out a square of random side up to `largest`, in place; its labels are not used."""
    length = int(rng.integers(0, largest + 1))
    row, col = (int(rng.integers(0, side - length + 1)) for side in labels.shape)
    where = (slice(row, row + length), slice(col, col + length))
    picture[where], labels[where] = GREY, NONE


def two_views(
    image: Pixels,
    labels: LabelMap,
    rng: np.random.Generator,
    side: int,
    recipe: PretrainingRecipe,
) -> list[tuple[NDArray[np.float32], LabelMap]]:
    """Return two augmented views of an image, each (side, side, 3) in [0, 1] and its labels.

    References
    ----------
    .. [1] "Looking Beyond Single Images", supplement, Table 8.
    """
    views = []
    for place in places(rng, (labels.shape[0], labels.shape[1]), side, recipe):
        picture, seen = view(image, labels, place, side)
        values = recoloured(picture, rng, recipe)
        cut_out(values, seen, rng, recipe.cutout)
        views.append((values, seen))
    return views
