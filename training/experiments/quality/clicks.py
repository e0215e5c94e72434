"""How well does one click, and do a few, give the object?  Simulated on folders with labels.

On CamVid the first click is its protocol's; elsewhere each connected part of a class that the model
does not know is clicked where it is deepest.  Each further click lies deepest in the largest error,
positive or negative as it must be.  Beside it, a plain flood: the connected pixels within a fixed
squared distance of the clicked embedding, its limit chosen for the best result on these very
clicks::

    python -m owlabel_samples.make --strange FOLDER --count 60 --seed 95001
    python -m experiments.quality.clicks CHECKPOINT FOLDER
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.arrays import embedding_grid
from owlabel.images import files as images
from owlabel.novel import click_regions
from owlabel.ood import registry as scores

Click = tuple[int, int]
Mask = NDArray[np.bool_]
LEAST_PIXELS = 120
LIMITS = tuple(float(x) for x in np.geomspace(0.1, 6, 12))


@dataclass(frozen=True)
class Case:
    """One clicked object of the support set.

    Attributes
    ----------
    class_name : str
    image : ndarray of uint8, shape (H, W, 3)
    embedding : ndarray of float32, shape (N, h, w)
    target : ndarray of bool, shape (H, W)
        The 8-connected component that the click lies in.
    click : tuple of int
    """

    class_name: str
    image: NDArray[np.uint8]
    embedding: NDArray[np.float32]
    target: Mask
    click: Click


def cases(checkpoint: Path, folder: Path) -> Iterator[Case]:
    """Yield the clicks on all objects of a folder that the model does not know."""
    known = (folder / "protocol.json").is_file()
    return protocol_cases(checkpoint, folder) if known else labelled_cases(checkpoint, folder)


def labelled_cases(checkpoint: Path, folder: Path) -> Iterator[Case]:
    """Yield one click on each part of a class that the model does not know, where it is deepest.

    `folder` has ``images/``, ``labels/NAME.png`` and ``classes.json``.
    """
    from owlabel.models.embed import embed_image
    from owlabel.models.weights import load

    segmenter, header = load(checkpoint)
    rows = json.loads((folder / "classes.json").read_text())
    novel = {int(c["id"]): c["name"] for c in rows if header.classes.find(c["name"]) is None}
    for path in sorted((folder / "labels").glob("*.png")):
        image = images.read(next((folder / "images").glob(f"{path.stem}.*")))
        embedding = embed_image(segmenter, image)[0].astype(np.float32)
        labels = np.asarray(Image.open(path))
        for class_id, name in novel.items():
            count, parts = cv2.connectedComponents((labels == class_id).astype(np.uint8))
            for target in (parts == part for part in range(1, count)):
                if target.sum() >= LEAST_PIXELS:
                    yield Case(name, image, embedding, target, _deepest(target)[1])


def protocol_cases(checkpoint: Path, camvid: Path) -> Iterator[Case]:
    """Yield the support clicks of all seeds and classes that the model does not know."""
    from owlabel.models.embed import embed_image
    from owlabel.models.weights import load

    segmenter, header = load(checkpoint)
    protocol = json.loads((camvid / "protocol.json").read_text())
    ids = {name: int(i) for i, name in protocol["label_space"].items()}
    for seed in protocol["support_details"].values():
        for name, shots in seed.items():
            if header.classes.find(name) is not None:
                continue
            for shot in shots["five_shot"]:
                image = images.read(camvid / "images" / f"{shot['frame']}.jpg")
                labels = np.asarray(Image.open(camvid / "labels" / f"{shot['frame']}.png"))
                row, col = shot["click_rowcol"]
                parts = cv2.connectedComponents((labels == ids[name]).astype(np.uint8))[1]
                embedding = embed_image(segmenter, image)[0].astype(np.float32)
                yield Case(name, image, embedding, parts == parts[row, col], (row, col))


def iou(one: Mask, other: Mask) -> float:
    """Return intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def refine(case: Case, clicks: int) -> list[float]:
    """Return the IoU after 1 .. `clicks` clicks, each placed where the result is most wrong."""
    score = scores.SCORES["eds_absolute"].of(case.embedding, 3.0)
    positives, negatives = [case.click], list[Click]()
    found = []
    for _ in range(clicks):
        shape = (case.target.shape[0], case.target.shape[1])
        region = click_regions.propose(
            case.embedding, shape, positives, negatives, score, case.image
        )
        mask = region.full(shape)
        found.append(iou(mask, case.target))
        missed, wrong = _deepest(case.target & ~mask), _deepest(mask & ~case.target)
        if missed[0] >= wrong[0]:
            positives.append(missed[1])
        else:
            negatives.append(wrong[1])
    return found


def _deepest(error: Mask) -> tuple[float, Click]:
    depth = cv2.distanceTransform(np.pad(error, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(depth[row, col]), (int(row), int(col))


def flood(case: Case, limit: float) -> float:
    """Return the IoU of the plain flood up to a squared distance."""
    shape = (case.target.shape[0], case.target.shape[1])
    row, col = embedding_grid.nearest_point(*case.click, shape, case.embedding.shape[1:])
    clicked = case.embedding[:, row, col]
    distance = np.square(case.embedding - clicked[:, None, None]).sum(axis=0)
    near = (embedding_grid.upsample(distance, shape) < limit).astype(np.uint8)
    near[case.click] = 1
    parts = cv2.connectedComponents(near, connectivity=4)[1]
    return iou(parts == parts[case.click], case.target)


def _by_class(every: list[Case], measure: Callable[[Case], Any]) -> dict[str, Any]:
    """Return the mean of a measure over the cases of each class, and over all."""
    values = {case.class_name: list[Any]() for case in every}
    for case in every:
        values[case.class_name].append(measure(case))
    values["all"] = [value for some in list(values.values()) for value in some]
    return {name: np.mean(some, axis=0).round(3).tolist() for name, some in values.items()}


def main() -> None:
    """Parse the command line, measure, print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    every = list(cases(chosen.checkpoint, chosen.folder))
    floods = {limit: _by_class(every, partial(flood, limit=limit)) for limit in LIMITS}
    best = max(floods, key=lambda limit: floods[limit]["all"])
    first = [refine(case, 1)[0] for case in every]
    results = {
        "command": "python -m experiments.quality.clicks CHECKPOINT FOLDER",
        "checkpoint": chosen.checkpoint.name,
        "clicks": len(every),
        "first_click_below_0.2": round(float(np.mean(np.array(first) < 0.2)), 3),
        "propose_iou_by_number_of_clicks": _by_class(every, partial(refine, clicks=chosen.clicks)),
        "flood_iou": floods[best],
        "flood_limit": round(best, 3),
    }
    print(json.dumps(results, indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
