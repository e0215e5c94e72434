"""The ground: road, lane marks, pavement and grass, with shadows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel_samples.camera import Camera
from owlabel_samples.canvas import Canvas
from owlabel_samples.kinds import BUILDING, MARK, PAVEMENT, ROAD, VEGETATION
from owlabel_samples.textures import Float, Rng, noise, pick, rgb
from owlabel_samples.weather import Look


@dataclass(frozen=True)
class Street:
    """The plan of a street, in metres from the middle of the road.

    Attributes
    ----------
    half : float
        Half the width of the road.
    pavement : float
        Width of each pavement.
    park : tuple of bool
        Whether the left and the right side have grass and trees instead of houses.
    crossing : float
        Start of a zebra crossing in metres ahead; 0 for none.
    """

    half: float
    pavement: float
    park: tuple[bool, bool]
    crossing: float

    @classmethod
    def random(cls, rng: Rng) -> Street:
        """Return a random plan."""
        crossing = float(rng.uniform(7, 20)) if rng.random() < 0.35 else 0.0
        park = (bool(rng.random() < 0.28), bool(rng.random() < 0.28))
        return cls(float(rng.uniform(3.0, 5.2)), float(rng.uniform(1.6, 4.0)), park, crossing)


def paint_ground(canvas: Canvas, camera: Camera, street: Street, look: Look, rng: Rng) -> None:
    """Paint everything below the horizon."""
    x, z = camera.ground()
    seen = np.isfinite(z)
    grain = _grain(x, z, rng)
    _grass_or_yard(canvas, x, z, seen, street, grain, rng)
    _pavement(canvas, x, z, seen, street, grain, rng)
    road = seen & (np.abs(x) < street.half)
    canvas.put(road, _asphalt(x, z, street, grain, rng), ROAD, z)
    _marks(canvas, x, z, road, street, rng)
    _shadows(canvas, x, z, seen, street, look, rng)


def _grain(x: Float, z: Float, rng: Rng) -> Float:
    """Return noise on the ground, (H, W), that fades with distance."""
    tile = noise(rng, (512, 512), (64, 64), 7, 0.8)
    near = np.minimum(z, 300)
    columns = np.mod(x * 42, 511).astype(np.float32)
    rows = np.mod(near * 42, 511).astype(np.float32)
    fine = cv2.remap(tile, columns, rows, cv2.INTER_LINEAR)
    coarse = cv2.remap(
        tile,
        np.mod(x * 9, 511).astype(np.float32),
        np.mod(near * 5, 511).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    fading = np.clip(12 / near, 0, 1)
    return (fine * fading + 0.25 * coarse * np.clip(40 / near, 0, 1)).astype(np.float32)


def _asphalt(x: Float, z: Float, street: Street, grain: Float, rng: Rng) -> Float:
    """Return the colour of the road, (H, W, 3)."""
    base = pick(
        rng, [(0.30, 0.30, 0.32), (0.40, 0.39, 0.38), (0.24, 0.25, 0.28), (0.47, 0.46, 0.45)], 0.02
    )
    tone = 1 + rng.uniform(0.05, 0.13) * grain
    track = rng.uniform(-0.12, 0.1)
    for lane in (-street.half / 2, street.half / 2):
        for wheel in (-0.75, 0.75):
            tone += track * np.exp(-(((x - lane - wheel) / 0.28) ** 2))
    for _ in range(rng.integers(0, 5)):  # patches from road works
        left, ahead = rng.uniform(-street.half, street.half), rng.uniform(3, 30)
        wide, long = rng.uniform(0.5, 2.0), rng.uniform(0.8, 6)
        tone[(np.abs(x - left) < wide) & (np.abs(z - ahead) < long)] *= rng.uniform(0.75, 1.12)
    return (base * tone[..., None]).astype(np.float32)


def _marks(
    canvas: Canvas, x: Float, z: Float, road: NDArray[np.bool_], street: Street, rng: Rng
) -> None:
    """Paint the lane marks and the zebra crossing."""
    period, share = rng.uniform(5, 10), rng.uniform(0.35, 0.6)
    phase = rng.uniform(0, period)
    dash = np.mod(np.minimum(z, 200) + phase, period) < share * period
    solid = rng.random() < 0.25
    thick = rng.uniform(0.07, 0.13)
    mark = (np.abs(x) < thick) & (dash | solid)
    if rng.random() < 0.5:
        mark |= np.abs(np.abs(x) - street.half + 0.45) < thick * 0.8
    if street.crossing:
        along = (z > street.crossing) & (z < street.crossing + 3)
        mark = (mark & ~along) | (along & (np.mod(x + 0.2, 1.0) < 0.5))
    mark &= road & (z < 45)
    colors = [(0.88, 0.88, 0.86), (0.8, 0.8, 0.78), (0.93, 0.92, 0.9)]
    color = pick(rng, colors, 0.02)
    wear = np.clip(0.9 - 0.12 * np.abs(noise(rng, canvas.shape, (30, 30), 5)), 0.4, 1)[..., None]
    picture = canvas.color + wear * (color - canvas.color)
    canvas.put(mark, picture.astype(np.float32), MARK, z)


def _pavement(
    canvas: Canvas,
    x: Float,
    z: Float,
    seen: NDArray[np.bool_],
    street: Street,
    grain: Float,
    rng: Rng,
) -> None:
    """Paint pavement slabs and the kerb on both sides."""
    base = pick(
        rng, [(0.58, 0.56, 0.53), (0.66, 0.62, 0.55), (0.60, 0.48, 0.43), (0.5, 0.5, 0.52)], 0.03
    )
    slab = rng.uniform(0.45, 1.1)
    near = np.minimum(z, 300)
    row, column = np.floor(near / slab).astype(int), np.floor(x / slab).astype(int)
    tones = rng.normal(0, 0.05, (64, 64))[row % 64, column % 64]
    joint = (np.mod(near, slab) < 0.05) | (np.mod(x, slab) < 0.035)
    tone = 1 + tones * np.clip(20 / near, 0, 1) + 0.05 * grain - 0.2 * (joint & (near < 18))
    outside = np.abs(x) - street.half
    kerb = outside < 0.18
    color = np.where(kerb[..., None], base * 1.22, base * tone[..., None]).astype(np.float32)
    color[(outside < 0.05)] *= 0.6
    canvas.put(seen & (outside >= 0) & (outside < street.pavement), color, PAVEMENT, z)


def _grass_or_yard(
    canvas: Canvas,
    x: Float,
    z: Float,
    seen: NDArray[np.bool_],
    street: Street,
    grain: Float,
    rng: Rng,
) -> None:
    """Paint the ground beyond the pavements."""
    green = pick(rng, [(0.28, 0.42, 0.16), (0.36, 0.46, 0.2), (0.22, 0.36, 0.15)], 0.03)
    tufts = noise(rng, canvas.shape, (6, 10), 3)
    grass = (
        green
        * (1 + 0.16 * grain + 0.14 * tufts * np.clip(25 / np.minimum(z, 300), 0.2, 1))[..., None]
    )
    yard = rgb(0.45, 0.43, 0.41) * (1 + 0.08 * grain)[..., None]
    for side, park in ((-1, street.park[0]), (1, street.park[1])):
        here = seen & (np.sign(x) == side)
        picture = (grass if park else yard).astype(np.float32)
        canvas.put(here, picture, VEGETATION if park else BUILDING, z)
    far = seen & (z > 90)
    canvas.put(far, (green * 0.9).astype(np.float32), VEGETATION, z)


def _shadows(
    canvas: Canvas,
    x: Float,
    z: Float,
    seen: NDArray[np.bool_],
    street: Street,
    look: Look,
    rng: Rng,
) -> None:
    """Paint the shadows of houses and trees on the ground."""
    if look.shadow <= 0:
        return
    side = look.sun_side
    edge = street.half + street.pavement
    steps = rng.uniform(0, 1.3 * edge, 40)
    reach = steps[np.clip(np.minimum(z, 300) / 8, 0, 39).astype(int)]
    shaded = seen & (side * x > edge - reach)
    if street.park[0 if side < 0 else 1]:
        shaded &= noise(rng, canvas.shape, (14, 40), 4) > 0.1
    tint = rgb(1 - look.shadow, 1 - 0.94 * look.shadow, 1 - 0.85 * look.shadow)
    soft = cv2.GaussianBlur(shaded.astype(np.float32), (0, 0), 1.2)[..., None]
    canvas.color *= (1 + soft * (tint - 1)).astype(np.float32)
