"""What named clusters propose in an image: pieces of pixel clusters, and grouped candidates."""

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
from owlabel.view.clusters.catalog import ClusterSet, grouped, read_map

Bools = NDArray[np.bool_]
Item = tuple[int, Bools, float]
"""Class id, mask (H, W), confidence."""


class Proposer:
    """Proposes what named clusters hold, without what people said or rejected.

    Parameters
    ----------
    project : Project
    found : ClusterSet
    named : mapping
        Cluster to class id.
    """

    def __init__(self, project: Project, found: ClusterSet, named: Mapping[str, int]) -> None:
        self._project, self._found = project, found
        self._pixels = {int(k): c for k, c in named.items() if not k.startswith("c")}
        self._kinds = {int(k[1:]): c for k, c in named.items() if k.startswith("c")}
        self._groups = grouped(project, found) if self._kinds else None

    def items(self, record: ImageRecord) -> list[NewProposal]:
        """Return the proposals of an image.

        Pieces of pixel clusters are as confident as their superpixels voted for them; candidates
        as clearly as they belong to their cluster.
        """
        if not (self._pixels or self._kinds) or record.shape is None:
            return []
        free, refused = _unsaid(self._project, record), _refused(self._project, record)
        least, result = LEAST_SHARE * free.size, []
        for class_id, mask, confidence in [*self._of_pixels(record), *self._of_candidates(record)]:
            open_ = mask & free
            rejected = any(c == class_id and _same(mask, other) for c, other in refused)
            if open_.any() and open_.sum() >= min(least, mask.sum()) and not rejected:
                result.append(NewProposal(class_id, open_, float(np.clip(confidence, 0, 1))))
        return result

    def _of_pixels(self, record: ImageRecord) -> list[Item]:
        if not self._pixels:
            return []
        made = read_map(self._project.cache, self._found.key, record.content_hash)
        if made is None or made.labels.shape != record.shape:
            return []
        return [
            (class_id, piece, float(made.share[piece].mean()))
            for k, class_id in self._pixels.items()
            for piece in pieces(made.labels, k)
        ]

    def _of_candidates(self, record: ImageRecord) -> list[Item]:
        """Return the region around each grouped candidate, the clearest first, none twice."""
        groups = self._groups
        if groups is None:
            return []
        mine = (groups.images == record.id) & np.isin(groups.cluster, list(self._kinds))
        here = np.flatnonzero(mine)
        order = here[np.argsort(-groups.nearness[here], kind="stable")]
        regions = self._regions(record) if here.size else {}
        found: list[Item] = []
        for i in order:
            mask = regions.get(int(groups.ids[i]))
            class_id = self._kinds[int(groups.cluster[i])]
            if mask is not None and not any(c == class_id and _same(mask, m) for c, m, _ in found):
                found.append((class_id, mask, float(groups.nearness[i])))
        return found

    def _regions(self, record: ImageRecord) -> dict[int, Bools]:
        """Return for each candidate what a click on its peak proposes, by its row's id.

        The segment itself is only where the score is high: often a part of the object.
        """
        head, shape = self._found.head_hash, record.shape
        arrays = self._project.cache.read(head, record.content_hash)
        if arrays is None or shape is None:
            return {}
        output = ModelOutput(shape, arrays["embedding"].astype(np.float32))
        picture = cache(lambda: read(record.path))
        rule = Rule(prototype_length=self._found.length)
        return {
            one.id: click_region([Click(*one.peak)], output, picture, rule).full(shape)
            for one in candidate_details.details(self._project.database, head, record.id)
        }


def _unsaid(project: Project, record: ImageRecord) -> Bools:
    """Return where nobody has said anything, (H, W)."""
    if record.revision_id is None and record.shape is not None:
        return np.ones(record.shape, bool)
    return np.asarray(project.human_labels(record.id) == UNSET)


def _same(one: Bools, other: Bools) -> bool:
    """Tell whether two masks are nearly the same piece."""
    return bool((one & other).sum() > 0.5 * (one | other).sum())


def _refused(project: Project, record: ImageRecord) -> list[tuple[int, Bools]]:
    """Return class and mask of what people rejected of the clusters' proposals here."""
    rows = project.proposals.rejected("cluster", record.id)
    return [(row.class_id, project.proposals.mask(row.id)) for row in rows]
