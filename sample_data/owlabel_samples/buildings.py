"""Houses along the street: walls, windows, shops, roofs."""

from __future__ import annotations

import numpy as np

from owlabel_samples.camera import Camera
from owlabel_samples.canvas import Canvas
from owlabel_samples.ground import Street
from owlabel_samples.kinds import BUILDING
from owlabel_samples.textures import Float, Rng, bricks, noise, paint_over, pick, plain, rgb
from owlabel_samples.weather import Look

DENSITY = 22
"""Texture pixels for each metre of wall."""
WALLS = [
    (0.62, 0.36, 0.28),
    (0.70, 0.62, 0.50),
    (0.80, 0.76, 0.68),
    (0.55, 0.53, 0.52),
    (0.72, 0.55, 0.38),
    (0.50, 0.30, 0.25),
    (0.84, 0.82, 0.80),
    (0.60, 0.64, 0.66),
    (0.76, 0.68, 0.42),
    (0.45, 0.47, 0.52),
]


def paint_houses(canvas: Canvas, camera: Camera, street: Street, look: Look, rng: Rng) -> None:
    """Paint the rows of houses from far to near, on the sides that are no park."""
    _skyline(canvas, camera, rng)
    for side, park in ((-1, street.park[0]), (1, street.park[1])):
        if park:
            continue
        near, plots = float(rng.uniform(-4, 1)), []
        while near < 95:
            deep = rng.uniform(7, 19)
            plots.append((near, near + deep))
            near += deep + (rng.uniform(2, 7) if rng.random() < 0.22 else 0.0)
        edge = street.half + street.pavement
        for start, end in reversed(plots):
            _house(canvas, camera, (side, edge + rng.uniform(0, 1.2)), (start, end), look, rng)


def _skyline(canvas: Canvas, camera: Camera, rng: Rng) -> None:
    """Paint distant houses on the horizon."""
    column = -20.0
    while column < canvas.shape[1]:
        wide, high = rng.uniform(15, 70), rng.uniform(4, 42)
        top, low = camera.horizon - high, camera.horizon + 8
        color = pick(rng, WALLS, 0.03)
        corners = np.array(
            [[column, top], [column + wide, top], [column + wide, low], [column, low]], np.float32
        )
        texture = plain(rng, (24, 48), color, 0.1)
        for row in range(3, 22, 5):
            texture[row : row + 2, 2::4] *= 0.6
        canvas.quad(corners, texture, BUILDING, (140.0, 140.0))
        column += wide * rng.uniform(0.7, 1.3)


def _house(
    canvas: Canvas,
    camera: Camera,
    wall: tuple[int, float],
    plot: tuple[float, float],
    look: Look,
    rng: Rng,
) -> None:
    """Paint the wall along the street and the one that faces the camera."""
    side, away = wall
    start, end = max(plot[0], 1.2), plot[1]
    if end <= 1.5:
        return
    floors = int(rng.integers(2, 7))
    high = floors * rng.uniform(2.8, 3.4) + 0.8
    base = pick(rng, WALLS, 0.04)
    sunny = 1.12 if side * look.sun_side < 0 else (0.72 if look.shadow > 0 else 0.95)
    x = side * away
    if plot[0] > 1.2:  # the gable end
        back = side * (away + rng.uniform(6, 10))
        ends = np.array([[x, high, start], [back, high, start], [back, 0, start], [x, 0, start]])
        surface = _wall(rng, (round(high * DENSITY), 8 * DENSITY), base) * (
            0.85 if sunny > 1 else 1.05
        )
        if rng.random() < 0.4:
            _windows(surface, floors, rng, look)
        canvas.quad(camera.project(ends), surface.astype(np.float32), BUILDING, (start, start))
    facade = _facade(rng, (high, plot[1] - plot[0]), floors, base, look) * sunny
    cut = round((start - plot[0]) * DENSITY)
    corners = np.array([[x, high, start], [x, high, end], [x, 0, end], [x, 0, start]])
    seen = np.ascontiguousarray(facade[:, cut:], np.float32)
    canvas.quad(camera.project(corners), seen, BUILDING, (start, end))
    if rng.random() < 0.45:
        _roof(canvas, camera, (x, side), (start, end, high), rng)


def _roof(
    canvas: Canvas,
    camera: Camera,
    wall: tuple[float, int],
    along: tuple[float, float, float],
    rng: Rng,
) -> None:
    """Paint a mansard roof: one that is too steep to hide behind the edge of its wall."""
    (x, side), (start, end, high) = wall, along
    ridge, inner = high + rng.uniform(1.4, 2.6), x + side * rng.uniform(0.7, 1.1)
    tiles = pick(rng, [(0.48, 0.24, 0.18), (0.30, 0.30, 0.33), (0.40, 0.30, 0.26)], 0.03)
    back = x + 7.0 * side
    gable = np.array(
        [[x, high, start], [inner, ridge, start], [back, ridge, start], [back, high, start]]
    )
    canvas.polygon(camera.project(gable), tiles * 0.8, BUILDING, start)
    corners = np.array(
        [[inner, ridge, start], [inner, ridge, end], [x, high, end], [x, high, start]]
    )
    texture = plain(rng, (60, round((end - start) * 12) + 2), tiles, 0.08)
    texture[::6] *= 0.7
    canvas.quad(camera.project(corners), texture, BUILDING, (start, end))


def _wall(rng: Rng, shape: tuple[int, int], base: Float) -> Float:
    """Return a bare wall, (H, W, 3)."""
    kind = rng.random()
    if kind < 0.4:
        return bricks(rng, shape, base, int(rng.integers(4, 7)))
    surface = plain(rng, shape, base, 0.05)
    if kind < 0.6:  # concrete panels
        surface[:: int(rng.integers(40, 70))] *= 0.75
        surface[:, :: int(rng.integers(40, 80))] *= 0.75
    drip = (
        np.clip(noise(rng, shape, (shape[0], 5), 3), 0, 2)
        * np.linspace(0.1, 0.02, shape[0])[:, None]
    )
    return (surface * (1 - drip[..., None])).astype(np.float32)


def _facade(rng: Rng, size: tuple[float, float], floors: int, base: Float, look: Look) -> Float:
    """Return a wall with windows, a ground floor and a cornice, (H, W, 3)."""
    shape = (round(size[0] * DENSITY), round(size[1] * DENSITY))
    surface = _wall(rng, shape, base)
    ground = _windows(surface, floors, rng, look)
    paint_over(surface, (0, 0, 9, shape[1]), base * rng.uniform(0.7, 1.25))
    surface[9:14] *= 0.7
    if rng.random() < 0.55:
        _shops(surface, ground, rng, look)
    else:
        _doors(surface, ground, rng)
    return surface


def _windows(surface: Float, floors: int, rng: Rng, look: Look) -> int:
    """Put windows into every floor above the ground; return where the ground floor begins."""
    height, width = surface.shape[:2]
    floor = (height - 14) // floors
    pitch = int(rng.uniform(1.9, 3.6) * DENSITY)
    wide, high = int(pitch * rng.uniform(0.38, 0.72)), int(floor * rng.uniform(0.45, 0.68))
    frame = pick(rng, [(0.85, 0.85, 0.83), (0.25, 0.24, 0.24), (0.5, 0.36, 0.26)], 0.03)
    balcony = rng.random() < 0.2
    for level in range(floors - 1):
        top = 14 + level * floor + int(floor * 0.15)
        for left in range((width % pitch) // 2 + (pitch - wide) // 2, width - wide, pitch):
            box = (top, left, top + high, left + wide)
            _window(surface, box, frame, rng, look)
            if balcony:
                row = top + high - 8
                paint_over(surface, (row, left - 6, row + 12, left + wide + 6), frame * 0.55, 0.75)
                surface[row : row + 10, max(left - 6, 0) : left + wide + 6 : 3] *= 1.4
    return int(14 + (floors - 1) * floor)


def _window(
    surface: Float, box: tuple[int, int, int, int], frame: Float, rng: Rng, look: Look
) -> None:
    """Paint one window: frame, glass that mirrors the sky, bars, sill."""
    row0, col0, row1, col1 = box
    paint_over(surface, (row0 - 2, col0 - 2, row1 + 2, col1 + 2), frame)
    glass = (0.25 + 0.3 * rng.random()) * look.low * 0.6 + rgb(0.06, 0.07, 0.09)
    if rng.random() < look.lamps:
        glass = rgb(1.5, 1.25, 0.75) * float(rng.uniform(0.8, 1.2))
    paint_over(surface, box, glass)
    split = row0 + int((row1 - row0) * rng.uniform(0.2, 0.8))
    if rng.random() < 0.35:  # a blind
        paint_over(surface, (row0, col0, split, col1), frame * 0.95 + 0.02)
    surface[split:row1, col0:col1] *= np.linspace(0.75, 1.15, max(row1 - split, 0))[:, None, None]
    middle = (col0 + col1) // 2
    paint_over(surface, (row0, middle - 1, row1, middle + 1), frame)
    paint_over(surface, (row1 + 1, col0 - 4, row1 + 4, col1 + 4), frame * 0.85)


def _shops(surface: Float, top: int, rng: Rng, look: Look) -> None:
    """Turn the ground floor into shops with a board and sometimes an awning."""
    height, width = surface.shape[:2]
    left = 6
    while left < width - 40:
        wide = int(rng.uniform(3, 6) * DENSITY)
        right = min(left + wide, width - 6)
        board = rng.uniform(0.1, 0.85, 3).astype(np.float32)
        paint_over(surface, (top + 2, left, top + 16, right), board)
        for letter in range(left + 12, right - 12, 7):
            if rng.random() < 0.75:
                tall = int(rng.integers(4, 9))
                paint_over(surface, (top + 13 - tall, letter, top + 13, letter + 4), 1 - board)
        bright = 1.2 if rng.random() < look.lamps * 1.3 else rng.uniform(0.15, 0.5)
        paint_over(
            surface, (top + 18, left + 3, height - 8, right - 3), rgb(0.9, 0.95, 1.0) * bright
        )
        goods = noise(rng, (max(height - top - 26, 1), max(right - left - 6, 1)), (9, 7), 2)
        region = surface[top + 18 : height - 8, left + 3 : right - 3]
        region *= 1 + 0.25 * goods[: region.shape[0], : region.shape[1], None]
        if rng.random() < 0.4:
            stripe = surface[top + 14 : top + 30, left:right]
            stripe[:] = board * 0.9 + 0.1
            stripe[:, np.arange(right - left) % 14 < 7] = rgb(0.88, 0.86, 0.82)
        left = right + int(rng.uniform(4, 24))


def _doors(surface: Float, top: int, rng: Rng) -> None:
    """Put doors and low windows into the ground floor."""
    height, width = surface.shape[:2]
    for left in range(14, width - 40, int(rng.uniform(3, 6) * DENSITY)):
        color = pick(
            rng, [(0.3, 0.17, 0.1), (0.15, 0.25, 0.2), (0.45, 0.1, 0.1), (0.2, 0.25, 0.4)], 0.04
        )
        paint_over(surface, (top + 12, left - 3, height, left + 27), rgb(0.75, 0.73, 0.7))
        paint_over(surface, (top + 15, left, height, left + 24), color)
        paint_over(surface, (top + 19, left + 4, top + 34, left + 20), color * 0.6)
    surface[height - 10 :] *= 0.7
