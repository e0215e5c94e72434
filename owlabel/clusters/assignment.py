"""Clusters of features: fit them to a sample, then assign every pixel to the nearest centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.clusters.auxiliary_settings import MOST_CLUSTERS, REMOVED, AuxiliarySettings

Floats = NDArray[np.float32]
CHUNK = 1 << 16
"""Features that are compared with the centres at once."""
NEIGHBOURS = 20
"""DBSCAN: minimum number of points in the neighbourhood of a core point."""
QUANTILES = (0.05, 0.1, 0.2, 0.35, 0.5)
"""DBSCAN: quantiles of the distance to the 20th neighbour that are tried as radius.

The one whose number of clusters is nearest to K is used.
"""


@dataclass(frozen=True)
class Clusters:
    """Fitted clusters.

    Attributes
    ----------
    centres : ndarray of float32, shape (K, D)
    limits : ndarray of float32, shape (K,)
        Pixels of a cluster beyond this distance are outliers; infinite if there are none.
    """

    centres: Floats
    limits: Floats

    def __len__(self) -> int:
        return len(self.centres)

    def assign(self, features: Floats) -> NDArray[np.uint8]:
        """Return the cluster of each feature, `REMOVED` for outliers; (n, D) to uint8 (n,)."""
        labels, distances = nearest(unit_length(features), self.centres)
        labels[distances > self.limits[labels]] = REMOVED
        return labels.astype(np.uint8)


def unit_length(features: NDArray[Any]) -> Floats:
    """Return features (n, D) scaled to length 1; zero features do not change."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(length > 0, length, 1), np.float32)


def nearest(features: Floats, centres: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the nearest centre of each feature, and the Euclidean distance to it.

    Parameters
    ----------
    features : ndarray of float32, shape (n, D)
    centres : ndarray of float32, shape (K, D)

    Returns
    -------
    labels : ndarray of int64, shape (n,)
        The first of several equally near centres.
    distances : ndarray of float32, shape (n,)
    """
    labels = np.empty(len(features), np.int64)
    distances = np.empty(len(features), np.float32)
    of_centres = np.square(centres).sum(axis=1)
    for start in range(0, len(features), CHUNK):
        chunk = features[start : start + CHUNK]
        squared = of_centres - 2 * chunk @ centres.T  # (n, K), without |f|^2
        best = squared.argmin(axis=1)
        labels[start : start + CHUNK] = best
        least = squared[np.arange(len(chunk)), best] + np.square(chunk).sum(axis=1)
        distances[start : start + CHUNK] = np.sqrt(np.maximum(least, 0))
    return labels, distances


def fit(features: NDArray[Any], settings: AuxiliarySettings) -> Clusters:
    """Cluster a sample of features after scaling them to unit length.

    Parameters
    ----------
    features : ndarray of float, shape (n, D)
    settings : AuxiliarySettings

    Returns
    -------
    Clusters
        Always the same for the same sample and seed.

    Raises
    ------
    ValueError
        If there are fewer different features than clusters, features are not finite, or DBSCAN
        finds no cluster or more than 254.
    """
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features must be finite, of shape (n, D), got {features.shape}")
    if len(features) < settings.clusters:
        raise ValueError(
            f"cannot fit {settings.clusters} clusters to {len(features)} sampled pixels; "
            "sample more pixels or set fewer classes"
        )
    sample = unit_length(features)
    centres = _dbscan(sample, settings) if settings.algorithm == "dbscan" else None
    if centres is None:
        centres = _kmeans(sample, settings)
    labels, distances = nearest(sample, centres)
    return Clusters(centres, outlier_limits(labels, distances, len(centres), settings.outliers))


def outlier_limits(
    labels: NDArray[Any], distances: NDArray[Any], clusters: int, share: float
) -> Floats:
    """Return the distance beyond which the farthest `share` of each cluster lies, shape (K,).

    Each cluster has a separate limit, so that rare clusters survive.
    """
    limits = np.full(clusters, np.inf, np.float32)
    for k in range(clusters if share > 0 else 0):
        own = np.sort(distances[labels == k])
        if own.size:
            kept = max(round(own.size * (1 - share)), 1)
            limits[k] = own[kept - 1]
    return limits


def _kmeans(sample: Floats, settings: AuxiliarySettings) -> Floats:
    from sklearn.cluster import MiniBatchKMeans

    few = len(np.unique(sample[:CHUNK], axis=0)) if len(sample) <= CHUNK else settings.clusters
    if few < settings.clusters:
        raise ValueError(
            f"the sample has only {few} different features, too few for {settings.clusters} "
            "clusters; set fewer classes"
        )
    kmeans = MiniBatchKMeans(
        settings.clusters, batch_size=4096, n_init=3, random_state=settings.seed, max_iter=100
    ).fit(sample)
    return np.asarray(kmeans.cluster_centers_, np.float32)


def _dbscan(sample: Floats, settings: AuxiliarySettings) -> Floats:
    """Return the means of the dense groups in a subset of the sample; ignore noise."""
    rng = np.random.default_rng(settings.seed)
    chosen = rng.permutation(len(sample))[: settings.subset]
    subset = sample[np.sort(chosen)]
    radii = [settings.eps] if settings.eps else _radii(subset)
    groupings = [_groups(subset, eps) for eps in radii]
    labels = min(groupings, key=lambda groups: abs(int(groups.max()) + 1 - settings.clusters))
    count = int(labels.max()) + 1
    if not 1 <= count <= MOST_CLUSTERS:
        raise ValueError(
            f"DBSCAN found {count} clusters with eps {radii[0]:.3g}, expected 1 .. "
            f"{MOST_CLUSTERS}; choose another eps, or kmeans"
        )
    return np.stack([subset[labels == k].mean(axis=0) for k in range(count)]).astype(np.float32)


def _radii(subset: Floats) -> list[float]:
    """Return the radii to try: quantiles of the distance to the 20th neighbour."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(subset) - 1)).fit(subset)
    farthest = near.kneighbors()[0][:, -1]
    return [max(float(v), 1e-6) for v in np.quantile(farthest, QUANTILES)]


def _groups(subset: Floats, eps: float) -> NDArray[np.int64]:
    """Return the group of each point, -1 for noise."""
    from sklearn.cluster import DBSCAN

    return np.asarray(DBSCAN(eps=eps, min_samples=NEIGHBOURS).fit(subset).labels_, np.int64)
