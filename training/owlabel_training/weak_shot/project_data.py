"""A project's images with masks of the known classes and tags of its novel ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import UNSET, VOID, ClassTable
from owlabel.images import files as images
from owlabel.jobs.pending_images import thinned
from owlabel.models.segmenter import Segmenter
from owlabel.project.store import ImageRecord, Project
from owlabel_training.core.project_frames import (
    MOST_FRAMES,
    SURE,
    model_labels,
    people_labels,
    shrunk,
)
from owlabel_training.weak_shot.data import WeakFrames

Pixels = NDArray[np.uint8]
MOSTLY = 0.5
"""People have labelled an image for the most part above this share of its pixels."""


@dataclass(frozen=True)
class TaggedProject:
    """What a project knows, ready for training.

    Attributes
    ----------
    frames : WeakFrames
        Class ids are compact: base 0 .. N - 1, then the tagged novel classes.
    people : tuple of uint8 array, shape (H, W)
        What people said of each frame in compact ids; UNSET where they said nothing, so that the
        model's own confident labels can be told from theirs.
    class_ids : tuple of int
        The project's id of each novel class, in the order of `frames.novel_ids`.
    present : dict
        Image id to the compact ids that are tagged present, of all images of the project.
    """

    frames: WeakFrames
    people: tuple[Pixels, ...]
    class_ids: tuple[int, ...]
    present: dict[int, frozenset[int]]


def tagged_project(
    project: Project, segmenter: Segmenter, header: CheckpointHeader
) -> TaggedProject:
    """Return the images of a project with labels of the known classes and tags of novel ones.

    Human labels count first, then those of reviewed images, then the model's own, see `left_out`.
    What people painted as a novel class counts as a tag there.  Of more than 200 images the tagged
    ones go first.

    Raises
    ------
    ValueError
        If no image can be read, or none is tagged with a novel class.
    """
    records = [r for r in project.images() if r.error is None and r.shape is not None]
    if not records:
        raise ValueError(f"{project.name} has no readable image to train on")
    tags = project.tags.all()
    base = {c.id for c in header.classes.base}
    named = sorted({c for row in tags.values() for c, s in row.items() if s == "present"} - base)
    if not named:
        raise ValueError(
            "no image is tagged with a novel class: tag at least 20 images of each first"
        )
    compact = {c: len(base) + i for i, c in enumerate(named)}
    rows = [
        _row(project, r, segmenter, header, compact, "present" in tags.get(r.id, {}).values())
        for r in _chosen(records, tags, set(named))
    ]
    table = {c.id: c for c in project.classes().classes}
    added = tuple(replace(table[c], id=i, novel=True) for c, i in compact.items())
    frames = WeakFrames(
        tuple(r.name for r in rows),
        tuple(r.image for r in rows),
        tuple(r.labels for r in rows),
        tuple(_present(r, tags.get(r.image_id, {}), compact) for r in rows),
        tuple(_unknown(r, tags.get(r.image_id, {}), compact) for r in rows),
        ClassTable((*header.classes.base, *added)),
    )
    known = {
        i: frozenset(compact[c] for c, s in row.items() if s == "present" and c in compact)
        for i, row in tags.items()
    }
    return TaggedProject(frames, tuple(r.people for r in rows), tuple(named), known)


@dataclass(frozen=True)
class _Row:
    """One image as the segmenter sees it."""

    image_id: int
    name: str
    image: Pixels
    labels: Pixels
    people: Pixels


def _row(
    project: Project,
    record: ImageRecord,
    segmenter: Segmenter,
    header: CheckpointHeader,
    compact: dict[int, int],
    doubtful: bool,
) -> _Row:
    image = images.read(record.path)
    people = people_labels(project, record)
    lookup = np.full(256, VOID, np.uint8)
    lookup[: segmenter.n_classes] = np.arange(segmenter.n_classes)
    lookup[UNSET] = UNSET
    known = lookup[people]  # a novel object that people painted is void: tags alone tell of it
    for class_id, number in compact.items():
        lookup[class_id] = number
    said, unsure = model_labels(project, record, segmenter, header, image)
    rest = left_out(known, said, unsure, doubtful)
    small, labels = shrunk(image, np.where(known == UNSET, rest, known), segmenter.max_side)
    return _Row(
        record.id, record.relative, small, labels,
        shrunk(image, lookup[people], segmenter.max_side)[1],
    )  # fmt: skip


def left_out(people: Pixels, model: Pixels, unsure: NDArray[np.float32], doubtful: bool) -> Pixels:
    """Return labels for the pixels of which people said nothing.

    Parameters
    ----------
    people : array of uint8, shape (H, W)
        Base ids and 255; UNSET where people said nothing.
    model : array of uint8, shape (H, W)
        The model's classes.
    unsure : array, shape (H, W)
        Its normalised entropy.
    doubtful : bool
        Whether a class is tagged in the image that the model does not know.

    Returns
    -------
    array of uint8, shape (H, W)
        The model's class where it is sure, elsewhere UNSET: nobody knows.  In a doubtful image it
        is often sure of something wrong: there the surer half counts, and where it is not sure at
        all (255) the tagged class may be.  In a doubtful image that people labelled for the most
        part, all that they left may be it.
    """
    if not doubtful:
        return np.where(unsure < SURE, model, np.uint8(UNSET)).astype(np.uint8)
    if (people != UNSET).mean() > MOSTLY:
        return np.full_like(people, VOID)
    surer = unsure < min(SURE, float(np.median(unsure)))
    rest = np.where(unsure < SURE, np.uint8(UNSET), np.uint8(VOID))
    return np.where(surer, model, rest).astype(np.uint8)


def _chosen(
    records: list[ImageRecord], tags: dict[int, dict[int, str]], novel: set[int]
) -> list[ImageRecord]:
    """Return at most 200 images: tagged ones first, then the others, each evenly spread."""
    first = [r for r in records if novel & set(tags.get(r.id, {}))]
    rest = [r for r in records if not novel & set(tags.get(r.id, {}))]
    kept = thinned(first, MOST_FRAMES)
    return kept + (thinned(rest, MOST_FRAMES - len(kept)) if len(kept) < MOST_FRAMES else [])


def _painted(row: _Row, compact: dict[int, int]) -> set[int]:
    return set(np.unique(row.people).tolist()) & set(compact.values())


def _present(row: _Row, tags: dict[int, str], compact: dict[int, int]) -> frozenset[int]:
    told = {compact[c] for c, state in tags.items() if state == "present" and c in compact}
    return frozenset(told | _painted(row, compact))


def _unknown(row: _Row, tags: dict[int, str], compact: dict[int, int]) -> frozenset[int]:
    told = {compact[c] for c in tags if c in compact}
    return frozenset(set(compact.values()) - told - _painted(row, compact))
