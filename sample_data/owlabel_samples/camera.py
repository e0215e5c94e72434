"""A pinhole camera above a flat street that may bend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """A camera that looks along the street.

    Attributes
    ----------
    height, width : int
        Size of the canvas in pixels.
    focal : float
        Focal length in pixels.
    horizon, centre : float
        Row and column of the point at infinity.
    eye : float
        Height of the camera above the ground in metres.
    offset : float
        Distance of the camera to the right of the middle of the road, in metres.
    bend : float
        The road shifts sideways by ``bend * depth ** 2`` metres.
    """

    height: int
    width: int
    focal: float
    horizon: float
    centre: float
    eye: float
    offset: float
    bend: float

    @classmethod
    def random(cls, rng: np.random.Generator, height: int, width: int) -> Camera:
        """Return a random camera, as a car or a pedestrian on the road could carry it."""
        return cls(
            height,
            width,
            focal=width * rng.uniform(0.72, 1.05),
            horizon=height * rng.uniform(0.36, 0.52),
            centre=width * rng.uniform(0.38, 0.62),
            eye=rng.uniform(1.3, 2.3),
            offset=rng.uniform(-1.2, 2.2),
            bend=float(rng.normal(0, 0.0011)),
        )

    def project(self, points: NDArray[np.floating]) -> Float:
        """Return columns and rows, (n, 2), of street points (n, 3): right, up, ahead in metres."""
        x, y, z = np.asarray(points, float).T
        across = x + self.bend * z**2 - self.offset
        columns = self.centre + self.focal * across / z
        rows = self.horizon + self.focal * (self.eye - y) / z
        return np.stack([columns, rows], 1).astype(np.float32)

    def foot(self, x: float, z: float) -> tuple[float, float]:
        """Return column and row of a point on the ground."""
        column, row = self.project(np.array([[x, 0.0, z]]))[0]
        return float(column), float(row)

    def pixels(self, metres: float, z: float) -> float:
        """Return the length in pixels of `metres` at depth `z`."""
        return metres * self.focal / z

    def ground(self) -> tuple[Float, Float]:
        """Return the ground point of every pixel: metres right and metres ahead, each (H, W).

        Metres ahead is infinite at and above the horizon.
        """
        below = np.arange(self.height)[:, None] + 0.5 - self.horizon
        with np.errstate(divide="ignore"):
            z = np.where(below > 0, self.focal * self.eye / np.maximum(below, 1e-6), np.inf)
        z = np.broadcast_to(z, (self.height, self.width))
        near = np.minimum(z, 1e3)
        across = (np.arange(self.width)[None] + 0.5 - self.centre) * near / self.focal
        x = across + self.offset - self.bend * near**2
        return x.astype(np.float32), z.astype(np.float32)
