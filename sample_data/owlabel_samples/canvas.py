"""The picture being painted: colour, class, depth and instance of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sprite:
    """A flat picture that stands upright in the scene.

    Attributes
    ----------
    color : array, shape (h, w, 3)
        0 .. 1.
    alpha : array, shape (h, w)
        How much of the background is covered, 0 .. 1.
    mask : array, shape (h, w)
        1 where a person would say that the object is; may cover holes that `alpha` leaves open.
    """

    color: Float
    alpha: Float
    mask: Float


@dataclass
class Canvas:
    """A scene painted from far to near.

    Attributes
    ----------
    color : array, shape (H, W, 3)
        0 .. 1 before weather and camera.
    labels : array, shape (H, W)
        Class ids.
    depth : array, shape (H, W)
        Metres from the camera; large in the sky.
    instances : array, shape (H, W)
        0 for what is no countable object.
    """

    color: Float
    labels: NDArray[np.uint8]
    depth: Float
    instances: NDArray[np.uint16]

    @classmethod
    def blank(cls, height: int, width: int) -> Canvas:
        """Return a black canvas without any object."""
        return cls(
            np.zeros((height, width, 3), np.float32),
            np.zeros((height, width), np.uint8),
            np.full((height, width), 1e4, np.float32),
            np.zeros((height, width), np.uint16),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.labels.shape[0], self.labels.shape[1]

    def next_instance(self) -> int:
        """Return an instance number that is not used yet."""
        return int(self.instances.max()) + 1

    def put(
        self, mask: Mask, color: Float, label: int, depth: float | Float, instance: int = 0
    ) -> None:
        """Paint what `mask` (H, W) selects; `color` is one colour (3,) or a picture (H, W, 3)."""
        self.color[mask] = color[mask] if color.ndim == 3 else color
        self.labels[mask] = label
        self.depth[mask] = depth if isinstance(depth, (int, float)) else depth[mask]
        self.instances[mask] = instance

    def window(self, points: Float) -> tuple[slice, slice] | None:
        """Return the rows and columns that hold `points` (n, 2) of (column, row), or None."""
        height, width = self.shape
        low = np.floor(points.min(0)).astype(int)
        high = np.ceil(points.max(0)).astype(int) + 1
        columns = slice(max(low[0], 0), min(high[0], width))
        rows = slice(max(low[1], 0), min(high[1], height))
        empty = rows.start >= rows.stop or columns.start >= columns.stop
        return None if empty else (rows, columns)

    def part(self, window: tuple[slice, slice]) -> Canvas:
        """Return a view of one window; painting on it paints here."""
        return Canvas(
            self.color[window], self.labels[window], self.depth[window], self.instances[window]
        )

    def polygon(
        self, points: Float, color: Float, label: int, depth: float, instance: int = 0
    ) -> None:
        """Fill the polygon `points` (n, 2) of (column, row) with a colour (3,)."""
        window = self.window(points)
        if window is None:
            return
        part = self.part(window)
        mask = np.zeros(part.shape, np.uint8)
        origin = np.array([window[1].start, window[0].start])
        corners = np.round((points - origin) * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1, shift=4)
        part.put(mask > 0, color, label, depth, instance)

    def quad(self, points: Float, texture: Float, label: int, depths: tuple[float, float]) -> None:
        """Warp `texture` (h, w, 3) to four corners: left top, right top, right bottom, left bottom.

        `depths` are the distances of the left and the right edge.
        """
        window = self.window(points)
        if window is None:
            return
        part = self.part(window)
        origin = np.array([window[1].start, window[0].start], np.float32)
        h, w = texture.shape[:2]
        corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, (points - origin).astype(np.float32))
        size = (part.shape[1], part.shape[0])
        picture = cv2.warpPerspective(
            texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros(part.shape, np.uint8)
        cv2.fillPoly(mask, [np.round((points - origin) * 16).astype(np.int32)], 1, shift=4)
        columns = np.arange(window[1].start, window[1].stop)
        inverse = np.interp(columns, *_rising(points[0, 0], points[1, 0], depths))
        depth = np.broadcast_to((1 / inverse).astype(np.float32), part.shape)
        part.put(mask > 0, np.asarray(picture, np.float32), label, depth)

    def stand(
        self, sprite: Sprite, foot: tuple[float, float], height: float, label: int, depth: float
    ) -> None:
        """Set a sprite on the ground: `foot` (column, row) is the middle of its lower edge."""
        h, w = sprite.alpha.shape
        width = max(round(height * w / h), 1)
        rows = max(round(height), 1)
        left, top = round(foot[0] - width / 2), round(foot[1]) - rows
        box = np.array([[left, top], [left + width - 1, top + rows - 1]], np.float32)
        window = self.window(box)
        if window is None:
            return
        inside = (
            slice(window[0].start - top, window[0].stop - top),
            slice(window[1].start - left, window[1].stop - left),
        )
        color, alpha, mask = (
            cv2.resize(layer, (width, rows), interpolation=cv2.INTER_AREA)[inside]
            for layer in (sprite.color, sprite.alpha, sprite.mask)
        )
        number = self.next_instance()
        part = self.part(window)
        covered = mask > 0.5
        mixed = part.color + alpha[..., None] * (color - part.color)
        part.color[:] = mixed
        part.put(covered, mixed, label, depth, number)

    def darken(self, centre: tuple[float, float], radii: tuple[float, float], by: float) -> None:
        """Lay a soft shadow on the ground around `centre` (column, row)."""
        reach = np.array(radii, np.float32) * 1.8
        middle = np.array(centre, np.float32)
        window = self.window(np.stack([middle - reach, middle + reach]))
        if window is None:
            return
        rows, columns = np.mgrid[window]
        away = ((columns - centre[0]) / radii[0]) ** 2 + ((rows - centre[1]) / radii[1]) ** 2
        shade = 1 - by * np.exp(-1.2 * away)
        self.color[window] *= shade[..., None].astype(np.float32)


def _rising(
    left: float, right: float, depths: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """Return columns in rising order and the inverse depths there."""
    inverse = [1 / depths[0], 1 / depths[1]]
    return ([left, right], inverse) if left <= right else ([right, left], inverse[::-1])
