"""Light, weather, and what a cheap camera makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from owlabel_samples.canvas import Canvas
from owlabel_samples.textures import Float, Rng, noise, rgb


@dataclass(frozen=True)
class Look:
    """Light and air of one scene.

    Attributes
    ----------
    name : str
        clear, overcast, golden, dusk, fog or rain.
    light : array, shape (3,)
        Colour and strength of the light.
    zenith, low : array, shape (3,)
        Colours of the sky above and near the horizon.
    cloud : float
        Share of clouds, 0 .. 1.
    fog : float
        Part of the light lost per metre.
    shadow : float
        Depth of cast shadows, 0 .. 1.
    sun_side : int
        -1 where the sun stands left, 1 right.
    lamps : float
        How many windows and lamps are lit, 0 .. 1.
    """

    name: str
    light: Float
    zenith: Float
    low: Float
    cloud: float
    fog: float
    shadow: float
    sun_side: int
    lamps: float

    @classmethod
    def random(cls, rng: Rng) -> Look:
        """Draw the weather."""
        names = ["clear", "overcast", "golden", "dusk", "fog", "rain"]
        name = str(rng.choice(names, p=[0.32, 0.2, 0.14, 0.12, 0.1, 0.12]))
        light, zenith, low, fog, shadow, lamps = _LOOKS[name]
        jitter = rng.uniform(0.95, 1.05, 3).astype(np.float32)
        return cls(
            name,
            rgb(*light)
            * float(rng.uniform(0.88, 1.1))
            * rng.uniform(0.96, 1.04, 3).astype(np.float32),
            rgb(*zenith) * jitter,
            rgb(*low) * jitter,
            cloud=float(rng.uniform(0.1, 0.9)),
            fog=fog * float(rng.uniform(0.6, 1.5)),
            shadow=shadow * float(rng.uniform(0.7, 1.1)),
            sun_side=-1 if rng.random() < 0.5 else 1,
            lamps=lamps,
        )


Row = tuple[
    tuple[float, float, float],
    tuple[float, float, float],
    tuple[float, float, float],
    float,
    float,
    float,
]
_LOOKS: dict[str, Row] = {
    "clear": ((1.08, 1.06, 1.0), (0.25, 0.48, 0.82), (0.70, 0.82, 0.93), 0.0012, 0.5, 0.0),
    "overcast": ((0.84, 0.86, 0.9), (0.66, 0.69, 0.73), (0.80, 0.82, 0.84), 0.003, 0.0, 0.05),
    "golden": ((1.12, 0.93, 0.72), (0.38, 0.52, 0.74), (0.96, 0.80, 0.58), 0.003, 0.55, 0.15),
    "dusk": ((0.44, 0.45, 0.58), (0.16, 0.20, 0.38), (0.55, 0.42, 0.45), 0.003, 0.0, 0.5),
    "fog": ((0.84, 0.85, 0.86), (0.74, 0.76, 0.77), (0.80, 0.81, 0.81), 0.022, 0.0, 0.1),
    "rain": ((0.62, 0.66, 0.72), (0.45, 0.49, 0.54), (0.62, 0.65, 0.68), 0.009, 0.0, 0.25),
}


def paint_sky(canvas: Canvas, horizon: float, look: Look, rng: Rng) -> None:
    """Fill the whole canvas with sky; the street comes over it."""
    height, width = canvas.shape
    share = np.clip(np.arange(height) / max(horizon, 1), 0, 1)[:, None, None] ** 1.4
    sky = look.zenith + share * (look.low - look.zenith)  # (H, 1, 3)
    clouds = noise(rng, canvas.shape, (height / 7, width / 3), 6, 0.55)
    cover = np.clip((clouds + 2.4 * look.cloud - 1.2) / 1.5, 0, 1)[..., None]
    white = look.low * 0.55 + 0.45 * rgb(1, 1, 1) * float(look.light.mean())
    shade = white * (0.92 + 0.08 * noise(rng, canvas.shape, (40, 90), 4))[..., None]
    sky = sky + 0.8 * cover * (shade - sky)
    if look.name in ("golden", "clear") and rng.random() < 0.6:
        centre = (horizon * rng.uniform(0.1, 0.9), width * rng.uniform(0, 1))
        rows, columns = np.mgrid[:height, :width]
        away = np.hypot(rows - centre[0], columns - centre[1]) / width
        sky = sky + (0.5 * np.exp(-((away / 0.12) ** 2)))[..., None] * rgb(1, 0.92, 0.7)
    canvas.color[:] = np.clip(sky, 0, 1.3)


def light_up(canvas: Canvas, sky: int, look: Look) -> None:
    """Colour everything but the sky by the light."""
    ground = canvas.labels != sky
    canvas.color[ground] *= look.light


def add_air(canvas: Canvas, look: Look, rng: Rng) -> None:
    """Let fog or haze swallow what is far, and rain fall."""
    seen = np.exp(-look.fog * np.minimum(canvas.depth, 400))
    if look.name == "fog":
        seen *= 1 - 0.06 * np.abs(noise(rng, canvas.shape, (80, 160), 3))
    air = look.low * 0.97
    canvas.color[:] = air + seen[..., None].clip(0, 1) * (canvas.color - air)
    if look.name == "rain":
        _rain(canvas, rng)


def _rain(canvas: Canvas, rng: Rng) -> None:
    """Draw drops as thin slanted streaks, and a wet sheen on what lies flat."""
    height, width = canvas.shape
    drops = np.zeros(canvas.shape, np.float32)
    slant = rng.uniform(-0.3, 0.3)
    for _ in range(int(rng.integers(150, 420))):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        long = rng.uniform(6, 26)
        end = (round(column + slant * long), round(row + long))
        cv2.line(
            drops, (round(column), round(row)), end, float(rng.uniform(0.15, 0.5)), 1, cv2.LINE_AA
        )
    canvas.color += (drops * 0.35)[..., None] * (0.85 - canvas.color)
    mirrored = cv2.GaussianBlur(canvas.color[::-1], (0, 0), sigmaX=3, sigmaY=14)
    flat = np.isin(canvas.labels, (0, 1)).astype(np.float32)[..., None]
    canvas.color += flat * 0.16 * (mirrored - canvas.color)


def photograph(color: Float, size: tuple[int, int], rng: Rng) -> np.ndarray:
    """Return the uint8 picture (H, W, 3) that a small camera takes of `color`."""
    blur = abs(float(rng.normal(0, 0.75))) + 0.3
    picture = cv2.GaussianBlur(color, (0, 0), blur)
    if rng.random() < 0.15:
        length = int(rng.integers(3, 7))
        picture = cv2.blur(picture, (length, 1))
    height, width = size
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture *= (1 - rng.uniform(0, 0.18) * (rows**2 + columns**2) / 2)[..., None]
    picture = (np.clip(picture * rng.uniform(0.86, 1.14), 0, 1.1) ** rng.uniform(0.85, 1.2)) * (
        rng.uniform(0.96, 1.04, 3)
    )
    coarse = noise(rng, size, (2, 2), 1)[..., None] * 0.4 + rng.standard_normal((height, width, 3))
    picture = picture + rng.uniform(0.003, 0.022) * coarse
    return np.asarray(np.round(np.clip(picture, 0, 1) * 255), np.uint8)
