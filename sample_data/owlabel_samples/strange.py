"""The four kinds of objects that no training image holds: deer, hay bale, sofa, trolley."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from owlabel_samples.canvas import Sprite
from owlabel_samples.kinds import BALE, DEER, SOFA, TROLLEY
from owlabel_samples.textures import Float, Rng, noise, pick, rgb

Points = Sequence[tuple[float, float]]


def _area(shape: tuple[int, int], points: Points) -> Float:
    """Return the smooth cover of a closed outline, (H, W)."""
    layer = np.zeros(shape, np.float32)
    cv2.fillPoly(
        layer, [np.round(np.array(points) * 8).astype(np.int32)], 1.0, cv2.LINE_AA, shift=3
    )
    return layer


def _stroke(layer: Float, points: Points, thick: int, value: float = 1.0) -> None:
    """Draw an open line into `layer` (H, W)."""
    corners = [np.round(np.array(points)).astype(np.int32)]
    cv2.polylines(layer, corners, False, value, thick, cv2.LINE_AA)


def _oval(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float], turn: float = 0
) -> Float:
    """Return the cover of an ellipse, (H, W)."""
    layer = np.zeros(shape, np.float32)
    middle, half = (round(centre[0]), round(centre[1])), (round(radii[0]), round(radii[1]))
    cv2.ellipse(layer, middle, half, turn, 0, 360, 1.0, -1, cv2.LINE_AA)
    return layer


def deer(rng: Rng) -> Sprite:
    """Return a spotted deer from the side, 288 x 288 pixels."""
    shape = (288, 288)
    fur = pick(rng, [(0.66, 0.36, 0.14), (0.58, 0.33, 0.15), (0.72, 0.43, 0.18)], 0.02)
    body = np.maximum(_oval(shape, (138, 158), (72, 34), 4), _oval(shape, (190, 146), (32, 36)))
    body = np.maximum(body, _oval(shape, (86, 158), (34, 36)))
    neck = _area(shape, [(182, 132), (216, 74), (236, 86), (218, 160)])
    head = np.maximum(_oval(shape, (238, 74), (29, 13), 24), _oval(shape, (225, 68), (15, 15)))
    ears = np.maximum(_oval(shape, (206, 54), (16, 7), 30), _oval(shape, (232, 50), (14, 6), -60))
    legs = np.zeros(shape, np.float32)
    step = rng.uniform(-10, 10)
    for hip, sway in ((74, -step), (92, step), (182, step), (202, -step)):
        _stroke(legs, [(hip, 172), (hip + sway * 0.3 - 3, 222), (hip + sway, 282)], 11)
    antlers = np.zeros(shape, np.float32)
    if rng.random() < 0.75:
        for lean in (-20, 16):
            tip = (222 + lean * 1.9, 8)
            _stroke(antlers, [(222 + lean * 0.3, 58), (222 + lean * 1.3, 34), tip], 5)
            _stroke(antlers, [(222 + lean * 0.8, 46), (222 + lean * 0.8 + 16, 28)], 4)
            _stroke(antlers, [(222 + lean * 1.4, 30), (222 + lean * 1.4 + 14, 12)], 4)
    tail = _oval(shape, (52, 140), (9, 17), 20)
    hide = np.max([body, neck, head, ears, tail], axis=0)
    hair = noise(rng, shape, (5, 16), 3, 0.8)
    light = np.linspace(1.3, 0.75, 288)[:, None]
    color = fur * (light * (1 + 0.14 * hair))[..., None]
    belly = np.clip(_oval(shape, (138, 190), (58, 14)) + _oval(shape, (52, 146), (6, 11)), 0, 1)
    color = color + 0.75 * cv2.GaussianBlur(belly, (0, 0), 3)[..., None] * (
        rgb(0.9, 0.82, 0.7) - color
    )
    spots = np.zeros(shape, np.float32)
    for _ in range(46):
        place = (round(rng.uniform(70, 205)), round(rng.uniform(128, 172)))
        cv2.circle(spots, place, int(rng.integers(3, 6)), 1.0, -1, cv2.LINE_AA)
    color = color + 0.85 * (spots * hide)[..., None] * (rgb(0.95, 0.9, 0.8) - color)
    color = np.where(
        legs[..., None] > hide[..., None], fur * 0.62 * (1 + 0.1 * hair[..., None]), color
    )
    color = np.where(antlers[..., None] > hide[..., None], rgb(0.80, 0.70, 0.52), color)
    color[_oval(shape, (262, 84), (7, 6)) > 0.3] = 0.05
    color[_oval(shape, (232, 66), (4, 4)) > 0.3] = 0.03
    cover = np.max([hide, legs, antlers], axis=0)
    return _maybe_flipped(Sprite(color.astype(np.float32), cover, cover), rng)


def bale(rng: Rng) -> Sprite:
    """Return a round hay bale that shows its coiled end, 224 x 288 pixels."""
    shape = (224, 288)
    straw = pick(rng, [(0.86, 0.70, 0.30), (0.80, 0.66, 0.32), (0.90, 0.76, 0.38)], 0.02)
    far = _oval(shape, (190, 112), (70, 108))
    side = np.maximum(np.maximum(far, 0), _area(shape, [(96, 4), (190, 4), (190, 220), (96, 220)]))
    end = _oval(shape, (96, 112), (76, 109))
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    radius = np.hypot((columns - 96) / 76, (rows - 112) / 109)
    angle = np.arctan2(rows - 112, columns - 96)
    wobble = 0.03 * noise(rng, shape, (40, 40), 3)
    coil = np.sin(2 * np.pi * (radius + wobble) * 7 + angle)
    wisps = noise(rng, shape, (3, 12), 3, 0.9)
    face = straw * (0.92 + 0.24 * coil + 0.15 * noise(rng, shape, (4, 4), 2))[..., None]
    wrap = straw * ((1.12 - 0.5 * np.abs(rows / 224 - 0.35)) * (1 + 0.24 * wisps))[..., None]
    bands = (np.mod(columns, 26) < 2).astype(np.float32)[..., None]
    wrap = wrap + 0.4 * bands * (rgb(0.35, 0.28, 0.12) - wrap)
    color = np.where(end[..., None] > 0.5, face, wrap)
    ragged = 0.12 * noise(rng, shape, (5, 5), 2)
    cover = np.clip(np.maximum(side, end) + np.where(np.maximum(side, end) < 1, ragged, 0), 0, 1)
    return _maybe_flipped(
        Sprite(color.astype(np.float32), cover, (cover > 0.5).astype(np.float32)), rng
    )


def sofa(rng: Rng) -> Sprite:
    """Return a chequered sofa from the front, 160 x 320 pixels."""
    shape = (160, 320)
    cloth = pick(rng, [(0.56, 0.16, 0.52), (0.50, 0.12, 0.46), (0.62, 0.22, 0.56)], 0.02)
    second = pick(rng, [(0.16, 0.62, 0.58), (0.85, 0.72, 0.35)], 0.03)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pitch = int(rng.integers(15, 22))
    stripes = 0.5 * ((rows % pitch) < pitch // 3) + 0.5 * ((columns % pitch) < pitch // 3)
    plaid = cloth + (stripes * 0.75)[..., None] * (second - cloth)
    plaid = plaid * (1 + 0.07 * noise(rng, shape, (30, 40), 5))[..., None]
    color, cover = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)

    def part(box: tuple[int, int, int, int], round_by: int, tone: float) -> None:
        row0, col0, row1, col1 = box
        inner = np.zeros(shape, np.float32)
        corner = (col0 + round_by, row0 + round_by), (col1 - round_by, row1 - round_by)
        cv2.rectangle(inner, corner[0], corner[1], 1.0, -1)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round_by + 1, 2 * round_by + 1))
        inner = np.asarray(cv2.dilate(inner, disc), np.float32)
        edge = inner - cv2.erode(inner, np.ones((5, 5), np.uint8))
        light = (np.linspace(1.15, 0.85, shape[0])[:, None] * tone * (1 - 0.45 * edge))[..., None]
        color[:] = np.where(inner[..., None] > 0, plaid * light, color)
        np.maximum(cover, inner, out=cover)

    for foot in (40, 280):
        color[140:158, foot - 6 : foot + 6] = rgb(0.25, 0.15, 0.08)
        cover[140:158, foot - 6 : foot + 6] = 1
    part((6, 34, 110, 162), 14, 0.95)
    part((6, 158, 110, 286), 14, 0.95)
    part((86, 40, 146, 280), 6, 0.72)
    part((76, 44, 112, 162), 11, 1.18)
    part((76, 158, 112, 276), 11, 1.18)
    part((52, 6, 148, 54), 18, 1.02)
    part((52, 266, 148, 314), 18, 1.02)
    return Sprite(color, cover, cover)


def trolley(rng: Rng) -> Sprite:
    """Return a wire shopping trolley, 240 x 240 pixels; one can see through it."""
    shape = (240, 240)
    wires = np.zeros(shape, np.float32)
    top, low = [(30, 66), (206, 46)], [(58, 160), (176, 160)]
    for share in np.linspace(0, 1, 13):
        start = _between(top, share)
        _stroke(wires, [start, _between(low, share)], 3)
    for share in np.linspace(0, 1, 8):
        left, right = _between([top[0], low[0]], share), _between([top[1], low[1]], share)
        _stroke(wires, [left, right], 3)
    for line in ([top[0], top[1]], [top[1], low[1]], [top[0], low[0]], [low[0], low[1]]):
        _stroke(wires, line, 6)
    for line in (
        [(206, 46), (228, 40)],
        [(176, 160), (196, 206), (44, 206)],
        [(70, 206), (62, 162)],
    ):
        _stroke(wires, line, 6)
    metal = rgb(0.78, 0.80, 0.84) * rng.uniform(0.9, 1.1)
    color = (
        np.broadcast_to(metal, (*shape, 3)) * (1 + 0.2 * noise(rng, shape, (6, 6), 2))[..., None]
    )
    hull = _area(shape, [(28, 64), (208, 44), (178, 162), (56, 162)])
    handle, wheels = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    _stroke(handle, [(214, 44), (234, 38)], 13)
    bumper = pick(rng, [(0.95, 0.35, 0.05), (0.98, 0.42, 0.10)], 0.02)
    for line in ([(28, 66), (208, 45)], [(44, 112), (192, 104)]):
        _stroke(handle, line, 10)
    for place in (60, 182):
        cv2.circle(wheels, (place, 222), 15, 1.0, -1, cv2.LINE_AA)
    color = np.where(handle[..., None] > 0.5, bumper, color)
    color = np.where(wheels[..., None] > 0.5, rgb(0.08, 0.08, 0.09), color)
    solid = np.max([wires, handle, wheels], axis=0)
    haze = np.clip(0.3 * hull, 0, 1)
    color = np.where(solid[..., None] > 0.3, color, metal * 0.85)
    mask = np.max([hull, solid], axis=0)
    return _maybe_flipped(Sprite(color.astype(np.float32), np.maximum(solid, haze), mask), rng)


def _between(ends: Points, share: float) -> tuple[float, float]:
    """Return the point that lies `share` of the way between two ends."""
    (x0, y0), (x1, y1) = ends
    return x0 + share * (x1 - x0), y0 + share * (y1 - y0)


def _maybe_flipped(sprite: Sprite, rng: Rng) -> Sprite:
    """Return the sprite or its mirror image."""
    if rng.random() < 0.5:
        return sprite
    layers = (sprite.color, sprite.alpha, sprite.mask)
    return Sprite(*(np.ascontiguousarray(layer[:, ::-1]) for layer in layers))


KINDS: dict[int, tuple[Callable[[Rng], Sprite], float]] = {
    DEER: (deer, 1.75),
    BALE: (bale, 1.45),
    SOFA: (sofa, 1.05),
    TROLLEY: (trolley, 1.2),
}
"""Class id to how it is drawn and how tall it is, in metres."""
