"""Proxy mean IoU (PmIoU): how well clusters agree with the true classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from owlabel.classes import MAX_CLASSES
from owlabel.clusters.auxiliary_settings import REMOVED


class ProxyMiou:
    """Count pixels by cluster and class, and compute the proxy mean IoU.

    The supplement of the paper does not define its measure, so there are two variants.  `hungarian`
    uses the best one-to-one assignment.  (If many clusters could map to one class, superpixels
    would score high, which contradicts Table 1.)  `maximum` uses the best cluster of each class;
    several classes may share a cluster.

    Parameters
    ----------
    clusters, classes : int
        K and M.

    Attributes
    ----------
    counts : ndarray of int64, shape (K, M)
        Pixels with a cluster and a class; `REMOVED`, void and unset pixels are skipped.

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
            Class ids; 253 .. 255 are skipped.

        Raises
        ------
        ValueError
            If the shapes differ or a label or id is out of range.
        """
        if labels.shape != truth.shape:
            raise ValueError(f"labels and truth differ in shape: {labels.shape} and {truth.shape}")
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
        """Number of counted pixels."""
        return int(self.counts.sum())

    def iou(self) -> NDArray[np.float64]:
        """Return the IoU of each cluster with each class, shape (K, M)."""
        union = self.counts.sum(1, keepdims=True) + self.counts.sum(0) - self.counts
        return np.asarray(self.counts / np.maximum(union, 1))

    def hungarian(self) -> float:
        """Return the mean IoU over the classes that occur; NaN if there are none.

        Each class gets at most one cluster, and no two classes share one.  A class without a
        cluster counts as 0.
        """
        iou, classes = self.iou(), self._occurring()
        rows, columns = linear_sum_assignment(iou, maximize=True)
        return float(iou[rows, columns].sum() / classes) if classes else math.nan

    def maximum(self) -> float:
        """Return the mean over the classes that occur of the IoU with their best cluster."""
        classes = self._occurring()
        return float(self.iou().max(axis=0).sum() / classes) if classes else math.nan

    def _occurring(self) -> int:
        return int((self.counts.sum(axis=0) > 0).sum())

    def plain(self) -> dict[str, float | int]:
        """Return both variants and the number of pixels by name."""
        return {
            "pmiou_hungarian": self.hungarian(),
            "pmiou_max": self.maximum(),
            "pixels": self.pixels,
        }
