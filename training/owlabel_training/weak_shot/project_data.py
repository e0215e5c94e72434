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
    readable_images,
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
    records = readable_images(project)
    tags = _novel_tags(project, header)
    reader = _Reader(project, segmenter, header, tags)
    rows = [reader.row(record) for record in _chosen(records, tags)]
    frames = WeakFrames(
        tuple(row.name for row in rows),
        tuple(row.image for row in rows),
        tuple(row.labels for row in rows),
        tuple(tags.present(row.image_id) | row.painted for row in rows),
        tuple(tags.unknown(row.image_id) - row.painted for row in rows),
        _class_table(project, header, tags),
    )
    present = {image_id: tags.present(image_id) for image_id in tags.states}
    return TaggedProject(frames, tuple(row.people for row in rows), tuple(tags.numbers), present)


@dataclass(frozen=True)
class _Tags:
    """Tags of a project: image id to class id to state, and class id to compact id if novel."""

    states: dict[int, dict[int, str]]
    numbers: dict[int, int]

    def present(self, image_id: int) -> frozenset[int]:
        """Return the compact ids of the novel classes that are in an image."""
        states = self.states.get(image_id, {})
        return frozenset(n for c, n in self.numbers.items() if states.get(c) == "present")

    def unknown(self, image_id: int) -> frozenset[int]:
        """Return the compact ids of the novel classes that nobody has tagged there at all."""
        states = self.states.get(image_id, {})
        return frozenset(n for c, n in self.numbers.items() if c not in states)


def _novel_tags(project: Project, header: CheckpointHeader) -> _Tags:
    states = project.tags.all()
    seen = {c for row in states.values() for c, state in row.items() if state == "present"}
    base = {c.id for c in header.classes.base}
    if not seen - base:
        raise ValueError(
            "no image is tagged with a novel class: tag at least 20 images of each first"
        )
    return _Tags(states, {c: len(base) + i for i, c in enumerate(sorted(seen - base))})


def _class_table(project: Project, header: CheckpointHeader, tags: _Tags) -> ClassTable:
    """Return the base classes and the tagged novel ones, with compact ids."""
    table = {c.id: c for c in project.classes().classes}
    novel = (replace(table[c], id=number, novel=True) for c, number in tags.numbers.items())
    return ClassTable((*header.classes.base, *novel))


def _chosen(records: list[ImageRecord], tags: _Tags) -> list[ImageRecord]:
    """Return at most 200 images: tagged ones first, then the others, each evenly spread."""
    tagged = [r for r in records if tags.numbers.keys() & tags.states.get(r.id, {}).keys()]
    ids = {r.id for r in tagged}
    kept = thinned(tagged, MOST_FRAMES)
    room = MOST_FRAMES - len(kept)
    return kept + (thinned([r for r in records if r.id not in ids], room) if room > 0 else [])


@dataclass(frozen=True)
class _Row:
    """One image as the segmenter sees it, and the compact ids that people painted in it."""

    image_id: int
    name: str
    image: Pixels
    labels: Pixels
    people: Pixels
    painted: frozenset[int]


@dataclass(frozen=True)
class _Reader:
    """Reads the rows of a project."""

    project: Project
    segmenter: Segmenter
    header: CheckpointHeader
    tags: _Tags

    def row(self, record: ImageRecord) -> _Row:
        """Return an image with its labels in compact ids."""
        image = images.read(record.path)
        human = people_labels(self.project, record)
        base = np.full(256, VOID, np.uint8)  # a novel object that people painted is void:
        base[: self.segmenter.n_classes] = np.arange(self.segmenter.n_classes)  # its tag is enough
        base[UNSET] = UNSET
        compact = base.copy()
        compact[list(self.tags.numbers)] = list(self.tags.numbers.values())
        labels = self._completed(record, image, base[human])
        max_side = self.segmenter.max_side
        small, labels = shrunk(image, labels, max_side)
        people = shrunk(image, compact[human], max_side)[1]
        painted = set(np.unique(people).tolist()) & set(self.tags.numbers.values())
        return _Row(record.id, record.relative, small, labels, people, frozenset(painted))

    def _completed(self, record: ImageRecord, image: Pixels, known: Pixels) -> Pixels:
        """Return known labels, with the model's where they are unset."""
        model, unsure = model_labels(self.project, record, self.segmenter, self.header, image)
        doubtful = "present" in self.tags.states.get(record.id, {}).values()
        return np.where(known == UNSET, left_out(known, model, unsure, doubtful), known)


def left_out(people: Pixels, model: Pixels, unsure: NDArray[np.float32], doubtful: bool) -> Pixels:
    """Return labels for the pixels that people left unlabelled.

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
