"""Pedestrians."""

from __future__ import annotations

import cv2
import numpy as np

from owlabel_samples.canvas import Sprite
from owlabel_samples.textures import Float, Rng, noise, pick, rgb

SKINS = [(0.92, 0.72, 0.6), (0.75, 0.53, 0.4), (0.5, 0.33, 0.24), (0.34, 0.22, 0.17)]
CLOTHES = [
    (0.12, 0.13, 0.2),
    (0.5, 0.1, 0.12),
    (0.2, 0.3, 0.5),
    (0.75, 0.73, 0.7),
    (0.25, 0.25, 0.25),
    (0.2, 0.35, 0.2),
    (0.55, 0.45, 0.3),
    (0.8, 0.55, 0.15),
    (0.4, 0.2, 0.4),
    (0.7, 0.4, 0.45),
]
HEIGHT, WIDTH = 256, 128


def person(rng: Rng) -> Sprite:
    """Return a standing or walking person, 256 x 128 pixels."""
    color = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    skin, hair = (
        pick(rng, SKINS, 0.02),
        pick(rng, [(0.1, 0.08, 0.06), (0.4, 0.27, 0.14), (0.6, 0.58, 0.55)], 0.03),
    )
    coat, legs = pick(rng, CLOTHES, 0.04), pick(rng, CLOTHES[:5], 0.04) * 0.85
    stride, swing = rng.uniform(2, 26), rng.uniform(-16, 16)
    stout = rng.uniform(0.85, 1.2)

    def fill(points: list[tuple[float, float]], tone: Float) -> None:
        corners = [np.round(np.array(points) * 8).astype(np.int32)]
        for layer, value in ((color, tone.tolist()), (mask, 1.0)):
            cv2.fillPoly(layer, corners, value, lineType=cv2.LINE_AA, shift=3)

    def limb(
        start: tuple[float, float], end: tuple[float, float], thick: float, tone: Float
    ) -> None:
        for layer, value in ((color, tone.tolist()), (mask, 1.0)):
            cv2.line(layer, _whole(start), _whole(end), value, round(thick), cv2.LINE_AA)

    for side, shade in ((-1, 0.75), (1, 1.0)):
        knee = (64 + side * stride * 0.6, 194)
        limb((64 + side * 5 * stout, 138), knee, 17 * stout, legs * shade)
        limb(knee, (64 + side * stride, 244), 14 * stout, legs * shade)
        limb((64 + side * stride, 249), (72 + side * stride, 249), 9, rgb(0.08, 0.07, 0.07))
    limb((52, 66), (44 - swing, 128), 12 * stout, coat * 0.75)
    fill(
        [
            (64 - 19 * stout, 56),
            (64 + 19 * stout, 56),
            (64 + 17 * stout, 148),
            (64 - 17 * stout, 148),
        ],
        coat,
    )
    limb((76, 66), (84 + swing, 128), 12 * stout, coat * 0.92)
    limb((84 + swing, 130), (84 + swing, 136), 9, skin)
    if rng.random() < 0.35:  # a bag
        bag = pick(rng, CLOTHES, 0.05)
        fill([(80, 104), (100, 104), (102, 140), (78, 140)], bag)
    limb((64, 50), (64, 44), 13, skin * 0.9)
    cv2.ellipse(color, (64, 30), (13, 17), 0, 0, 360, skin.tolist(), -1, cv2.LINE_AA)
    cv2.ellipse(mask, (64, 30), (13, 17), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    long_hair = 40 if rng.random() < 0.4 else 24
    fill(
        [(50, 28), (52, 14), (64, 9), (76, 14), (78, 28), (74, 24), (54, 24), (51, long_hair)], hair
    )
    light = np.linspace(1.15, 0.8, WIDTH)[None, :, None] if rng.random() < 0.5 else 1.0
    folds = 1 + 0.1 * noise(rng, (HEIGHT, WIDTH), (14, 9), 3)[..., None]
    cover = np.clip(mask, 0, 1)
    return Sprite((color * folds * light).astype(np.float32), cover, cover)


def _whole(point: tuple[float, float]) -> tuple[int, int]:
    """Round a point."""
    return round(point[0]), round(point[1])
