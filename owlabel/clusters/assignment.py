"""Clusters of features: fitted on a sample, then every pixel belongs to the nearest centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.clusters.settings import MOST_CLUSTERS, REMOVED, AuxiliarySettings

Floats = NDArray[np.float32]
CHUNK = 1 << 16
"""Rows that are compared with the centres at once."""
NEIGHBOURS = 20
"""DBSCAN: points that a neighbourhood of a core point holds at least."""
QUANTILES = (0.05, 0.1, 0.2, 0.35, 0.5)
"""DBSCAN: of the distance to the 20th neighbour; the one that comes nearest to K is taken."""


@dataclass(frozen=True)
class Clusters:
    """What was fitted.

    Attributes
    ----------
    centres : ndarray of float32, shape (K, D)
    limits : ndarray of float32, shape (K,)
        Distance from which a pixel of the cluster is an outlier; infinite where none is.
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
    """Return features (n, D) at length 1; a feature that is all zero stays so."""
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
        Of two centres equally near the first.
    distances : ndarray of float32, shape (n,)
    """
    labels = np.empty(len(features), np.int64)
    distances = np.empty(len(features), np.float32)
    of_centres = np.square(centres).sum(axis=1)
    for start in range(0, len(features), CHUNK):
        part = features[start : start + CHUNK]
        squared = of_centres - 2 * part @ centres.T  # (n, K), |f|^2 left out
        best = squared.argmin(axis=1)
        labels[start : start + CHUNK] = best
        least = squared[np.arange(len(part)), best] + np.square(part).sum(axis=1)
        distances[start : start + CHUNK] = np.sqrt(np.maximum(least, 0))
    return labels, distances


def fit(features: NDArray[Any], settings: AuxiliarySettings) -> Clusters:
    """Cluster a sample of features, brought to unit length first.

    Parameters
    ----------
    features : ndarray of float, shape (n, D)
    settings : AuxiliarySettings

    Returns
    -------
    Clusters
        The same for the same sample and seed.

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
            f"{settings.clusters} clusters cannot be made of {len(features)} sampled pixels: "
            "sample more pixels or expect fewer classes"
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

    Per cluster, so that rare clusters survive.
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
            f"only {few} different features were sampled, too few for {settings.clusters} "
            "clusters: expect fewer classes"
        )
    kmeans = MiniBatchKMeans(
        settings.clusters, batch_size=4096, n_init=3, random_state=settings.seed, max_iter=100
    ).fit(sample)
    return np.asarray(kmeans.cluster_centers_, np.float32)


def _dbscan(sample: Floats, settings: AuxiliarySettings) -> Floats:
    """Return the means of the dense groups of a subset; what is noise there belongs to none."""
    rng = np.random.default_rng(settings.seed)
    chosen = rng.permutation(len(sample))[: settings.subset]
    subset = sample[np.sort(chosen)]
    radii = [settings.eps] if settings.eps else _radii(subset)
    groupings = [_groups(subset, eps) for eps in radii]
    labels = min(groupings, key=lambda groups: abs(int(groups.max()) + 1 - settings.clusters))
    count = int(labels.max()) + 1
    if not 1 <= count <= MOST_CLUSTERS:
        raise ValueError(
            f"DBSCAN finds {count} clusters with eps {radii[0]:.3g}, expected 1 .. "
            f"{MOST_CLUSTERS}: choose another eps, or kmeans"
        )
    return np.stack([subset[labels == k].mean(axis=0) for k in range(count)]).astype(np.float32)


def _radii(subset: Floats) -> list[float]:
    """Return radii to try: quantiles of the distance to the 20th neighbour."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(subset) - 1)).fit(subset)
    farthest = near.kneighbors()[0][:, -1]
    return [max(float(v), 1e-6) for v in np.quantile(farthest, QUANTILES)]


def _groups(subset: Floats, eps: float) -> NDArray[np.int64]:
    """Return the group of each point, -1 for noise."""
    from sklearn.cluster import DBSCAN

    return np.asarray(DBSCAN(eps=eps, min_samples=NEIGHBOURS).fit(subset).labels_, np.int64)
