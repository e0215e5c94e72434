"""PmIoU: how well clusters agree with classes that they were not told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from owlabel.classes import MAX_CLASSES
from owlabel.clusters.settings import REMOVED


class ProxyMiou:
    """Counts of pixels by cluster and class, and the proxy mean IoU that follows.

    Two readings of the paper's measure, which its supplement does not define: `hungarian`, the best
    one-to-one assignment (an assignment of many clusters to one class would score superpixels high,
    against Table 1), and `maximum`, the best cluster of each class, which may serve several.

    Parameters
    ----------
    clusters, classes : int
        K and M.

    Attributes
    ----------
    counts : ndarray of int64, shape (K, M)
        Pixels with a cluster and a class; `REMOVED`, void and unset ones are left out.

    References
    ----------
    .. [1] "Looking Beyond Single Images", supplement, Tables 1, 2 and 5.
    """

    def __init__(self, clusters: int, classes: int) -> None:
        self.counts = np.zeros((clusters, classes), np.int64)

    def update(self, labels: NDArray[Any], truth: NDArray[Any]) -> None:
        """Count one image.

        Parameters
        ----------
        labels : ndarray of int, any shape
            Auxiliary labels.
        truth : ndarray of int, same shape
            Class ids; 253 .. 255 are none.

        Raises
        ------
        ValueError
            If shapes differ or a label or id is out of range.
        """
        if labels.shape != truth.shape:
            raise ValueError(f"shapes differ: {labels.shape} and {truth.shape}")
        known = (labels != REMOVED) & (truth < MAX_CLASSES)
        k, m = labels[known].astype(np.int64), truth[known].astype(np.int64)
        for name, ids, limit in zip(("labels", "classes"), (k, m), self.counts.shape, strict=True):
            if ids.size and (ids.min() < 0 or ids.max() >= limit):
                raise ValueError(f"{name} must lie in 0 .. {limit - 1}, got {ids.max()}")
        width = self.counts.shape[1]
        pairs = np.bincount(k * width + m, minlength=self.counts.size)
        self.counts += pairs.reshape(self.counts.shape)

    @property
    def pixels(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())

    def iou(self) -> NDArray[np.float64]:
        """Return the IoU of each cluster with each class, shape (K, M)."""
        union = self.counts.sum(1, keepdims=True) + self.counts.sum(0) - self.counts
        return np.asarray(self.counts / np.maximum(union, 1))

    def hungarian(self) -> float:
        """Return the mean over the classes that occur; NaN where none does.

        Each has one cluster of its own at most; classes without one count 0.
        """
        iou, classes = self.iou(), self._occurring()
        rows, columns = linear_sum_assignment(iou, maximize=True)
        return float(iou[rows, columns].sum() / classes) if classes else math.nan

    def maximum(self) -> float:
        """Return the mean over the classes that occur of their best cluster's IoU."""
        classes = self._occurring()
        return float(self.iou().max(axis=0).sum() / classes) if classes else math.nan

    def _occurring(self) -> int:
        return int((self.counts.sum(axis=0) > 0).sum())

    def plain(self) -> dict[str, float | int]:
        """Return both variants by name, and the number of pixels."""
        return {
            "pmiou_hungarian": self.hungarian(),
            "pmiou_max": self.maximum(),
            "pixels": self.pixels,
        }
