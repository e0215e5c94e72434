"""The clusters of a project: what was built last, what each cluster looks like, its labels.

Everything is read from the project's cache; only names are part of the history.
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
from owlabel.clusters.examples import EXAMPLES, Box
from owlabel.clusters.label_maps import AuxiliaryMap
from owlabel.clusters.pmiou import ProxyMiou
from owlabel.clusters.settings import CURRENT, SUMMARY, AuxiliarySettings
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables import candidate_details

NAMES = "cluster_names"
"""The setting that holds, for each key, cluster to class id."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """A patch that shows what a cluster looks like."""

    image_id: int
    box: Box


@dataclass(frozen=True)
class ClusterInfo:
    """One cluster.

    Attributes
    ----------
    name : str
        Its number, for clusters of OoD candidates with a "c" before it.
    images : int
        In how many it occurs, of at most 5,000 that are evenly spread.
    count : int
        Pixels in those; candidates of all images, where it is one of candidates.
    share : float
        Of all pixels or candidates, 0 .. 1.
    class_id : int or None
        The class that somebody named it.
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
        """Whether it groups unknown objects, not pixels."""
        return self.name.startswith("c")


@dataclass(frozen=True)
class ClusterSet:
    """What was built last.

    Attributes
    ----------
    key : str
        Under which it is cached.
    settings : AuxiliarySettings
    clusters : int
        K; DBSCAN finds its own number.
    head_hash : str
        Whose candidates were grouped.
    kinds : int
        Clusters of candidates, 0 where there are too few.
    length : float
        T of the model whose candidates they are.
    """

    key: str
    settings: AuxiliarySettings
    clusters: int
    head_hash: str = ""
    kinds: int = 0
    length: float = 3.0

    def store(self, cache: FeatureCache) -> None:
        """Make this the one that is shown."""
        text = json.dumps({**asdict(self), "settings": self.settings.model_dump()})
        cache.write(CURRENT, SUMMARY, {"none": np.zeros(1, np.uint8)}, {"set": text})

    @property
    def candidates_key(self) -> str:
        """What stands in the place of an image's hash for the clusters of candidates."""
        return f"candidates-{self.head_hash}"


def current(cache: FeatureCache) -> ClusterSet | None:
    """Return what was built last, None where nothing was or the cache was deleted."""
    found = cache.metadata(CURRENT, SUMMARY)
    if found is None:
        return None
    plain = json.loads(found["set"])
    return ClusterSet(**{**plain, "settings": AuxiliarySettings(**plain["settings"])})


def read_map(cache: FeatureCache, key: str, content_hash: str) -> AuxiliaryMap | None:
    """Return the cached labels of an image, None where there are none."""
    arrays = cache.read(key, content_hash)
    return None if arrays is None else AuxiliaryMap.from_arrays(arrays)


def names(project: Project, key: str) -> dict[str, int]:
    """Return cluster to class id of what was named under a key."""
    return {k: int(v) for k, v in (project.setting(NAMES) or {}).get(key, {}).items()}


@dataclass(frozen=True)
class Grouped:
    """The clusters of OoD candidates: one row for each candidate.

    Attributes
    ----------
    ids, images, cluster : ndarray of int64, shape (n,)
        Of the candidates' rows; of their images; which cluster.
    nearness : ndarray of float32, shape (n,)
        In [0, 1]: how much nearer the own centre is than the second nearest, see `nearness`.
    """

    ids: NDArray[np.int64]
    images: NDArray[np.int64]
    cluster: NDArray[np.int64]
    nearness: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is cached."""
        return dict(vars(self))


def grouped(project: Project, found: ClusterSet) -> Grouped | None:
    """Return the clusters of candidates, None where there are none."""
    arrays = project.cache.read(found.key, found.candidates_key) if found.kinds else None
    return None if arrays is None else Grouped(**arrays)


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
    """Return the mask (H, W) of each candidate of an image by its row's id; of some, or of all."""
    arrays = project.cache.read(head_hash, record.content_hash)
    if arrays is None or record.shape is None:
        return {}
    shape, result = arrays["embedding"].shape[1:], {}
    for one in candidate_details.details(project.database, head_hash, record.id):
        on_grid = np.zeros(shape, np.int32)
        left_out = wanted is not None and one.id not in wanted
        if (
            not left_out
            and one.mask is not None
            and candidate_details.put_mask(on_grid, one.mask, 1)
        ):
            mask = embedding_grid.upsample(on_grid.astype(np.float32), record.shape) > 0.5
            if mask.any():
                result[one.id] = mask
    return result


def kind_mask(project: Project, found: ClusterSet, record: ImageRecord, kind: int) -> Bools | None:
    """Return where the candidates of one cluster lie in an image, (H, W).

    None where there are no clusters of candidates.
    """
    groups = grouped(project, found)
    if groups is None or record.shape is None:
        return None
    ids = groups.ids[(groups.images == record.id) & (groups.cluster == kind)]
    result = np.zeros(record.shape, bool)
    for mask in candidate_masks(project, found.head_hash, record, set(ids.tolist())).values():
        result |= mask
    return result


# -- looking -----------------------------------------------------------------------------------


def infos(project: Project, found: ClusterSet) -> list[ClusterInfo]:
    """Return all clusters: of pixels the most common first, then of candidates likewise."""
    named = names(project, found.key)
    return [*_pixel_infos(project, found, named), *_candidate_infos(project, found, named)]


def _pixel_infos(
    project: Project, found: ClusterSet, named: Mapping[str, int]
) -> list[ClusterInfo]:
    arrays = project.cache.read(found.key, SUMMARY)
    if arrays is None:
        return []
    pixels, total = arrays["pixels"], max(int(arrays["pixels"].sum()), 1)
    result = []
    for k in np.argsort(-pixels, kind="stable"):
        rows = arrays["examples"][k]  # (EXAMPLES, 6): image, box, score
        shown = tuple(
            Example(int(r[0]), (int(r[1]), int(r[2]), int(r[3]), int(r[4])))
            for r in rows
            if r[5] > 0
        )
        share, images = float(pixels[k] / total), int(arrays["images"][k])
        result.append(ClusterInfo(str(k), images, int(pixels[k]), share, named.get(str(k)), shown))
    return result


def _candidate_infos(
    project: Project, found: ClusterSet, named: Mapping[str, int]
) -> list[ClusterInfo]:
    groups = grouped(project, found)
    if groups is None:
        return []
    boxes = {r.id: r.candidate.box for r in project.candidates.ranked(found.head_hash, limit=-1)}
    there = np.array([int(i) in boxes for i in groups.ids], bool)
    result = []
    for k in range(found.kinds):
        own = np.flatnonzero((groups.cluster == k) & there)
        best = own[np.argsort(-groups.nearness[own], kind="stable")][:EXAMPLES]
        shown = tuple(Example(int(groups.images[i]), boxes[int(groups.ids[i])]) for i in best)
        share, images = len(own) / max(int(there.sum()), 1), len(np.unique(groups.images[own]))
        result.append(ClusterInfo(f"c{k}", images, len(own), share, named.get(f"c{k}"), shown))
    return sorted(result, key=lambda info: -info.count)


def agreement(project: Project, found: ClusterSet) -> dict[str, float | int] | None:
    """Return PmIoU against what people have labelled or reviewed, None where there is nothing."""
    classes = max(project.classes().names, default=0) + 1
    counts = ProxyMiou(found.clusters, classes)
    for record in project.images():
        if record.error is not None or (record.revision_id is None and record.state != "reviewed"):
            continue
        made = read_map(project.cache, found.key, record.content_hash)
        reviewed = project.reviewed(record.id)
        truth = project.human_labels(record.id) if reviewed is None else reviewed[0]
        if made is not None and made.labels.shape == truth.shape:
            counts.update(made.labels, np.where(truth < UNSET, truth, VOID))
    return counts.plain() if counts.pixels else None
