"""Which score makes the best queue of candidates: precision at the top, and objects found.

python -m experiments.quality.candidates --project P.owlabel --labels DIR --novel 8 9 10

The project must be embedded.  DIR holds true labels, one indexed PNG an image, of the same name.
A candidate is a hit where its peak lies on a pixel of a novel class.  "Found" counts objects of at
least 0.3 % of the image that one of the image's first five candidates hits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.checkpoints.header import read_header
from owlabel.ood.candidates import find
from owlabel.ood.registry import SCORES
from owlabel.project.store import Project

NAMES = ("eds_absolute", "entropy", "msp", "mixture")
THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
LARGE = 0.003
FIRST = 5


@dataclass(frozen=True)
class Case:
    """One image: its embedding (N, h, w), and where the novel classes are (H, W)."""

    embedding: NDArray[np.float32]
    novel: NDArray[np.bool_]


def cases(project: Project, labels: Path, novel: list[int]) -> Iterator[Case]:
    """Yield the embedded images of a project with their true novel pixels."""
    head = read_header(project.active_model().path).heads[0].hash
    for record in project.images():
        arrays = project.cache.read(head, record.content_hash)
        if arrays is not None:
            truth = np.asarray(Image.open(labels / Path(record.relative).with_suffix(".png").name))
            yield Case(arrays["embedding"].astype(np.float32), np.isin(truth, novel))


def measure(every: list[Case], name: str, threshold: float) -> dict[str, Any]:
    """Return how good the queue is that one score and threshold give."""
    ranked: list[tuple[float, bool]] = []
    found = objects = 0
    for case in every:
        score = np.asarray(SCORES[name].of(case.embedding, 3.0))
        base = case.embedding.argmax(axis=0).astype(np.uint8)
        shape = (case.novel.shape[0], case.novel.shape[1])
        candidates = find(score, base, shape, threshold)
        ranked += [(c.rank, bool(case.novel[c.peak])) for c in candidates]
        _, labels, stats, _ = cv2.connectedComponentsWithStats(case.novel.astype(np.uint8))
        sizes = np.asarray(stats)[1:, cv2.CC_STAT_AREA]
        large = set((np.flatnonzero(sizes >= LARGE * case.novel.size) + 1).tolist())
        objects += len(large)
        found += len(large & {int(labels[c.peak]) for c in candidates[:FIRST]})
    ranked.sort(key=lambda entry: -entry[0])
    hits = np.array([hit for _, hit in ranked], float)
    precision = {f"precision_at_{n}": round(float(hits[:n].sum() / n), 3) for n in (20, 50, 100)}
    return precision | {"candidates": len(ranked), "objects": objects, "found": found}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--novel", type=int, nargs="+", required=True)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with Project.open(given.project) as project:
        every = list(cases(project, given.labels, given.novel))
        model = project.active_model().name
    if not every:
        sys.exit("no image of the project is embedded: run owlabel embed first")
    result = {
        "model": model,
        "images": len(every),
        "scores": {n: {str(t): measure(every, n, t) for t in THRESHOLDS} for n in NAMES},
    }
    text = json.dumps(result, indent=1)
    sys.stdout.write(text + "\n")
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
