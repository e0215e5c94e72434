"""Trees, hedges and hills."""

from __future__ import annotations

import cv2
import numpy as np

from owlabel_samples.camera import Camera
from owlabel_samples.canvas import Canvas, Sprite
from owlabel_samples.kinds import VEGETATION
from owlabel_samples.textures import Float, Rng, noise, pick, rgb

GREENS = [
    (0.20, 0.36, 0.12),
    (0.30, 0.44, 0.15),
    (0.14, 0.30, 0.14),
    (0.36, 0.42, 0.16),
    (0.24, 0.38, 0.22),
]


def leaves(rng: Rng, shape: tuple[int, int], color: Float) -> Float:
    """Return foliage, (H, W, 3), with clumps, leaves and light from above."""
    clumps = noise(rng, shape, (shape[0] / 7, shape[1] / 7), 3)
    fine = noise(rng, shape, (6, 6), 3, 0.9)
    light = np.linspace(1.25, 0.7, shape[0])[:, None]
    tone = np.clip((1 + 0.22 * clumps + 0.22 * fine) * light, 0.2, 2.0)
    return (color * tone[..., None]).astype(np.float32)


def tree(rng: Rng) -> Sprite:
    """Return a broad-leaved tree or a fir, 320 x 240 pixels."""
    height, width = 320, 240
    crown = np.zeros((height, width), np.uint8)
    if rng.random() < 0.25:
        _fir(crown, rng)
    else:
        _crown(crown, rng)
    rough = noise(rng, (height, width), (24, 24), 5, 0.75)
    solid = cv2.GaussianBlur(crown.astype(np.float32), (0, 0), 7)
    leafy = (solid + 0.14 * rough > 0.42) & (solid > 0.12)
    trunk = np.zeros((height, width), np.uint8)
    thick, foot = int(rng.integers(5, 10)), int(rng.integers(8, 13))
    corners = np.array(
        [[120 - thick, 150], [120 + thick, 150], [120 + foot, 319], [120 - foot, 319]]
    )
    cv2.fillPoly(trunk, [corners.astype(np.int32)], 1)
    bark = pick(rng, [(0.32, 0.26, 0.20), (0.42, 0.38, 0.34), (0.24, 0.2, 0.17)], 0.02)
    wood = bark * (1 + 0.2 * noise(rng, (height, width), (30, 3), 3))[..., None]
    color = pick(rng, [*GREENS, (0.52, 0.42, 0.12)] if rng.random() < 0.3 else GREENS, 0.025)
    picture = np.where(leafy[..., None], leaves(rng, (height, width), color), wood).astype(
        np.float32
    )
    cover = (leafy | (trunk > 0)).astype(np.float32)
    return Sprite(picture, cover, cover)


def _crown(crown: np.ndarray, rng: Rng) -> None:
    """Draw a round crown from many balls."""
    wide, high = rng.uniform(45, 85), rng.uniform(50, 85)
    for _ in range(30):
        angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        centre = (120 + wide * far * np.cos(angle), 110 + high * far * np.sin(angle))
        cv2.circle(crown, (round(centre[0]), round(centre[1])), int(rng.integers(14, 32)), 1, -1)


def _fir(crown: np.ndarray, rng: Rng) -> None:
    """Draw a fir from stacked triangles."""
    wide = rng.uniform(40, 75)
    for step in range(6):
        top, low = 8 + step * 42, 80 + step * 42
        half = wide * (step + 2) / 7
        corners = np.array([[120, top], [120 + half, low], [120 - half, low]], np.int32)
        cv2.fillPoly(crown, [corners], 1)


def hedge(canvas: Canvas, camera: Camera, x: float, along: tuple[float, float], rng: Rng) -> None:
    """Paint a hedge along the street."""
    start, end = max(along[0], 1.3), along[1]
    high = rng.uniform(0.8, 1.8)
    corners = np.array([[x, high, start], [x, high, end], [x, 0, end], [x, 0, start]])
    texture = leaves(rng, (60, round((end - start) * 14) + 8), pick(rng, GREENS, 0.02))
    canvas.quad(camera.project(corners), texture, VEGETATION, (start, end))


def hills(canvas: Canvas, camera: Camera, rng: Rng) -> None:
    """Paint wooded hills along the horizon."""
    height, width = canvas.shape
    line = camera.horizon - 14 - 12 * noise(rng, (1, width), (2, width / 4), 4)[0]
    rows = np.arange(height)[:, None]
    mask = (rows > line) & (rows < camera.horizon + 10)
    color = leaves(rng, canvas.shape, pick(rng, GREENS, 0.02)) * 0.8 + rgb(0.05, 0.07, 0.1)
    canvas.put(mask, color.astype(np.float32), VEGETATION, 180.0)
