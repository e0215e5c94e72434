"""Generate street scenes from a seed: image, class of every pixel, and countable objects."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel_samples import nature, people, strange, traffic
from owlabel_samples.buildings import paint_houses
from owlabel_samples.camera import Camera
from owlabel_samples.canvas import Canvas, Sprite
from owlabel_samples.ground import Street, paint_ground
from owlabel_samples.kinds import PERSON, SKY, VEGETATION
from owlabel_samples.textures import Rng
from owlabel_samples.weather import Look, add_air, light_up, paint_sky, photograph

FINENESS = 2
"""The canvas is this many times larger than the image."""


@dataclass(frozen=True)
class Scene:
    """One image with its true labels.

    Attributes
    ----------
    image : array, shape (H, W, 3)
        uint8 RGB.
    labels : array, shape (H, W)
        uint8 class ids of `owlabel_samples.kinds`; strange objects have ids from 10 on.
    instances : array, shape (H, W)
        uint16 instance numbers; 0 where there is no countable object.
    weather : str
        Name of the weather.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    weather: str


@dataclass(frozen=True)
class _Thing:
    """An object to paint, with its depth."""

    depth: float
    kind: str
    x: float
    number: int = 0


def generate(
    seed: int,
    size: tuple[int, int] = (240, 320),
    ood: bool = False,
    kinds: tuple[int, ...] | None = None,
) -> Scene:
    """Return the street scene for a seed.

    Parameters
    ----------
    seed : int
        At least 0; the same seed always gives the same scene.
    size : tuple of int
        Height and width, each at least 32.
    ood : bool
        Add strange objects, which no training image shows.
    kinds : tuple of int, optional
        Class ids of the strange kinds; by default one to three random kinds.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If the seed is negative or the size too small.
    """
    if seed < 0 or min(size) < 32:
        raise ValueError(
            f"seed must be at least 0 and size at least 32 x 32, got {seed} and {size}"
        )
    rng = np.random.default_rng(seed)
    height, width = size[0] * FINENESS, size[1] * FINENESS
    look, street = Look.random(rng), Street.random(rng)
    camera = Camera.random(rng, height, width)
    canvas = Canvas.blank(height, width)
    canvas.labels[:] = SKY
    paint_sky(canvas, camera.horizon, look, rng)
    nature.hills(canvas, camera, rng)
    paint_ground(canvas, camera, street, look, rng)
    paint_houses(canvas, camera, street, look, rng)
    things = _plan(street, camera, rng)
    if ood:
        things += _strange_things(camera, things, kinds, rng)
    for thing in sorted(things, key=lambda t: -t.depth):
        _paint(canvas, camera, look, thing, rng)
    light_up(canvas, SKY, look)
    traffic.glare(canvas)
    add_air(canvas, look, rng)
    _roll(canvas, rng)
    image = photograph(canvas.color, size, rng)
    half = FINENESS // 2
    labels = canvas.labels[half::FINENESS, half::FINENESS].copy()
    return Scene(image, labels, canvas.instances[half::FINENESS, half::FINENESS].copy(), look.name)


def _plan(street: Street, camera: Camera, rng: Rng) -> list[_Thing]:
    """Return random objects in the street with their positions."""
    things: list[_Thing] = []
    edge = street.half + street.pavement
    for side, park in ((-1, street.park[0]), (1, street.park[1])):
        things += _trees(side, edge, park, rng)
        if rng.random() < 0.75:
            step, first = rng.uniform(9, 18), rng.uniform(4, 14)
            things += [
                _Thing(z, "lamp", side * (street.half + 0.4)) for z in np.arange(first, 48, step)
            ]
        for _ in range(rng.integers(0, 4)):
            kind = "sign" if rng.random() < 0.72 else "light"
            things.append(
                _Thing(rng.uniform(4.5, 18), kind, side * (street.half + rng.uniform(0.3, 0.7)))
            )
        for _ in range(rng.integers(0, 5)):
            away = side * (street.half + rng.uniform(0.3, max(street.pavement - 0.2, 0.6)))
            things.append(_Thing(rng.uniform(3.6, 17), "person", away))
    for _ in range(rng.integers(0, 3)):
        things.append(
            _Thing(rng.uniform(4.5, 18), "person", rng.uniform(-street.half, street.half))
        )
    return things + _cars(street, camera, rng)


def _trees(side: int, edge: float, park: bool, rng: Rng) -> list[_Thing]:
    """Return random trees and hedges of one side."""
    if park:
        away = edge + rng.uniform(1, 14, int(rng.integers(8, 18)))
        things = [_Thing(rng.uniform(7, 75), "tree", side * x) for x in away]
        if rng.random() < 0.6:
            things.append(_Thing(60.0, "hedge", side * (edge + rng.uniform(0.2, 1.0))))
        return things
    if rng.random() < 0.5:
        return []
    step = rng.uniform(8, 20)
    places = np.arange(rng.uniform(6, 20), 70, step)
    return [_Thing(float(z), "tree", side * (edge - rng.uniform(0.3, 0.8))) for z in places]


def _cars(street: Street, camera: Camera, rng: Rng) -> list[_Thing]:
    """Return random parked and driving cars that overlap neither each other nor the camera."""
    things: list[_Thing] = []
    for side in (-1, 1):
        z = float(rng.uniform(3.5, 14))
        parked = rng.random() < 0.6
        while z < 45:
            if rng.random() < (0.6 if parked else 0.0):
                things.append(_Thing(z, "car", side * (street.half - 1.0), int(rng.random() < 0.5)))
            z += rng.uniform(5.4, 8)
        lane = side * max(street.half / 2 - (0.6 if parked else 0), 1.0)
        z = float(rng.uniform(6, 30))
        while z < 45:
            if rng.random() < 0.45 and not parked:
                things.append(_Thing(z, "car", lane, int(side < 0)))
            z += rng.uniform(8, 20)
    return things


def _strange_things(
    camera: Camera, things: list[_Thing], kinds: tuple[int, ...] | None, rng: Rng
) -> list[_Thing]:
    """Place strange objects in view, and remove objects that would hide them."""
    if kinds is None:
        kinds = tuple(rng.choice(list(strange.KINDS), int(rng.integers(1, 4)), replace=False))
    places: list[_Thing] = []
    slots = rng.permutation(max(len(kinds), 2))
    for kind, slot in zip(kinds, slots, strict=False):
        z = float(rng.uniform(4.2, 7.6))
        column = camera.width * (0.14 + 0.72 * (slot + rng.uniform(0.15, 0.85)) / slots.size)
        x = (column - camera.centre) * z / camera.focal + camera.offset - camera.bend * z**2
        places.append(_Thing(z, "strange", float(x), int(kind)))
    for place in places:
        sight = place.x / place.depth
        for thing in list(things):
            ahead = thing.depth < place.depth + 5 and abs(thing.x / thing.depth - sight) < 0.4
            if ahead and thing.kind in ("car", "person", "tree"):
                things.remove(thing)
    return places


def _paint(canvas: Canvas, camera: Camera, look: Look, thing: _Thing, rng: Rng) -> None:
    """Paint one object."""
    place = (thing.x, thing.depth)
    if thing.kind == "tree":
        _stand(canvas, camera, nature.tree(rng), thing, rng.uniform(4.5, 10))
    elif thing.kind == "hedge":
        nature.hedge(canvas, camera, thing.x, (1.0, 60.0), rng)
    elif thing.kind == "lamp":
        traffic.lamp_post(canvas, camera, place, look, rng)
    elif thing.kind == "sign":
        traffic.sign(canvas, camera, place, rng)
    elif thing.kind == "light":
        traffic.traffic_light(canvas, camera, place, rng)
    elif thing.kind == "car":
        traffic.car(canvas, camera, place, bool(thing.number), look, rng)
    elif thing.kind == "person":
        tall = rng.uniform(1.1, 1.4) if rng.random() < 0.12 else rng.uniform(1.6, 1.92)
        _stand(canvas, camera, people.person(rng), thing, tall)
    else:
        draw, tall = strange.KINDS[thing.number]
        _stand(canvas, camera, draw(rng), thing, tall * rng.uniform(0.9, 1.15))


def _stand(canvas: Canvas, camera: Camera, sprite: Sprite, thing: _Thing, metres: float) -> None:
    """Place a sprite `metres` tall on the ground, with its shadow."""
    label = {"tree": VEGETATION, "person": PERSON}.get(thing.kind, thing.number)
    foot, height = camera.foot(thing.x, thing.depth), camera.pixels(metres, thing.depth)
    rows, columns = sprite.alpha.shape
    wide = height * columns / rows
    canvas.darken(foot, (wide * 0.5, max(wide * 0.1, 1.5)), 0.5)
    canvas.stand(sprite, foot, height, label, thing.depth)


def _roll(canvas: Canvas, rng: Rng) -> None:
    """Rotate the finished image slightly, because a real camera is never exactly level."""
    height, width = canvas.shape
    angle = float(rng.normal(0, 1.1))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.06)
    size = (width, height)
    canvas.color[:] = cv2.warpAffine(canvas.color, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    for layer in (canvas.labels, canvas.instances):
        layer[:] = cv2.warpAffine(
            layer, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
