"""Masks that a trained network proposes in a project's images, and how good they are.

Before is the model in use, with its trained heads and prototypes; after are the proposed masks, as
they are before what people labelled is left out of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import MAX_CLASSES, UNSET, VOID, Labels, present
from owlabel.images import files as images
from owlabel.jobs.pending_images import read_or_store_error, thinned
from owlabel.metrics import ConfusionMatrix
from owlabel.models.mask.mask_former import MaskFormer
from owlabel.models.segmenter import Segmenter
from owlabel.novel.label_maps import predict
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables.proposals import NewProposal
from owlabel_training.core.project_frames import people_labels, shrunk
from owlabel_training.fewshot.comparison import outputs_of, rule_of
from owlabel_training.weak_shot.project_data import TaggedProject
from owlabel_training.weak_shot.pseudo_labels import confidence, pseudo_labels, scores_of

Mask = NDArray[np.bool_]
MOST_IMAGES = 40
"""More images than these are thinned evenly before the comparison."""
LEAST_PIXELS = 16
"""Smaller masks are no proposals."""


@dataclass(frozen=True)
class MaskProposer:
    """A trained network at work on the images of a project.

    Attributes
    ----------
    project : Project
    model : MaskFormer
    data : TaggedProject
        What the network was trained on.
    max_side : int
        Longer images are reduced to it first.
    """

    project: Project
    model: MaskFormer
    data: TaggedProject
    max_side: int

    def tagged_images(self) -> list[ImageRecord]:
        """Return the readable images that were tagged with a novel class before the training."""
        tagged = self.data.present
        return [r for r in self.project.images() if r.error is None and tagged.get(r.id)]

    def tags(self, record: ImageRecord) -> frozenset[int]:
        """Return the project's ids of the classes tagged present now: tags may have changed."""
        states = self.project.tags.of(record.id)
        return frozenset(c for c in self.data.class_ids if states.get(c) == "present")

    def masks(
        self, record: ImageRecord, tagged: frozenset[int]
    ) -> Iterator[tuple[int, Mask, float]]:
        """Yield class id, mask (H, W) and confidence of each novel class; empty where not tagged.

        Nothing comes for an image that is gone or was replaced meanwhile.
        """
        image = read_or_store_error(self.project, record)
        if image is None or image.shape[:2] != record.shape:
            return
        frames, shape = self.data.frames, image.shape[:2]
        numbers = dict(zip(self.data.class_ids, frames.novel_ids, strict=True))
        allowed = frozenset(numbers[c] for c in tagged)
        small = shrunk(image, np.zeros(shape, np.uint8), self.max_side)[0]
        scores = scores_of(self.model, small, sorted(set(frames.novel_ids) - allowed))
        nothing = np.full(scores.shape[1:], VOID, np.uint8)
        labels = pseudo_labels(scores, nothing, allowed, frames.n_base)
        for class_id, number in numbers.items():
            mask = labels == number
            yield class_id, _enlarged(mask, shape), confidence(scores, mask, number)

    def proposals(self, record: ImageRecord, tagged: frozenset[int]) -> list[NewProposal]:
        """Return a mask for each tagged class, where people have labelled nothing."""
        unlabelled = people_labels(self.project, record) == UNSET
        masks = ((c, mask & unlabelled, sure) for c, mask, sure in self.masks(record, tagged))
        return [NewProposal(*row) for row in masks if int(row[1].sum()) >= LEAST_PIXELS]


def labels_to_retrain(model: MaskFormer, data: TaggedProject) -> list[Labels]:
    """Return full labels: what people said, then tagged novel classes, then what was sure."""
    frames, full = data.frames, []
    for index, (image, people) in enumerate(zip(frames.images, data.people, strict=True)):
        nothing = np.full(people.shape, VOID, np.uint8)
        scores = scores_of(model, image)
        novel = pseudo_labels(scores, nothing, frames.present[index], frames.n_base)
        merged = np.where(novel == VOID, frames.labels[index], novel)
        full.append(np.where(people == UNSET, merged, people).astype(np.uint8))
    return full


def _enlarged(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Return a mask at another size (H, W), nearest."""
    if mask.shape == shape:
        return mask
    size = (shape[1], shape[0])
    picture = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture).astype(bool)


def compare_masks(
    proposer: MaskProposer, segmenter: Segmenter, header: CheckpointHeader
) -> dict[str, Any]:
    """Measure model and masks in images in which people painted a class that is tagged there.

    Parameters
    ----------
    proposer : MaskProposer
    segmenter : Segmenter
        The model in use.
    header : CheckpointHeader
        Its header.

    Returns
    -------
    dict
        ``before`` and ``after`` from class name to IoU over all pixels that people gave a class,
        ``pixels`` from class name to how many they gave that class, ``images``.  Empty where
        people painted none.
    """
    project = proposer.project
    tagged = {record.id: proposer.tags(record) for record in proposer.tagged_images()}
    painted = _painted(project, tagged)
    records = [r for r in project.images() if r.id in painted and r.error is None]
    records = thinned(records, MOST_IMAGES)
    before, after = _Counts(), _Counts()
    for record, labels in zip(records, _labels(project, segmenter, header, records), strict=True):
        human = project.human_labels(record.id)
        masks = {c: mask for c, mask, _ in proposer.masks(record, tagged[record.id])}
        nothing = np.zeros(human.shape, bool)
        for class_id in painted[record.id]:
            before.add(human, labels == class_id, class_id)
            after.add(human, masks.get(class_id, nothing), class_id)
    if not records:
        return {}
    names = project.classes().names
    return {
        "before": {names[c]: value for c, value in before.iou().items()},
        "after": {names[c]: value for c, value in after.iou().items()},
        "pixels": {names[c]: pixels for c, pixels in after.pixels().items()},
        "images": len(records),
    }


class _Counts:
    """Confusion of each class with everything else that people gave a class."""

    def __init__(self) -> None:
        self.of: dict[int, ConfusionMatrix] = {}

    def add(self, human: Labels, mask: Mask, class_id: int) -> None:
        labelled = human < MAX_CLASSES
        matrix = self.of.setdefault(class_id, ConfusionMatrix(2))
        true = (human == class_id)[labelled].astype(np.uint8)
        matrix.update(true, mask[labelled].astype(np.uint8))

    def iou(self) -> dict[int, float]:
        return {c: round(float(self.of[c].iou()[1]), 4) for c in sorted(self.of)}

    def pixels(self) -> dict[int, int]:
        return {c: int(self.of[c].counts[1].sum()) for c in sorted(self.of)}


def _painted(project: Project, tagged: dict[int, frozenset[int]]) -> dict[int, list[int]]:
    """Return image id to the classes that are tagged there and that people painted there."""
    project.label_index.scan()
    painted = {}
    for image_id, ids in project.label_index.classes().items():
        if wanted := ids & tagged.get(image_id, frozenset()):
            held = wanted & set(present(project.human_labels(image_id)))  # not reviewed alone
            painted.update({image_id: sorted(held)} if held else {})
    return painted


def _labels(
    project: Project, segmenter: Segmenter, header: CheckpointHeader, records: list[ImageRecord]
) -> list[Labels]:
    """Return the labels that the model in use gives these images, each (H, W)."""
    trained = {head.class_id for head in header.heads[1:]}
    novel = [c.id for c in project.classes().novel if c.id not in trained]
    labelled = [
        (project.human_labels(r.id), outputs_of(segmenter, images.read(r.path))) for r in records
    ]
    rule = rule_of(project, labelled, novel, header.prototype_length)
    return [predict(output, rule).labels for _, output in labelled]
