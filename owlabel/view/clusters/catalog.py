"""The clusters that were built last: their sizes, examples, label maps and names.

Everything is read from the project's cache. Only the names are part of the history.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays import embedding_grid
from owlabel.classes import UNSET, VOID
from owlabel.clusters.auxiliary_settings import CURRENT, SUMMARY, AuxiliarySettings
from owlabel.clusters.examples import EXAMPLES, Box
from owlabel.clusters.label_maps import AuxiliaryMap
from owlabel.clusters.pmiou import ProxyMiou
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables import candidate_details

NAMES = "cluster_names"
"""The setting with the named clusters: key of the clusters to cluster name to class id."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """An image patch that shows what a cluster looks like."""

    image_id: int
    box: Box


@dataclass(frozen=True)
class ClusterInfo:
    """One cluster of pixels or of OoD candidates.

    Attributes
    ----------
    name : str
        Its number; clusters of OoD candidates have a "c" in front.
    images : int
        Number of images with this cluster, among at most 5,000 evenly spread images.
    count : int
        Number of pixels in those images, or number of candidates in all images.
    share : float
        Share of all pixels or of all candidates, in [0, 1].
    class_id : int or None
        The class that people named it; None if it has no name.
    examples : tuple of Example
    """

    name: str
    images: int
    count: int
    share: float
    class_id: int | None
    examples: tuple[Example, ...]

    @property
    def of_candidates(self) -> bool:
        """Whether this is a cluster of OoD candidates, not of pixels."""
        return self.name.startswith("c")


@dataclass(frozen=True)
class ClusterSet:
    """The clusters that were built last.

    Attributes
    ----------
    key : str
        The key of the clusters in the cache.
    settings : AuxiliarySettings
    clusters : int
        Number of pixel clusters; DBSCAN finds this number itself.
    head_hash : str
        Hash of the head whose candidates were clustered.
    kinds : int
        Number of candidate clusters; 0 if there are too few candidates.
    length : float
        Prototype length T of the model.
    """

    key: str
    settings: AuxiliarySettings
    clusters: int
    head_hash: str = ""
    kinds: int = 0
    length: float = 3.0

    def store(self, cache: FeatureCache) -> None:
        """Store this as the current clusters."""
        text = json.dumps({**asdict(self), "settings": self.settings.model_dump()})
        cache.write(CURRENT, SUMMARY, {"none": np.zeros(1, np.uint8)}, {"set": text})

    @property
    def candidates_key(self) -> str:
        """The cache entry of the candidate clusters, in place of the hash of an image."""
        return f"candidates-{self.head_hash}"


def current(cache: FeatureCache) -> ClusterSet | None:
    """Return the clusters that were built last; None if there are none in the cache."""
    metadata = cache.metadata(CURRENT, SUMMARY)
    if metadata is None:
        return None
    plain = json.loads(metadata["set"])
    return ClusterSet(**{**plain, "settings": AuxiliarySettings(**plain["settings"])})


def read_map(cache: FeatureCache, key: str, content_hash: str) -> AuxiliaryMap | None:
    """Return the cached auxiliary labels of an image, or None."""
    arrays = cache.read(key, content_hash)
    return None if arrays is None else AuxiliaryMap.from_arrays(arrays)


def names(project: Project, key: str) -> dict[str, int]:
    """Return the class id of each named cluster, for the clusters with this key."""
    return {k: int(v) for k, v in (project.setting(NAMES) or {}).get(key, {}).items()}


@dataclass(frozen=True)
class CandidateClusters:
    """The clusters of OoD candidates, one entry for each candidate.

    Attributes
    ----------
    ids, images, cluster : ndarray of int64, shape (n,)
        Row id of a candidate, id of its image, number of its cluster.
    nearness : ndarray of float32, shape (n,)
        How much nearer its own centre is than the second nearest, in [0, 1]; see `nearness`.
    """

    ids: NDArray[np.int64]
    images: NDArray[np.int64]
    cluster: NDArray[np.int64]
    nearness: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to cache."""
        return dict(vars(self))


def candidate_clusters(project: Project, clusters: ClusterSet) -> CandidateClusters | None:
    """Return the clusters of candidates, or None if there are none."""
    if not clusters.kinds:
        return None
    arrays = project.cache.read(clusters.key, clusters.candidates_key)
    return None if arrays is None else CandidateClusters(**arrays)


def nearness(features: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``1 - d1 / d2`` of the distances to the nearest and the second nearest centre.

    Parameters
    ----------
    features : ndarray, shape (n, D)
    centres : ndarray, shape (K, D), K >= 2

    Returns
    -------
    ndarray of float32, shape (n,)
        1 on a centre, 0 in the middle between two.
    """
    two = np.partition(np.linalg.norm(features[:, None] - centres, axis=2), 1, axis=1)[:, :2]
    return np.asarray(1 - two[:, 0] / np.maximum(two[:, 1], 1e-12), np.float32)


# -- candidates ----------------------------------------------------------------------------------


def candidate_masks(
    project: Project, head_hash: str, record: ImageRecord, wanted: Collection[int] | None = None
) -> dict[int, Bools]:
    """Return the mask (H, W) of an image's candidates by row id: of all, or of those `wanted`."""
    arrays = project.cache.read(head_hash, record.content_hash)
    if arrays is None or record.shape is None:
        return {}
    shape, result = arrays["embedding"].shape[1:], {}
    for candidate in candidate_details.details(project.database, head_hash, record.id):
        if candidate.mask is None or (wanted is not None and candidate.id not in wanted):
            continue
        on_grid = np.zeros(shape, np.int32)
        if candidate_details.put_mask(on_grid, candidate.mask, 1):
            mask = embedding_grid.upsample(on_grid.astype(np.float32), record.shape) > 0.5
            if mask.any():
                result[candidate.id] = mask
    return result


def cluster_mask(
    project: Project, clusters: ClusterSet, record: ImageRecord, number: int
) -> Bools | None:
    """Return the mask (H, W) of all candidates of one cluster in an image.

    None if there are no clusters of candidates.
    """
    groups = candidate_clusters(project, clusters)
    if groups is None or record.shape is None:
        return None
    ids = groups.ids[(groups.images == record.id) & (groups.cluster == number)]
    result = np.zeros(record.shape, bool)
    for mask in candidate_masks(project, clusters.head_hash, record, set(ids.tolist())).values():
        result |= mask
    return result


# -- lists -------------------------------------------------------------------------------------


def list_clusters(project: Project, clusters: ClusterSet) -> list[ClusterInfo]:
    """Return the clusters of pixels, then those of candidates, each with the largest first."""
    named = names(project, clusters.key)
    return [*_of_pixels(project, clusters, named), *_of_candidates(project, clusters, named)]


def _of_pixels(
    project: Project, clusters: ClusterSet, named: Mapping[str, int]
) -> list[ClusterInfo]:
    arrays = project.cache.read(clusters.key, SUMMARY)
    if arrays is None:
        return []
    pixels, total = arrays["pixels"], max(int(arrays["pixels"].sum()), 1)
    result = []
    for k in np.argsort(-pixels, kind="stable"):
        rows = arrays["examples"][k]  # (EXAMPLES, 6): image, box, score
        examples = tuple(
            Example(int(r[0]), (int(r[1]), int(r[2]), int(r[3]), int(r[4])))
            for r in rows
            if r[5] > 0
        )
        share, images = float(pixels[k] / total), int(arrays["images"][k])
        result.append(
            ClusterInfo(str(k), images, int(pixels[k]), share, named.get(str(k)), examples)
        )
    return result


def _of_candidates(
    project: Project, clusters: ClusterSet, named: Mapping[str, int]
) -> list[ClusterInfo]:
    groups = candidate_clusters(project, clusters)
    if groups is None:
        return []
    boxes = {r.id: r.candidate.box for r in project.candidates.ranked(clusters.head_hash, limit=-1)}
    exists = np.array([int(i) in boxes for i in groups.ids], bool)
    result = []
    for k in range(clusters.kinds):
        own = np.flatnonzero((groups.cluster == k) & exists)
        best = own[np.argsort(-groups.nearness[own], kind="stable")][:EXAMPLES]
        examples = tuple(Example(int(groups.images[i]), boxes[int(groups.ids[i])]) for i in best)
        share, images = len(own) / max(int(exists.sum()), 1), len(np.unique(groups.images[own]))
        result.append(ClusterInfo(f"c{k}", images, len(own), share, named.get(f"c{k}"), examples))
    return sorted(result, key=lambda info: -info.count)


def agreement(project: Project, clusters: ClusterSet) -> dict[str, float | int] | None:
    """Return the PmIoU against human and reviewed labels; None if no pixel is labelled."""
    classes = max(project.classes().names, default=0) + 1
    counts = ProxyMiou(clusters.clusters, classes)
    for record in project.images():
        if record.error is not None or (record.revision_id is None and record.state != "reviewed"):
            continue
        auxiliary = read_map(project.cache, clusters.key, record.content_hash)
        reviewed = project.reviewed(record.id)
        truth = project.human_labels(record.id) if reviewed is None else reviewed[0]
        if auxiliary is not None and auxiliary.labels.shape == truth.shape:
            counts.update(auxiliary.labels, np.where(truth < UNSET, truth, VOID))
    return counts.plain() if counts.pixels else None
