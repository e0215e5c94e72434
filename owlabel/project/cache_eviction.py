"""Chooses which cached embeddings to delete when the cache of a project is too large."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from owlabel.checkpoints.header import CheckpointError, read_header
from owlabel.clusters.auxiliary_settings import CURRENT, KEY_PREFIX, SUMMARY
from owlabel.project.storage.feature_cache import GIB, Trimmed
from owlabel.project.storage.records import ImageRecord
from owlabel.project.store import Project

SETTING = "cache_limit_gib"
CHECK_AFTER = (64, 4096)
"""Fewest and most images between two checks of the cache size."""
LIMIT_GIB = 20.0
"""Default limit of the cache of a project, in GiB."""


def cache_limit(project: Project) -> float:
    """Return the limit of a project's cache in GiB."""
    return float(project.setting(SETTING, LIMIT_GIB))


def trim_cache(project: Project, in_use: Iterable[str] = ()) -> Trimmed:
    """Delete cached arrays of unused models and clusters, least recently used first.

    Kept are all arrays of the model in use (they would be computed again at once), the current
    image under every model, the newest clusters, and arrays that belong to no head of this project.

    Parameters
    ----------
    project : Project
    in_use : iterable of str
        Hashes of further heads to keep, e.g. those of a running job.
    """
    heads = {model.id: _heads(model.path) for model in project.models()}
    kept = {*in_use, *heads.get(project.setting("active_model"), ())}
    others = set().union(*heads.values()) - kept
    current = project.focus()
    focus = next((r.content_hash for r in project.images() if r.id == current), None)
    clusters = _clusters(project)

    def may_go(head: str, image: str) -> bool:
        if head.startswith(KEY_PREFIX):
            return head not in clusters
        return head in others and image != focus

    return project.cache.trim(int(cache_limit(project) * GIB), may_go)


def until_full(
    project: Project, trimmed: Trimmed, heads: Iterable[str], record: ImageRecord
) -> int:
    """Return how many more images like this one to embed before the next cache check.

    A check reads the size of all files.  The next one comes when half of the free room is filled;
    without room, after a sixteenth as many images as there are files.  So checks stay rare in a
    large cache.
    """
    each = sum(project.cache.bytes_of(head, record.content_hash) for head in heads)
    room = int(cache_limit(project) * GIB) - trimmed.left
    few, many = CHECK_AFTER
    return max(few, trimmed.kept // 16, min(room // (2 * max(each, 1)), many))


def _clusters(project: Project) -> set[str]:
    """Return the keys of the newest clusters."""
    metadata = project.cache.metadata(CURRENT, SUMMARY)
    return {CURRENT} if metadata is None else {CURRENT, str(json.loads(metadata["set"])["key"])}


def trim_message(trimmed: Trimmed, limit_gib: float) -> tuple[str, str] | None:
    """Return level and text of a message about a trimmed cache, or None if nothing happened."""
    if trimmed.left > limit_gib * GIB:
        return "warning", (
            f"The cache has {trimmed.left / GIB:.1f} GiB, more than its limit of {limit_gib:g}: "
            "the model in use needs them.  Raise the limit with `owlabel cache DIR --limit GIB`."
        )
    if trimmed.files:
        return "info", (
            f"Removed {trimmed.files} cached embeddings of models not in use "
            f"({trimmed.freed / GIB:.1f} GiB) to stay under {limit_gib:g} GiB."
        )
    return None


def _heads(path: Path) -> set[str]:
    """Return the hashes of a model file's heads; none if it is lost or not a segmenter."""
    try:
        return {head.hash for head in read_header(path).heads}
    except CheckpointError:
        return set()
