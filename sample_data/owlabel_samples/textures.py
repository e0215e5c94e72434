"""Noise and the surfaces made of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Rng = np.random.Generator


def rgb(red: float, green: float, blue: float) -> Float:
    """Return one colour, 0 .. 1 each."""
    return np.array([red, green, blue], np.float32)


def pick(rng: Rng, colors: list[tuple[float, float, float]], spread: float = 0.05) -> Float:
    """Return one of `colors`, a little changed."""
    color = np.array(colors[rng.integers(len(colors))], np.float32)
    return np.clip(color + rng.normal(0, spread, 3), 0.02, 0.98).astype(np.float32)


def noise(
    rng: Rng,
    shape: tuple[int, int],
    cell: tuple[float, float],
    octaves: int = 4,
    fade: float = 0.55,
) -> Float:
    """Return smooth noise, mean 0, deviation 1, (H, W); `cell` is its coarsest grain in pixels."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    weight, rows, columns = 1.0, float(cell[0]), float(cell[1])
    for _ in range(octaves):
        grid = (max(int(height / rows) + 2, 2), max(int(width / columns) + 2, 2))
        coarse = rng.standard_normal(grid).astype(np.float32)
        total += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        weight, rows, columns = weight * fade, max(rows / 2, 1), max(columns / 2, 1)
    total -= total.mean()
    deviation = float(total.std())
    return total / (deviation or 1.0)


def plain(rng: Rng, shape: tuple[int, int], color: Float, grain: float = 0.06) -> Float:
    """Return a surface of one colour with stains and grain, (H, W, 3)."""
    stains = noise(rng, shape, (shape[0] / 3 + 1, shape[1] / 3 + 1), 5)
    return (color * (1 + grain * stains[..., None])).astype(np.float32)


def bricks(rng: Rng, shape: tuple[int, int], color: Float, row: int = 4) -> Float:
    """Return a brick wall, (H, W, 3); `row` is the height of a course in pixels."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    course = rows // row
    stone = (columns + (course % 2) * row) // (2 * row)
    tones = rng.normal(0, 0.1, (int(course.max()) + 1, int(stone.max()) + 1))
    joint = (rows % row == 0) | ((columns + (course % 2) * row) % (2 * row) == 0)
    wall = color * (1 + tones[course, stone][..., None])
    mortar = rgb(0.62, 0.58, 0.54) * 0.9
    wall = np.where(joint[..., None], 0.45 * wall + 0.55 * mortar, wall)
    return np.asarray(wall * plain(rng, shape, rgb(1, 1, 1), 0.07), np.float32)


def streaks(rng: Rng, shape: tuple[int, int], along_rows: bool, length: float = 30) -> Float:
    """Return noise drawn out in one direction, mean 0, deviation 1, (H, W)."""
    cell = (length, 1.6) if along_rows else (1.6, length)
    return noise(rng, shape, cell, 2, 0.7)


def paint_over(
    surface: Float, box: tuple[int, int, int, int], color: Float, mix: float = 1.0
) -> None:
    """Lay a rectangle (row0, col0, row1, col1) of one colour (3,) over `surface` (H, W, 3)."""
    row0, col0, row1, col1 = (max(edge, 0) for edge in box)
    part = surface[row0:row1, col0:col1]
    part += mix * (color - part)
