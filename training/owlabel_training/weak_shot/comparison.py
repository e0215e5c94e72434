"""What masks from tags change: IoU of tagged classes where people painted them, before and after.

Before is the model in use, with its trained heads and prototypes; after are the proposed masks, as
they are before what people labelled is left out of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import MAX_CLASSES, Labels, present
from owlabel.images import files as images
from owlabel.jobs.pending_images import thinned
from owlabel.metrics import ConfusionMatrix
from owlabel.models.segmenter import Segmenter
from owlabel.novel.label_maps import predict
from owlabel.project.store import ImageRecord, Project
from owlabel_training.fewshot.comparison import outputs_of, rule_of

Masks = dict[int, NDArray[np.bool_]]
MOST_IMAGES = 40
"""More images than these are thinned evenly: the model looks at each."""


def compare_masks(
    project: Project,
    segmenter: Segmenter,
    header: CheckpointHeader,
    tagged: dict[int, frozenset[int]],
    masks_in: Callable[[ImageRecord], Masks],
) -> dict[str, Any]:
    """Measure model and masks in images in which people painted a class that is tagged there.

    Parameters
    ----------
    project : Project
    segmenter : Segmenter
        The model in use.
    header : CheckpointHeader
        Its header.
    tagged : dict
        Image id to the project's ids of the classes that are tagged present in it.
    masks_in : callable
        Returns class id to mask, (H, W), of one image.

    Returns
    -------
    dict
        ``before`` and ``after`` from class name to IoU over all pixels of which people said a
        class, ``pixels`` from class name to how many they gave that class, ``images``.  Empty where
        people painted none.
    """
    painted = _painted(project, tagged)
    records = [r for r in project.images() if r.id in painted and r.error is None]
    names = project.classes().names
    before, after = _Counts(), _Counts()
    records = thinned(records, MOST_IMAGES)
    for record, labels in zip(records, _labels(project, segmenter, header, records), strict=True):
        human, masks = project.human_labels(record.id), masks_in(record)
        nothing = np.zeros(human.shape, bool)
        for class_id in painted[record.id]:
            before.add(human, labels == class_id, class_id)
            after.add(human, masks.get(class_id, nothing), class_id)
    if not records:
        return {}
    return {
        "before": {names[c]: value for c, value in before.iou().items()},
        "after": {names[c]: value for c, value in after.iou().items()},
        "pixels": {names[c]: pixels for c, pixels in after.pixels().items()},
        "images": len(records),
    }


class _Counts:
    """Confusion of each class with everything else of which people said what it is."""

    def __init__(self) -> None:
        self.of: dict[int, ConfusionMatrix] = {}

    def add(self, human: Labels, found: NDArray[np.bool_], class_id: int) -> None:
        said = human < MAX_CLASSES
        matrix = self.of.setdefault(class_id, ConfusionMatrix(2))
        true = (human == class_id)[said].astype(np.uint8)
        matrix.update(true, found[said].astype(np.uint8))

    def iou(self) -> dict[int, float]:
        return {c: round(float(self.of[c].iou()[1]), 4) for c in sorted(self.of)}

    def pixels(self) -> dict[int, int]:
        return {c: int(self.of[c].counts[1].sum()) for c in sorted(self.of)}


def _painted(project: Project, tagged: dict[int, frozenset[int]]) -> dict[int, list[int]]:
    """Return image id to the classes that are tagged there and that people painted there."""
    project.label_index.scan()
    found = {}
    for image_id, ids in project.label_index.classes().items():
        if wanted := ids & tagged.get(image_id, frozenset()):
            held = wanted & set(present(project.human_labels(image_id)))  # not reviewed alone
            found.update({image_id: sorted(held)} if held else {})
    return found


def _labels(
    project: Project, segmenter: Segmenter, header: CheckpointHeader, records: list[ImageRecord]
) -> list[Labels]:
    """Return what the model in use says of these images, each (H, W)."""
    trained = {head.class_id for head in header.heads[1:]}
    novel = [c.id for c in project.classes().novel if c.id not in trained]
    labelled = [
        (project.human_labels(r.id), outputs_of(segmenter, images.read(r.path))) for r in records
    ]
    rule = rule_of(project, labelled, novel, header.prototype_length)
    return [predict(output, rule).labels for _, output in labelled]
