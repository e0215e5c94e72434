"""Superpixels of an image, and the majority vote of the pixels in each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.clusters.auxiliary_settings import REMOVED

COMPACTNESS = 10.0
Map = NDArray[np.int32]


def superpixels(image: NDArray[np.uint8], count: int) -> Map:
    """Return SLIC superpixels of compactness 10, numbered from 0.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    count : int
        Approximate number of superpixels.

    Returns
    -------
    ndarray of int32, shape (H, W)
    """
    from skimage.segmentation import slic

    segments = slic(
        image, n_segments=count, compactness=COMPACTNESS, start_label=0, channel_axis=-1
    )
    return np.asarray(segments, np.int32)


def vote(
    labels: NDArray[np.uint8], parts: NDArray[Any], clusters: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Give every superpixel the most frequent label of its remaining pixels.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W)
        0 .. K - 1 or `REMOVED`.
    parts : ndarray of int, shape (H, W)
        Superpixels, numbered from 0.
    clusters : int
        K.

    Returns
    -------
    labels : ndarray of uint8, shape (H, W)
        The lowest label if counts tie; `REMOVED` if no pixel of the superpixel remains.
    share : ndarray of float32, shape (H, W)
        Share of the superpixel's pixels that had this label.

    Raises
    ------
    ValueError
        If the shapes differ or a label is neither below K nor `REMOVED`.
    """
    if labels.shape != parts.shape:
        raise ValueError(f"labels {labels.shape} and superpixels {parts.shape} differ in shape")
    remaining = labels != REMOVED
    if remaining.any() and int(labels[remaining].max()) >= clusters:
        raise ValueError(f"labels must lie in 0 .. {clusters - 1}, got {labels[remaining].max()}")
    count = int(parts.max()) + 1
    pairs = parts[remaining].astype(np.int64) * clusters + labels[remaining]
    votes = np.bincount(pairs, minlength=count * clusters).reshape(count, clusters)
    winner = votes.argmax(axis=1).astype(np.uint8)
    winner[votes.sum(axis=1) == 0] = REMOVED
    pixels = np.maximum(np.bincount(parts.ravel(), minlength=count), 1)
    share = (votes.max(axis=1) / pixels).astype(np.float32)
    return winner[parts], share[parts]
