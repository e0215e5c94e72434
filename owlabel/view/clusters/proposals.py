"""The masks that named clusters propose: pieces of pixel clusters, and clustered candidates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import UNSET
from owlabel.clusters.examples import LEAST_SHARE, pieces
from owlabel.images.files import read
from owlabel.novel.clicks import Click, click_region
from owlabel.novel.label_maps import ModelOutput, Rule
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables import candidate_details
from owlabel.project.tables.proposals import NewProposal
from owlabel.view.clusters.catalog import ClusterSet, candidate_clusters, read_map

Bools = NDArray[np.bool_]
Item = tuple[int, Bools, float]
"""Class id, mask (H, W), confidence."""


class Proposer:
    """Proposes masks of named clusters, without pixels that people labelled or masks they rejected.

    Parameters
    ----------
    project : Project
    clusters : ClusterSet
    named : mapping
        Name of a cluster to class id.
    """

    def __init__(self, project: Project, clusters: ClusterSet, named: Mapping[str, int]) -> None:
        self._project, self._clusters = project, clusters
        self._pixels = {int(k): c for k, c in named.items() if not k.startswith("c")}
        self._kinds = {int(k[1:]): c for k, c in named.items() if k.startswith("c")}
        self._groups = candidate_clusters(project, clusters) if self._kinds else None

    def items(self, record: ImageRecord) -> list[NewProposal]:
        """Return the proposals of an image.

        The confidence of a piece of a pixel cluster is the mean vote of its superpixels. The
        confidence of a candidate is its `nearness` to its cluster.
        """
        if not (self._pixels or self._kinds) or record.shape is None:
            return []
        free, rejected = _unlabelled(self._project, record), _rejected(self._project, record)
        least, result = LEAST_SHARE * free.size, []
        for class_id, mask, confidence in [*self._of_pixels(record), *self._of_candidates(record)]:
            open_ = mask & free
            again = any(c == class_id and _same(mask, other) for c, other in rejected)
            if open_.any() and open_.sum() >= min(least, mask.sum()) and not again:
                result.append(NewProposal(class_id, open_, float(np.clip(confidence, 0, 1))))
        return result

    def _of_pixels(self, record: ImageRecord) -> list[Item]:
        if not self._pixels:
            return []
        cached = read_map(self._project.cache, self._clusters.key, record.content_hash)
        if cached is None or cached.labels.shape != record.shape:
            return []
        return [
            (class_id, piece, float(cached.share[piece].mean()))
            for k, class_id in self._pixels.items()
            for piece in pieces(cached.labels, k)
        ]

    def _of_candidates(self, record: ImageRecord) -> list[Item]:
        """Return the regions of the candidates of named clusters, nearest first, none twice."""
        groups = self._groups
        if groups is None:
            return []
        in_image = (groups.images == record.id) & np.isin(groups.cluster, list(self._kinds))
        here = np.flatnonzero(in_image)
        order = here[np.argsort(-groups.nearness[here], kind="stable")]
        regions = self._regions(record) if here.size else {}
        items: list[Item] = []
        for i in order:
            mask = regions.get(int(groups.ids[i]))
            class_id = self._kinds[int(groups.cluster[i])]
            if mask is not None and not any(c == class_id and _same(mask, m) for c, m, _ in items):
                items.append((class_id, mask, float(groups.nearness[i])))
        return items

    def _regions(self, record: ImageRecord) -> dict[int, Bools]:
        """Return the region that a click on each candidate's peak proposes, by the row's id.

        The segment itself covers only the high scores, which is often a part of the object.
        """
        head, shape = self._clusters.head_hash, record.shape
        arrays = self._project.cache.read(head, record.content_hash)
        if arrays is None or shape is None:
            return {}
        output = ModelOutput(shape, arrays["embedding"].astype(np.float32))
        picture = cache(lambda: read(record.path))
        rule = Rule(prototype_length=self._clusters.length)
        return {
            candidate.id: click_region([Click(*candidate.peak)], output, picture, rule).full(shape)
            for candidate in candidate_details.details(self._project.database, head, record.id)
        }


def _unlabelled(project: Project, record: ImageRecord) -> Bools:
    """Return which pixels nobody has labelled, (H, W)."""
    if record.revision_id is None and record.shape is not None:
        return np.ones(record.shape, bool)
    return np.asarray(project.human_labels(record.id) == UNSET)


def _same(mask: Bools, other: Bools) -> bool:
    """Return whether the IoU of two masks is above one half."""
    return bool((mask & other).sum() > 0.5 * (mask | other).sum())


def _rejected(project: Project, record: ImageRecord) -> list[tuple[int, Bools]]:
    """Return class and mask of the cluster proposals that people rejected in an image."""
    rows = project.proposals.rejected("cluster", record.id)
    return [(row.class_id, project.proposals.mask(row.id)) for row in rows]
