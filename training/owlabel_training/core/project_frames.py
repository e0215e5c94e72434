"""A project's images as in-distribution frames: labels of people, and where the model is sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.arrays import embedding_grid
from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import MAX_CLASSES, UNSET, VOID, ClassTable
from owlabel.images import files as images
from owlabel.jobs.pending_images import thinned
from owlabel.models.embed import embed_image
from owlabel.models.segmenter import Segmenter
from owlabel.ood.registry import SCORES
from owlabel.project.store import ImageRecord, Project
from owlabel_training.core.data import Frames

Pixels = NDArray[np.uint8]
SURE = 0.3
"""Where people said nothing, the model's own class counts below this normalised entropy."""
MOST_FRAMES = 200
"""More images than these are thinned evenly: all frames are held in memory."""
VAL_STEP = 4


@dataclass(frozen=True)
class ProjectFrames:
    """Frames to train and to validate on, and how many validation pixels people have labelled."""

    train: Frames
    val: Frames
    val_human: int


def project_frames(
    project: Project, segmenter: Segmenter, header: CheckpointHeader
) -> ProjectFrames:
    """Return the images of a project with labels of the known classes.

    Human labels count first, then those of reviewed images, then the model's own where it is sure;
    novel classes and everything else are void.  Every fourth image validates.

    Raises
    ------
    ValueError
        If the project has no readable image.
    """
    records = readable_images(project)
    rows = [_frame(project, r, segmenter, header) for r in thinned(records, MOST_FRAMES)]
    classes = ClassTable(header.classes.base)
    few = len(rows) < VAL_STEP
    train = rows if few else [row for i, row in enumerate(rows) if i % VAL_STEP]
    val = rows if few else rows[::VAL_STEP]
    return ProjectFrames(_frames(train, classes), _frames(val, classes), sum(r[3] for r in val))


def readable_images(project: Project) -> list[ImageRecord]:
    """Return the images of a project that can be trained on.

    Raises
    ------
    ValueError
        If there is none.
    """
    records = [r for r in project.images() if r.error is None and r.shape is not None]
    if not records:
        raise ValueError(f"{project.name} has no readable image to train on")
    return records


Row = tuple[str, Pixels, Pixels, int]


def _frames(rows: list[Row], classes: ClassTable) -> Frames:
    names, pictures, labels, _ = zip(*rows, strict=True)
    return Frames(names, pictures, labels, classes)


def _frame(
    project: Project, record: ImageRecord, segmenter: Segmenter, header: CheckpointHeader
) -> Row:
    """Return name, image, labels, and the number of pixels that people have labelled."""
    image = images.read(record.path)
    labels = sure_labels(project, record, segmenter, header, image)
    human = people_labels(project, record)
    labels = np.where(human == UNSET, labels, human)
    people = int((human < segmenter.n_classes).sum())
    labels = np.where(labels < segmenter.n_classes, labels, np.uint8(VOID)).astype(np.uint8)
    return record.relative, *shrunk(image, labels, segmenter.largest_side), people


def people_labels(project: Project, record: ImageRecord) -> Pixels:
    """Return what people said: their own labels over the reviewed ones, UNSET elsewhere."""
    reviewed = project.reviewed(record.id)
    layers = [project.human_labels(record.id), *([] if reviewed is None else [reviewed[0]])]
    labels = np.full_like(layers[0], UNSET)
    for layer in layers:
        human = (layer < MAX_CLASSES) | (layer == VOID)
        labels = np.where((labels == UNSET) & human, layer, labels)
    return labels


def sure_labels(
    project: Project,
    record: ImageRecord,
    segmenter: Segmenter,
    header: CheckpointHeader,
    image: Pixels,
) -> Pixels:
    """Return the model's class where its entropy is low, void elsewhere, uint8 (H, W)."""
    labels, unsure = model_labels(project, record, segmenter, header, image)
    return np.where(unsure < SURE, labels, np.uint8(VOID))


def model_labels(
    project: Project,
    record: ImageRecord,
    segmenter: Segmenter,
    header: CheckpointHeader,
    image: Pixels,
) -> tuple[Pixels, NDArray[np.float32]]:
    """Return the model's class of every pixel and its normalised entropy, each (H, W)."""
    arrays = project.cache.read(header.heads[0].hash, record.content_hash)
    embedding = embed_image(segmenter, image)[0] if arrays is None else arrays["embedding"]
    values = embedding.astype(np.float32)
    shape = (image.shape[0], image.shape[1])
    unsure = np.asarray(SCORES["entropy"].of(values, segmenter.prototype_length))
    return embedding_grid.argmax_upsampled(values, shape), embedding_grid.upsample(unsure, shape)


def shrunk(image: Pixels, labels: Pixels, max_side: int) -> tuple[Pixels, Pixels]:
    """Return picture and labels at the size in which the segmenter sees them."""
    rows, columns = labels.shape
    if max(rows, columns) <= max_side:
        return image, labels
    factor = max_side / max(rows, columns)
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(small), np.asarray(
        Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
    )
