"""Cars, lamp posts, traffic lights and signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel_samples.camera import Camera
from owlabel_samples.canvas import Canvas
from owlabel_samples.kinds import CAR, POLE, SIGN
from owlabel_samples.textures import Float, Rng, noise, pick, rgb
from owlabel_samples.weather import Look

Points = Sequence[tuple[float, float]]

PAINTS = [
    (0.75, 0.76, 0.78),
    (0.12, 0.12, 0.13),
    (0.55, 0.10, 0.10),
    (0.14, 0.22, 0.42),
    (0.9, 0.9, 0.9),
    (0.40, 0.42, 0.44),
    (0.16, 0.30, 0.26),
    (0.60, 0.58, 0.52),
    (0.25, 0.38, 0.55),
    (0.5, 0.3, 0.14),
]

PROFILES: dict[str, Points] = {  # share of the length from the rear, share of the height
    "hatch": [(0, 0.2), (0, 0.62), (0.04, 1), (0.55, 1), (0.74, 0.62), (1, 0.52), (1, 0.2)],
    "saloon": [
        (0, 0.2),
        (0, 0.62),
        (0.17, 0.66),
        (0.27, 1),
        (0.58, 1),
        (0.74, 0.64),
        (1, 0.52),
        (1, 0.2),
    ],
    "van": [(0, 0.15), (0, 1), (0.78, 1), (0.93, 0.55), (1, 0.5), (1, 0.15)],
}
GLASS: dict[str, list[Points]] = {
    "hatch": [
        [(0.06, 0.64), (0.1, 0.93), (0.36, 0.93), (0.36, 0.64)],
        [(0.39, 0.64), (0.39, 0.93), (0.54, 0.93), (0.70, 0.64)],
    ],
    "saloon": [
        [(0.22, 0.68), (0.29, 0.94), (0.42, 0.94), (0.42, 0.68)],
        [(0.45, 0.68), (0.45, 0.94), (0.57, 0.94), (0.70, 0.68)],
    ],
    "van": [[(0.62, 0.58), (0.62, 0.9), (0.77, 0.9), (0.87, 0.58)]],
}


@dataclass(frozen=True)
class _Car:
    """A car along the street, with methods that paint polygons on its faces.

    Attributes
    ----------
    x, near : float
        Sideways position of its middle, and distance of its near end; metres.
    size : tuple of float
        Half its width, its height and its length; metres.
    oncoming : bool
        Whether its front is the near end.
    number : int
        Instance number.
    """

    canvas: Canvas
    camera: Camera
    kind: str
    x: float
    near: float
    size: tuple[float, float, float]
    oncoming: bool
    number: int

    def share(self, along: float) -> float:
        """Return the distance ahead in metres at a share of the length, counted from the rear."""
        return self.near + (1 - along if self.oncoming else along) * self.size[2]

    def side(self, points: Points, x: float, tone: Float) -> None:
        """Fill a polygon on a flank; points are (share of the length, share of the height)."""
        corners = [[x, high * self.size[1], self.share(along)] for along, high in points]
        middle = self.near + self.size[2] / 2
        self.fill(np.array(corners), tone, middle)

    def end(self, points: Points, tone: Float, back: float = 0.0) -> None:
        """Fill a polygon at the near end; points are (share of half width, share of height)."""
        half, high, _ = self.size
        z = self.near + back
        self.fill(np.array([[self.x + p * half, q * high, z] for p, q in points]), tone, z)

    def fill(self, points: NDArray[np.floating], tone: Float, z: float) -> None:
        """Fill a polygon of street points."""
        tone = tone.astype(np.float32)
        self.canvas.polygon(self.camera.project(points), tone, CAR, z, self.number)


def car(
    canvas: Canvas, camera: Camera, place: tuple[float, float], oncoming: bool, look: Look, rng: Rng
) -> None:
    """Paint a car that stands along the street; `place` is its middle and near end in metres."""
    kind = str(rng.choice(["hatch", "saloon", "van"], p=[0.45, 0.35, 0.2]))
    long = {"hatch": 3.9, "saloon": 4.5, "van": 4.9}[kind] * rng.uniform(0.94, 1.06)
    high = {"hatch": 1.5, "saloon": 1.44, "van": 2.15}[kind] * rng.uniform(0.96, 1.06)
    x, near = place
    half = rng.uniform(0.84, 0.92)
    color = pick(rng, PAINTS, 0.03)
    number = canvas.next_instance()
    body = _Car(canvas, camera, kind, x, near, (half, high, long), oncoming, number)
    radii = camera.pixels(1.25, near), camera.pixels(0.35, near)
    canvas.darken(camera.foot(x, near + 0.4), radii, 0.6)
    flank = x - half if camera.offset - camera.bend * near**2 < x else x + half
    shade = 1.0 if (flank - x) * look.sun_side > 0 else 0.78
    body.side(PROFILES[kind], 2 * x - flank, color * 0.6)
    body.side(PROFILES[kind], flank, color * shade)
    for pane in GLASS[kind]:
        body.side(pane, flank, look.low * 0.25 + 0.04)
    _wheels(body, flank)
    plate = pick(rng, [(0.9, 0.9, 0.88), (0.9, 0.78, 0.2)], 0.02)
    _near_end(body, color, look)
    body.end(_box(-0.28, 0.32, 0.28, 0.4), plate)
    _gloss(canvas, number, rng)


def _box(left: float, low: float, right: float, high: float) -> Points:
    """Return the corners of an upright rectangle."""
    return [(left, low), (left, high), (right, high), (right, low)]


def _wheels(body: _Car, flank: float) -> None:
    """Paint the two wheels of the visible flank."""
    angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    for along in (0.2, 0.81):
        z = body.share(along)
        for radius, tone in ((0.33, 0.05), (0.19, 0.45)):
            ring = [[flank, 0.33 + radius * np.sin(a), z + radius * np.cos(a)] for a in angles]
            body.fill(np.array(ring), rgb(tone, tone, tone * 1.05), z)


def _near_end(body: _Car, color: Float, look: Look) -> None:
    """Paint the rear of a car that drives ahead, or the front of an oncoming one."""
    bonnet = body.oncoming and body.kind != "van"
    if bonnet:
        _cabin(body, color, look)
    top = 0.56 if bonnet else 1.0
    for side in (-0.8, 0.8):
        body.end(_box(side - 0.13, 0, side + 0.13, 0.3), rgb(0.04, 0.04, 0.04))
    body.end([(-1, 0.17), (-1, 0.56), (-0.8, top), (0.8, top), (1, 0.56), (1, 0.17)], color * 0.92)
    body.end(_box(-1, 0.17, 1, 0.3), color * 0.5 + 0.03)
    if bonnet:
        body.end(_box(-0.45, 0.32, 0.45, 0.45), rgb(0.06, 0.06, 0.07))
    else:
        glass = look.low * 0.3 + 0.04
        body.end([(-0.82, 0.64), (-0.7, 0.92), (0.7, 0.92), (0.82, 0.64)], glass)
    lit, dark = (1.6, 1.55, 1.3), (0.85, 0.86, 0.88)
    if not body.oncoming:
        lit, dark = (1.5, 0.12, 0.1), (0.6, 0.07, 0.07)
    lamp = rgb(*(lit if look.lamps > 0.2 else dark))
    for side in (-0.82, 0.82):
        body.end(_box(side - 0.14, 0.43, side + 0.14, 0.56), lamp)


def _cabin(body: _Car, color: Float, look: Look) -> None:
    """Paint the windscreen behind the bonnet, and the bonnet."""
    back = 1.25
    body.end([(-1, 0.4), (-1, 0.6), (-0.8, 1), (0.8, 1), (1, 0.6), (1, 0.4)], color * 0.9, back)
    glass = look.low * 0.3 + 0.04
    body.end([(-0.88, 0.6), (-0.72, 0.96), (0.72, 0.96), (0.88, 0.6)], glass, back)
    bonnet = [[-1, 0.56, 0], [-1, 0.62, back], [1, 0.62, back], [1, 0.56, 0]]
    corners = np.array(bonnet) * [body.size[0], body.size[1], 1] + [body.x, 0, body.near]
    body.fill(corners, color * 1.1, body.near)


def _gloss(canvas: Canvas, number: int, rng: Rng) -> None:
    """Add faint reflections of the surroundings to the paint of car `number`."""
    mask = canvas.instances == number
    rows = np.flatnonzero(mask.any(1))
    if rows.size == 0:
        return
    first, last = int(rows[0]), int(rows[-1]) + 1
    ramp = np.linspace(1.18, 0.72, last - first)[:, None]
    tone = ramp * (1 + 0.06 * noise(rng, (last - first, canvas.shape[1]), (8, 40), 4))
    rows_of_car, inside = canvas.color[first:last], mask[first:last]
    rows_of_car[inside] *= tone[inside][:, None].astype(np.float32)


def post(
    canvas: Canvas, camera: Camera, place: tuple[float, float], high: float, tone: Float
) -> float:
    """Paint an upright pole at `place` (right, ahead); return its width in pixels."""
    x, z = place
    wide = max(camera.pixels(0.07 + 0.014 * high, z), 2.0)
    column, low = camera.foot(x, z)
    top = low - camera.pixels(high, z)
    half = wide / 2
    left = [[column - half, top], [column, top], [column, low], [column - half, low]]
    right = [[column, top], [column + half, top], [column + half, low], [column, low]]
    canvas.polygon(np.array(left, np.float32), tone * 1.15, POLE, z)
    canvas.polygon(np.array(right, np.float32), tone * 0.75, POLE, z)
    return wide


def lamp_post(
    canvas: Canvas, camera: Camera, place: tuple[float, float], look: Look, rng: Rng
) -> None:
    """Paint a street lamp whose arm reaches over the road."""
    x, z = place
    high = rng.uniform(4.5, 8)
    tone = pick(rng, [(0.42, 0.44, 0.45), (0.2, 0.22, 0.22), (0.3, 0.36, 0.32)], 0.02)
    wide = post(canvas, camera, place, high, tone)
    reach = -np.sign(x) * rng.uniform(0.8, 2)
    ends = camera.project(np.array([[x, high, z], [x + reach, high + 0.3, z]]))
    lift = np.array([0, max(wide * 0.6, 2)], np.float32)
    canvas.polygon(np.stack([ends[0], ends[1], ends[1] + lift, ends[0] + lift]), tone, POLE, z)
    head = camera.project(np.array([[x + reach * 1.25, high + 0.22, z]]))[0]
    glow = rgb(1.6, 1.35, 0.8) if look.lamps > 0.3 else tone * 1.3
    shape = np.array([[-1, -0.4], [1, -0.4], [0.8, 0.4], [-0.8, 0.4]]) * camera.pixels(0.4, z)
    canvas.polygon((head + shape).astype(np.float32), glow.astype(np.float32), POLE, z)


def sign(canvas: Canvas, camera: Camera, place: tuple[float, float], rng: Rng) -> None:
    """Paint a road sign on a pole: disc, triangle or board."""
    x, z = place
    high = rng.uniform(2.1, 2.9)
    post(canvas, camera, place, high, rgb(0.5, 0.5, 0.5))
    column, row = camera.project(np.array([[x, high, z]]))[0]
    radius = camera.pixels(rng.uniform(0.34, 0.5), z)
    corners = {"disc": 20, "triangle": 3, "board": 4}
    kind = str(rng.choice(list(corners)))
    turn = -np.pi / 2 if kind != "board" else np.pi / 4
    angles = np.linspace(0, 2 * np.pi, corners[kind], endpoint=False) + turn
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    outer, inner = [((0.75, 0.08, 0.1), (0.92, 0.92, 0.9)), ((0.92, 0.92, 0.9), (0.1, 0.25, 0.65)),
                    ((0.1, 0.1, 0.1), (0.95, 0.75, 0.1))][rng.integers(3)]  # fmt: skip
    centre = np.array([column, row])
    for size, tone in ((1.0, outer), (0.76, inner)):
        canvas.polygon((centre + ring * radius * size).astype(np.float32), rgb(*tone), SIGN, z)
    bar = np.array([[-0.4, -0.12], [0.4, -0.12], [0.4, 0.14], [-0.4, 0.14]]) * radius
    if rng.random() < 0.6:
        canvas.polygon((centre + bar).astype(np.float32), rgb(*outer) * 0.9, SIGN, z)


def traffic_light(canvas: Canvas, camera: Camera, place: tuple[float, float], rng: Rng) -> None:
    """Paint a traffic light; its box counts as a sign."""
    x, z = place
    high = rng.uniform(2.6, 3.4)
    post(canvas, camera, place, high, rgb(0.3, 0.32, 0.3))
    column, row = camera.project(np.array([[x, high, z]]))[0]
    unit = camera.pixels(0.3, z)
    box = np.array([[-0.6, -1.7], [0.6, -1.7], [0.6, 1.7], [-0.6, 1.7]]) * unit
    canvas.polygon(
        (np.array([column, row]) + box).astype(np.float32), rgb(0.08, 0.09, 0.08), SIGN, z
    )
    lit = int(rng.integers(3))
    tones = [rgb(1.2, 0.15, 0.1), rgb(1.2, 0.8, 0.1), rgb(0.15, 1.1, 0.4)]
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * unit * 0.42
    for place_of, tone in enumerate(tones):
        middle = np.array([column, row + (place_of - 1) * unit * 1.05])
        bright = tone if place_of == lit else tone * 0.22
        canvas.polygon((middle + ring).astype(np.float32), bright.astype(np.float32), SIGN, z)


def glare(canvas: Canvas) -> None:
    """Spread the light of bright lamps over their surroundings."""
    bright = np.clip(canvas.color - 1.0, 0, 1)
    canvas.color += (
        cv2.GaussianBlur(bright, (0, 0), 9) * 1.6 + cv2.GaussianBlur(bright, (0, 0), 3) * 0.6
    )
