"""What named clusters propose in an image: pieces of pixel clusters, and grouped candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from owlabel.auxiliary.summary import LEAST_SHARE, pieces
from owlabel.classes import UNSET
from owlabel.cluster_set import ClusterSet, candidate_masks, grouped, read_map
from owlabel.project.proposals import NewProposal
from owlabel.project.store import ImageRecord, Project

Bools = NDArray[np.bool_]


def proposed(
    project: Project, record: ImageRecord, found: ClusterSet, named: Mapping[str, int]
) -> list[NewProposal]:
    """Return what the named clusters propose in an image, without what people said or rejected.

    Parameters
    ----------
    project : Project
    record : ImageRecord
    found : ClusterSet
    named : mapping
        Cluster to class id.

    Returns
    -------
    list of NewProposal
        Pieces of pixel clusters, confident by their share of votes; candidates of clusters of
        candidates, confident by their nearness to the centre.
    """
    if not named or record.shape is None or record.error is not None:
        return []
    free = _unsaid(project, record)
    items = _of_pixels(project, record, found, named)
    items += _of_candidates(project, record, found, named)
    least, result = LEAST_SHARE * free.size, []
    refused = _refused(project, record)
    for class_id, mask, confidence in items:
        open_ = mask & free
        rejected = any(c == class_id and _same(mask, other) for c, other in refused)
        if open_.sum() >= min(least, mask.sum()) and open_.any() and not rejected:
            result.append(NewProposal(class_id, open_, float(np.clip(confidence, 0, 1))))
    return result


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


Item = tuple[int, Bools, float]


def _of_pixels(
    project: Project, record: ImageRecord, found: ClusterSet, named: Mapping[str, int]
) -> list[Item]:
    numbers = {int(k): c for k, c in named.items() if not k.startswith("c")}
    made = read_map(project.cache, found.key, record.content_hash) if numbers else None
    if made is None or made.labels.shape != record.shape:
        return []
    return [
        (class_id, piece, float(made.share[piece].mean()))
        for k, class_id in numbers.items()
        for piece in pieces(made.labels, k)
    ]


def _of_candidates(
    project: Project, record: ImageRecord, found: ClusterSet, named: Mapping[str, int]
) -> list[Item]:
    numbers = {int(k[1:]): c for k, c in named.items() if k.startswith("c")}
    groups = grouped(project, found) if numbers else None
    if groups is None or record.shape is None:
        return []
    here = np.flatnonzero((groups.images == record.id) & np.isin(groups.cluster, list(numbers)))
    masks = candidate_masks(project, found.head_hash, record) if here.size else {}
    return [
        (numbers[int(groups.cluster[i])], masks[int(groups.ids[i])], float(groups.nearness[i]))
        for i in here
        if int(groups.ids[i]) in masks
    ]
