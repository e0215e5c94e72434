"""Embeds the images of a project: the image in focus first, then its neighbours, then the rest."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.classes import Labels
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.kinds.residual_energy import Residuals
from owlabel.jobs.pending_images import nearest_first, read_or_store_error, waiting_images
from owlabel.ood.candidates import SCORE, THRESHOLD, Candidate, find_segments
from owlabel.ood.registry import SCORES
from owlabel.project.cache_eviction import cache_limit, trim_cache, trim_message, until_full
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables.catalog import inside
from owlabel.view.review_decisions import candidate_features

if TYPE_CHECKING:
    from owlabel.models.segmenter import Segmenter


@dataclass(frozen=True)
class EmbedJob:
    """Compute missing embeddings; an image that cannot be read gets an error and is skipped.

    Attributes
    ----------
    checkpoint : str
        The model, relative to the project's folder.
    image_ids : sequence of int or None
        Only these images; None for all.
    threshold : float
        Candidates are pixels with `candidates.SCORE` above this, in [0, 1].
    """

    checkpoint: str
    image_ids: Sequence[int] | None = None
    threshold: float = THRESHOLD

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Embed all images that are missing in the cache; yields after each image."""
        with Project.open(context.project) as project:
            path = inside(project.folder, self.checkpoint)
            header = read_header(path)
            heads = [head.hash for head in header.heads]

            def missing(record: ImageRecord) -> bool:
                return not all(project.cache.has(h, record.content_hash) for h in heads)

            waiting = waiting_images(project, self.image_ids, missing)
            total, broken = len(waiting), 0
            if not waiting:
                return {"embedded": 0, "errors": 0}
            yield Progress(0, total, "loading the model")
            segmenter, residuals, next_check = _load(path), Residuals(project, header), 1
            for done, record in enumerate(nearest_first(waiting, project), start=1):
                broken += not embed_one(
                    project, header, segmenter, record, self.threshold, residuals
                )
                if done in (next_check, total):
                    trimmed = trim_cache(project, heads)
                    next_check = done + until_full(project, trimmed, heads, record)
                yield Progress(done, total, record.relative)
            message = trim_message(trimmed, cache_limit(project))
        return {"embedded": total - broken, "errors": broken} | (
            {"told": message} if message else {}
        )


def _load(path: Path) -> Segmenter:
    from owlabel.models.device import chosen_device
    from owlabel.models.weights import load  # torch: only in the worker, while a job runs

    return load(path)[0].to(chosen_device())


def embed_one(
    project: Project,
    header: CheckpointHeader,
    segmenter: Segmenter,
    record: ImageRecord,
    threshold: float = THRESHOLD,
    residuals: Residuals | None = None,
) -> bool:
    """Embed one image with every head; if it cannot be read, store why and return False.

    The cache file is written last, so its existence means that everything else is stored.
    """
    from owlabel.models.embed import embed_features, image_features

    image = read_or_store_error(project, record)
    if image is None:
        return False
    shape = (image.shape[0], image.shape[1])
    backbone_features = image_features(segmenter, image)
    grids = embed_features(segmenter, backbone_features)
    if residuals is not None and residuals.missing(record):
        residuals.store(segmenter, record, backbone_features, shape)
    for index, (head, grid) in enumerate(zip(header.heads, grids, strict=True)):
        classes = channel_classes(header, index)
        candidates, segments = candidates_of(grid, shape, classes, header, threshold)
        features = candidate_features(grid.astype(np.float32), header.prototype_length, segments)
        project.candidates.replace(
            record.id, head.hash, candidates, segments=segments, features=features
        )
    for head, grid in zip(header.heads, grids, strict=True):
        metadata = {"height": str(shape[0]), "width": str(shape[1]), "model": header.name}
        project.cache.write(head.hash, record.content_hash, {"embedding": grid}, metadata)
    return True


def channel_classes(header: CheckpointHeader, head: int) -> NDArray[np.uint8]:
    """Return the class id of each output channel of a head, shape (outputs,)."""
    base = [c.id for c in header.classes.base]
    novel = [h.class_id for h in header.heads[1 : head + 1] if h.class_id is not None]
    return np.array([*base, *novel][: header.heads[head].outputs], np.uint8)


def candidates_of(
    grid: NDArray[np.float16],
    shape: tuple[int, int],
    classes: NDArray[np.uint8],
    header: CheckpointHeader,
    threshold: float,
) -> tuple[list[Candidate], NDArray[np.int32]]:
    """Return candidates and segments (h, w) of an embedding grid (N, h, w) of an image (H, W)."""
    embedding = grid.astype(np.float32)
    score = np.asarray(SCORES[SCORE].of(embedding, header.prototype_length))
    base_map: Labels = classes[embedding.argmax(axis=0)]  # (h, w)
    return find_segments(score, base_map, shape, threshold)
