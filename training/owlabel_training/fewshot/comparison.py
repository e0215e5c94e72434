"""Before and after a new head: IoU on the pixels that a human has labelled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import MAX_CLASSES, UNSET, Labels
from owlabel.jobs.pending_images import read_or_store_error
from owlabel.metrics import ConfusionMatrix
from owlabel.models.embed import embed_image
from owlabel.models.segmenter import Segmenter
from owlabel.novel import prototypes as fewshot
from owlabel.novel.label_maps import ModelOutput, Rule, predict
from owlabel.novel.prototypes import NovelPrototype
from owlabel.project.store import Project


def compare(
    project: Project, segmenter: Segmenter, before: CheckpointHeader, after: CheckpointHeader
) -> dict[str, dict[str, float | int | None]]:
    """Measure two models on all human-labelled pixels of a project.

    Parameters
    ----------
    project : Project
    segmenter : Segmenter
        The new model; the one before has its heads except those `before` does not name.
    before, after : CheckpointHeader
        Which novel classes have heads; the others are labelled by their prototypes (NPM).

    Returns
    -------
    dict
        ``before`` and ``after`` from class name to IoU (None where it cannot be said), ``pixels``
        from class name to the number of pixels a human gave that class.
    """
    labelled = [(human, outputs_of(segmenter, image)) for human, image in human_labelled(project)]
    table = project.classes()
    confusions = {}
    for key, header in (("before", before), ("after", after)):
        trained = {head.class_id for head in header.heads[1:]}
        # a class that is trained anew had another head before: the prototype stands in for it
        changed = {h.class_id: h.hash for h in before.heads[1:]}
        if key == "before":
            same = {h.class_id for h in after.heads[1:] if changed.get(h.class_id) == h.hash}
            trained &= same
        novel = [c.id for c in table.classes if c.novel and c.id not in trained]
        rule = rule_of(project, labelled, novel, before.prototype_length)
        confusions[key] = _confusion(labelled, trained, rule)
    counts = confusions["before"].counts.sum(axis=1)
    names = {c.id: c.name for c in table.classes if counts[c.id]}
    result: dict[str, dict[str, float | int | None]] = {
        key: {name: _number(matrix.iou()[class_id]) for class_id, name in names.items()}
        for key, matrix in confusions.items()
    }
    result["pixels"] = {name: int(counts[class_id]) for class_id, name in names.items()}
    return result


def human_labelled(project: Project) -> Iterator[tuple[Labels, NDArray[np.uint8]]]:
    """Yield human labels and image of all images about which a human has said something."""
    for record in project.images():
        if record.error is None and record.revision_id is not None:
            human = project.human_labels(record.id)
            image = read_or_store_error(project, record) if (human < MAX_CLASSES).any() else None
            if image is not None and image.shape[:2] == human.shape:
                yield human, image


def outputs_of(segmenter: Segmenter, image: NDArray[np.uint8]) -> ModelOutput:
    """Return what all heads make of an image, uint8 (H, W, 3)."""
    grids = [array.astype(np.float32) for array in embed_image(segmenter, image)]
    heads = tuple(zip(segmenter.novel_ids, grids[1:], strict=True))
    return ModelOutput((image.shape[0], image.shape[1]), grids[0], heads)


def rule_of(
    project: Project,
    labelled: list[tuple[Labels, ModelOutput]],
    class_ids: list[int],
    prototype_length: float,
) -> Rule:
    """Return the prototypes of some classes from all their human pixels."""
    prototypes = []
    for class_id in class_ids:
        means = [
            fewshot.image_mean(output.embedding, human == class_id)
            for human, output in labelled
            if (human == class_id).any()
        ]
        if means:
            vector = fewshot.novel_prototype(means)
            prototypes.append(NovelPrototype(class_id, vector, len(means)))
    value = project.setting("lambda_novel", fewshot.LAMBDA_NOVEL)
    return Rule(tuple(prototypes), float(value), prototype_length)


def _confusion(
    labelled: list[tuple[Labels, ModelOutput]], trained: set[int | None], rule: Rule
) -> ConfusionMatrix:
    matrix = ConfusionMatrix(MAX_CLASSES)
    for human, output in labelled:
        heads = tuple(head for head in output.heads if head[0] in trained)
        labels = predict(ModelOutput(output.shape, output.embedding, heads), rule).labels
        said = (human != UNSET) & (human < MAX_CLASSES)
        matrix.update(human[said], labels[said])
    return matrix


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
