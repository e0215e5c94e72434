"""What a cluster looks like: its pieces in an image, counts, and patches to show."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.clusters.label_maps import AuxiliaryMap

LEAST_SHARE = 0.002
"""Share of the image from which a piece of a cluster is proposed."""
MOST_PIECES = 20
"""Pieces of one cluster in one image, the largest first."""
EXAMPLES = 12
"""Patches that are kept of each cluster, of as many images."""
Box = tuple[int, int, int, int]
Bools = NDArray[np.bool_]


def pieces(labels: NDArray[np.uint8], cluster: int) -> list[Bools]:
    """Return the connected parts of a cluster in an image, each (H, W), the largest first."""
    inside = (labels == cluster).view(np.uint8)
    least = max(1.0, LEAST_SHARE * inside.size)
    _, parts, facts, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    areas = facts[1:, cv2.CC_STAT_AREA]
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] >= least]
    return [np.asarray(parts == i + 1) for i in order[:MOST_PIECES]]


class Summary:
    """Counts and examples of every cluster, from the labels of one image after the other.

    Parameters
    ----------
    clusters : int
    """

    def __init__(self, clusters: int) -> None:
        self.pixels = np.zeros(clusters, np.int64)
        self.images = np.zeros(clusters, np.int64)
        self._best: list[list[tuple[float, int, Box]]] = [[] for _ in range(clusters)]

    def update(self, image_id: int, auxiliary: AuxiliaryMap) -> None:
        """Count an image, and keep its best patch of each cluster where it is among the best."""
        counts = np.bincount(auxiliary.labels.ravel(), minlength=256)[: len(self.pixels)]
        self.pixels += counts
        self.images += counts > 0
        for k in np.flatnonzero(counts >= LEAST_SHARE * auxiliary.labels.size):
            patches = pieces(auxiliary.labels, int(k))
            if patches:
                score = float(patches[0].sum() * auxiliary.share[patches[0]].mean())
                kept = [*self._best[k], (score, image_id, patch(patches[0]))]
                self._best[k] = sorted(kept, key=lambda row: -row[0])[:EXAMPLES]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is cached; `examples` has the shape (K, EXAMPLES, 6)."""
        examples = np.zeros((len(self.pixels), EXAMPLES, 6), np.float64)
        for k, rows in enumerate(self._best):
            for i, (score, image_id, box) in enumerate(rows):
                examples[k, i] = (image_id, *box, score)
        return {"pixels": self.pixels, "images": self.images, "examples": examples}


def patch(mask: Bools) -> Box:
    """Return a box around the deepest point of a mask, as wide as the mask is thick there."""
    depth = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    reach = int(np.clip(depth.max(), 12, min(mask.shape) / 6 + 12))
    return (
        max(int(row) - reach, 0), max(int(col) - reach, 0),
        min(int(row) + reach, mask.shape[0]), min(int(col) + reach, mask.shape[1]),
    )  # fmt: skip
