"""Auxiliary labels of an image: from features on a grid to a label of every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.embedding_grid import upsample
from owlabel.clusters.assignment import Clusters, Floats
from owlabel.clusters.auxiliary_settings import AuxiliarySettings
from owlabel.clusters.superpixels import superpixels, vote

STRIPE = 1 << 22
"""Largest number of enlarged feature values in memory at once."""


@dataclass(frozen=True)
class AuxiliaryMap:
    """The auxiliary labels of an image.

    Attributes
    ----------
    labels : ndarray of uint8, shape (H, W)
        0 .. K - 1; 255 for removed pixels.
    share : ndarray of float32, shape (H, W)
        In [0, 1]: share of the pixel's superpixel that had this label before the vote.
    """

    labels: NDArray[np.uint8]
    share: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[np.uint8]]:
        """Return both maps as PNG bytes for the cache."""
        share = (255 * self.share).round().astype(np.uint8)
        return {"labels": to_png(self.labels), "share": to_png(share)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> AuxiliaryMap:
        """Return the map that `arrays` stored; raises ValueError if it is damaged."""
        labels, share = from_png(arrays["labels"]), from_png(arrays["share"])
        return cls(labels, np.asarray(share / 255, np.float32))


def to_png(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a map of uint8 or uint16 as the bytes of a PNG file, shape (n,)."""
    return np.asarray(cv2.imencode(".png", values)[1]).ravel()


def from_png(data: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the map in the bytes of a PNG file; raises ValueError for other data."""
    values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("a cached map is not a PNG file; build the auxiliary labels again")
    return np.asarray(values)


def sample_pixels(features: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Return the features of random grid points, (D, h, w) to (n, D), n <= count."""
    flat = features.reshape(len(features), -1)
    chosen = rng.choice(flat.shape[1], min(count, flat.shape[1]), replace=False)
    return np.ascontiguousarray(flat[:, np.sort(chosen)].T, np.float32)


def assigned(features: Floats, shape: tuple[int, int], clusters: Clusters) -> NDArray[np.uint8]:
    """Return the cluster of every pixel; features are enlarged bilinearly, some rows at a time.

    Parameters
    ----------
    features : ndarray, shape (D, h, w)
    shape : tuple of int
        (H, W) of the image.
    clusters : Clusters

    Returns
    -------
    ndarray of uint8, shape (H, W)
        `REMOVED` for outliers.
    """
    height, width = shape
    step = max(1, STRIPE // (len(features) * width))
    labels = np.empty(shape, np.uint8)
    for start in range(0, height, step):
        stop = min(start + step, height)
        stripe = upsample(features, shape, (start, stop, 0, width))  # (D, rows, W)
        rows = stripe.reshape(len(stripe), -1).T  # (rows * W, D)
        labels[start:stop] = clusters.assign(rows).reshape(stop - start, width)
    return labels


def label_image(
    features: Floats, image: NDArray[np.uint8], clusters: Clusters, settings: AuxiliarySettings
) -> AuxiliaryMap:
    """Return the auxiliary labels of an image: nearest centre, minus outliers, then a vote.

    Outliers are removed before the vote of the superpixels, which then fills the holes.  The paper
    does not define this order.

    Parameters
    ----------
    features : ndarray of float32, shape (D, h, w)
    image : ndarray of uint8, shape (H, W, 3)
    clusters : Clusters
    settings : AuxiliarySettings
    """
    labels = assigned(features, (image.shape[0], image.shape[1]), clusters)
    if not settings.superpixels:
        return AuxiliaryMap(labels, (labels < len(clusters)).astype(np.float32))
    parts = superpixels(image, settings.superpixels)
    return AuxiliaryMap(*vote(labels, parts, len(clusters)))
