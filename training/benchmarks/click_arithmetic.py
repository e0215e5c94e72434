"""Time the computations of a click, compare each with a plain method, and print JSON.

Both methods run in turn in one process, so that other load slows them alike.  The ratio is the
median over the rounds.  The benchmark needs neither torch nor a trained model::

    python -m benchmarks.click_arithmetic --rounds 7
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from owlabel.arrays import embedding_grid
from owlabel.novel import click_regions
from owlabel.novel import prototypes as fewshot
from owlabel.novel.prototypes import NovelPrototype
from owlabel.ood import candidates

Shape = tuple[int, int]
SIZES: tuple[Shape, ...] = ((360, 480), (1024, 2048))
NOVEL = 200


@dataclass(frozen=True)
class Scene:
    """A synthetic embedding: smoothed patches of known classes, unknown ellipses, and noise.

    Attributes
    ----------
    embedding : ndarray of float32, shape (N, h, w)
    shape : tuple of int
        (H, W) of the image, four times the grid.
    objects : ndarray of bool, shape (H, W)
        The unknown objects.
    click : tuple of int
        A pixel in one of the objects.
    """

    embedding: NDArray[np.float32]
    shape: Shape
    objects: NDArray[np.bool_]
    click: tuple[int, int]


def make_scene(shape: Shape, classes: int, seed: int = 0) -> Scene:
    """Return a scene of (H, W) pixels with a grid of stride 4."""
    rng = np.random.default_rng(seed)
    h, w = shape[0] // 4, shape[1] // 4
    row, col = np.mgrid[:h, :w]
    sites, owner = rng.uniform(size=(60, 2)) * [h, w], rng.integers(0, classes, 60)
    away = 2 * (row[..., None] - sites[:, 0]) ** 2 + (col[..., None] - sites[:, 1]) ** 2
    known = owner[away.argmin(axis=-1)]  # (h, w)
    embedding = 3.0 * (known == np.arange(classes)[:, None, None])
    objects = np.zeros((h, w), bool)
    for center in rng.uniform(0.2, 0.8, (3, 2)) * [h, w]:
        objects |= ((row - center[0]) / (0.07 * h)) ** 2 + ((col - center[1]) / (0.06 * w)) ** 2 < 1
    embedding[:, objects] = rng.uniform(0.2, 1.0, (classes, 1))
    noise = rng.normal(size=embedding.shape)
    smooth = [cv2.GaussianBlur(f, (0, 0), 1.0) for f in embedding]
    grain = [0.75 * cv2.GaussianBlur(f, (0, 0), 1.5) for f in noise]
    click = np.argwhere(objects)[objects.sum() // 2] * 4 + 2
    full = np.kron(objects, np.ones((4, 4), bool))
    field = (np.stack(smooth) + np.stack(grain)).astype(np.float32)
    return Scene(field, shape, full, (int(click[0]), int(click[1])))


def compare(ours: Callable[[], Any], plain: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Run both in turns; return median wall and processor milliseconds and their ratio."""
    ours(), plain()
    times = np.array([[_timed(ours), _timed(plain)] for _ in range(rounds)])  # (rounds, 2, 2)
    wall, cpu = np.median(times, axis=0).T
    ratio = np.median(times[:, 1] / times[:, 0], axis=0)
    return {
        "ms": round(float(wall[0]), 2),
        "cpu_ms": round(float(cpu[0]), 2),
        "plain_ms": round(float(wall[1]), 2),
        "plain_cpu_ms": round(float(cpu[1]), 2),
        "ratio": round(float(ratio[0]), 1),
        "cpu_ratio": round(float(ratio[1]), 1),
    }


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def bench_argmax(scene: Scene, rounds: int) -> dict[str, float]:
    """Measure the class map; the plain method enlarges every channel, then takes the argmax."""
    return compare(
        lambda: embedding_grid.argmax_upsampled(scene.embedding, scene.shape),
        lambda: embedding_grid.upsample(scene.embedding, scene.shape).argmax(axis=0),
        rounds,
    )


def bench_claim(scene: Scene, rounds: int) -> dict[str, float]:
    """Measure NPM of one class; the plain method computes every distance at every pixel."""
    base = embedding_grid.argmax_upsampled(scene.embedding, scene.shape)
    vector = fewshot.image_mean(scene.embedding, scene.objects)
    prototype = NovelPrototype(NOVEL, vector, 1)
    return compare(
        lambda: fewshot.claim_novel(scene.embedding, base, [prototype]),
        lambda: plain_claim(scene.embedding, scene.shape, base, vector),
        rounds,
    )


def plain_claim(
    embedding: NDArray[Any], shape: Shape, base: NDArray[np.uint8], vector: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return the labels (H, W) of NPM by the plain method: every distance at every pixel."""
    full = embedding_grid.upsample(embedding, shape)
    old = np.full(shape, np.inf, np.float32)
    for prototype in fewshot.PROTOTYPE_LENGTH * np.eye(len(full), dtype=np.float32):
        np.minimum(old, np.square(full - prototype[:, None, None]).sum(axis=0), out=old)
    novel = np.square(full - vector.astype(np.float32)[:, None, None]).sum(axis=0)
    claimed = (novel < fewshot.LAMBDA_NOVEL) & (novel < old)
    return np.where(claimed, np.uint8(NOVEL), base)


def bench_image_mean(scene: Scene, rounds: int) -> dict[str, float]:
    """Measure the mean embedding of a shot; the plain method enlarges every channel first."""
    return compare(
        lambda: fewshot.image_mean(scene.embedding, scene.objects),
        lambda: embedding_grid.upsample(scene.embedding, scene.shape)[:, scene.objects].mean(
            axis=1
        ),
        rounds,
    )


def bench_propose(scene: Scene, rounds: int) -> dict[str, float]:
    """Measure the region of a click; the plain method floods all pixels up to a fixed distance."""
    return compare(
        lambda: click_regions.propose(scene.embedding, scene.shape, [scene.click]),
        lambda: _plain_flood(scene),
        rounds,
    )


def _plain_flood(scene: Scene, limit: float = 1.5) -> NDArray[np.bool_]:
    full = embedding_grid.upsample(scene.embedding, scene.shape)
    clicked = full[:, scene.click[0], scene.click[1]]
    near = np.square(full - clicked[:, None, None]).sum(axis=0) < limit
    components = cv2.connectedComponents(near.view(np.uint8), connectivity=4)[1]
    return np.asarray(components == components[scene.click])


def bench_candidates(scene: Scene, rounds: int) -> dict[str, float]:
    """Measure the candidates on the grid; the plain method uses scipy.ndimage."""
    base = scene.embedding.argmax(axis=0).astype(np.uint8)
    distances = np.square(scene.embedding).sum(axis=0)
    score = np.clip(1.5 - distances / 6, 0, 1).astype(np.float32)
    return compare(
        lambda: candidates.find(score, base, scene.shape),
        lambda: _plain_candidates(score, base),
        rounds,
    )


def _plain_candidates(score: NDArray[np.float32], base: NDArray[np.uint8]) -> list[Any]:
    labels, count = ndimage.label(score > 0.5, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    mean = ndimage.mean(score, labels, numbers)
    peaks = ndimage.maximum_position(score, labels, numbers)
    boxes = ndimage.find_objects(labels)
    likely = [np.bincount(base[labels == number]).argmax() for number in numbers]
    return [mean, peaks, boxes, likely]


BENCHES: dict[str, Callable[[Scene, int], dict[str, float]]] = {
    "argmax_upsampled": bench_argmax,
    "claim_novel": bench_claim,
    "image_mean": bench_image_mean,
    "propose": bench_propose,
    "candidates": bench_candidates,
}


def main() -> None:
    """Parse the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--only", choices=sorted(BENCHES), nargs="*", default=sorted(BENCHES))
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    results: dict[str, Any] = {"load": os.getloadavg()[0], "classes": chosen.classes}
    for shape in SIZES:
        scene = make_scene(shape, chosen.classes)
        results[f"{shape[1]}x{shape[0]}"] = {
            name: BENCHES[name](scene, chosen.rounds) for name in chosen.only
        }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
