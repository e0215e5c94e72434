"""Weak-shot training as a background job: a project's tags become proposed masks, for review."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from owlabel.images import files as images
from owlabel.jobs.job import JobContext, Progress
from owlabel.models.mask.mask_former import MaskFormer
from owlabel.models.mask.weights import save_mask_former
from owlabel.models.weights import load
from owlabel.project.store import Project
from owlabel.project.tables.catalog import inside
from owlabel.view.data_requirements import missing_masks, missing_tags
from owlabel_training.core.run_state import keep_or_begin_anew
from owlabel_training.weak_shot.data import lacking
from owlabel_training.weak_shot.loop import train_weak_shot
from owlabel_training.weak_shot.project_data import TaggedProject, tagged_project
from owlabel_training.weak_shot.proposals import MaskProposer, compare_masks, labels_to_retrain
from owlabel_training.weak_shot.recipe import MaskModelRecipe, WeakShotSettings
from owlabel_training.weak_shot.run import new_model, retrain

SIDE = 192
"""Shorter side of what the network sees: what two CPU cores can train on in minutes."""
SMALL: dict[str, Any] = {"iterations": 600, "lr": 1e-3, "loss_stride": 4}
SMALL_MODEL: dict[str, Any] = {"channels": 64, "feedforward": 256, "queries": 36}
"""What differs from the small profile: few steps at a higher rate, half the channels."""
SURE, DOUBTFUL = 0.9, 0.5
"""Confidence from which a mask counts as sure, and below which as doubtful."""


@dataclass(frozen=True)
class WeakShotJob:
    """Learn masks of the tagged classes and propose them.  No label is written.

    Attributes
    ----------
    checkpoint : str
        The model in use, relative to the project's folder: its backbone is the start.
    course : mapping
        Fields of `WeakShotSettings` over the small profile.
    model : mapping
        Fields of `MaskModelRecipe` over the small profile; there are three proposals for each
        class at least.
    """

    checkpoint: str
    course: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    def settings(
        self, shape: tuple[int, int], n_classes: int
    ) -> tuple[MaskModelRecipe, WeakShotSettings]:
        """Return sizes and course for images of this shape (H, W); raises ValueError."""
        short, long = min(shape), max(shape)
        factor = SIDE / short
        wide = int(np.clip(round(long * factor / 32) * 32, SIDE, 2 * SIDE))
        crop = [SIDE, wide] if shape[0] <= shape[1] else [wide, SIDE]
        usual = {**SMALL, "crop": crop, "scale": [factor, 1.25 * factor]}
        queries = max(SMALL_MODEL["queries"], 3 * n_classes)
        model = {**SMALL_MODEL, "queries": queries, "short_side": SIDE, **self.model}
        course = {**usual, **self.course}
        return MaskModelRecipe(**model), WeakShotSettings(**course)

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Train, then propose a mask for each class in each image that is tagged with it.

        Raises
        ------
        ValueError
            Before the first step, if nothing is tagged, no known class has a mask, or a field is
            out of range.
        """
        yield Progress(0, 0, "reading the images and their tags")
        with Project.open(context.project) as project:
            path = inside(project.folder, self.checkpoint)
            segmenter, header = load(path)
            data = tagged_project(project, segmenter, header)
            lacks = _lacks(project, data)
        shape = data.frames.labels[0].shape
        sizes, course = self.settings((shape[0], shape[1]), len(data.frames.classes))
        new = partial(new_model, sizes, path, data.frames, course.seed)
        keep_or_begin_anew(context.work, {"class_ids": list(data.class_ids)})
        yield Progress(0, course.iterations, "; ".join(lacks))
        model, minutes = yield from _train(new, data, course, context.work)
        relative = f"models/weak-shot-{context.work.name}.safetensors"
        about = {"weak_shot": course.model_dump(), "base_hash": header.heads[0].hash}
        name, classes = f"{header.name} + tags", data.frames.classes
        comparison: dict[str, Any] = {}
        with Project.open(context.project) as project:
            proposer = MaskProposer(project, model, data, segmenter.max_side)
            result = yield from _propose(proposer, f"job {context.work.name}")
            yield Progress(course.iterations, course.iterations, "comparing before and after")
            save_mask_former(model, context.project / relative, name, classes, about)
            try:
                comparison = compare_masks(proposer, segmenter, header)
            except images.ImageError as error:  # it costs the comparison, not the network
                lacks.append(f"before and after were not compared: {error}")
        return {
            **result, "comparison": comparison, "minutes": round(minutes, 2), "lacking": lacks,
            "path": relative,
        }  # fmt: skip


def _train(
    new: Callable[[], MaskFormer], data: TaggedProject, course: WeakShotSettings, work: Path
) -> Generator[Progress, None, tuple[MaskFormer, float]]:
    """Train on masks and tags, then on pseudo labels if asked; return model and minutes."""
    total = course.iterations + course.retrain
    model = new()
    first = train_weak_shot(model, data.frames, course, work)
    minutes = yield from _renamed(first, 0, total, "training")
    if course.retrain:
        labels = labels_to_retrain(model, data)
        model = new()
        second = retrain(model, data.frames, labels, course, work)
        minutes += yield from _renamed(second, course.iterations, total, "re-training")
    return model, minutes


def _renamed(
    steps: Generator[Progress, None, float], before: int, total: int, name: str
) -> Generator[Progress, None, float]:
    """Pass on the steps of a training that begins after so many steps, of a total."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return float(end.value)
        words = step.message.replace("training", name, 1)
        yield replace(step, done=before + step.done, total=total, message=words)


def _propose(proposer: MaskProposer, origin: str) -> Generator[Progress, None, dict[str, Any]]:
    """Write the proposals, one image after the other; return how many of each class."""
    records, data = proposer.tagged_images(), proposer.data
    numbers = dict(zip(data.class_ids, data.frames.novel_ids, strict=True))
    confidences: dict[int, list[float]] = {c: [] for c in data.class_ids}
    tagged = dict.fromkeys(confidences, 0)
    for done, record in enumerate(records, start=1):
        tags = proposer.tags(record)
        for class_id in tags:
            tagged[class_id] += 1
        items = proposer.proposals(record, tags)
        if items:  # else what an earlier run proposed stays
            proposer.project.proposals.write(record.id, "weak_shot", origin, items)
        for item in items:
            confidences[item.class_id].append(item.confidence)
        yield Progress(done, len(records), f"proposing, {record.relative}")
    names = data.frames.classes.names
    return {
        "images": len(records),
        "proposals": sum(map(len, confidences.values())),
        "classes": {
            names[numbers[c]]: _spread(tagged[c], values) for c, values in confidences.items()
        },
    }


def _lacks(project: Project, data: TaggedProject) -> list[str]:
    """Return which class lacks what; raises ValueError where nothing can be learnt at all."""
    lacking(data.frames)
    project.label_index.scan()
    classes = project.classes()
    readable = sum(record.error is None for record in project.images())
    return [*missing_tags(project, classes, readable), *missing_masks(project, classes)]


def _spread(tagged: int, confidences: list[float]) -> dict[str, Any]:
    """Return in how many of the tagged images a mask was proposed, and how sure they are."""
    return {
        "tagged": tagged,
        "proposals": len(confidences),
        "confidence": round(float(np.mean(confidences)), 4) if confidences else None,
        "sure": sum(value >= SURE for value in confidences),
        "doubtful": sum(value < DOUBTFUL for value in confidences),
    }
