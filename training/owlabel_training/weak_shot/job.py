"""Weak-shot training as a background job: a project's tags become proposed masks, for review."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import UNSET, VOID
from owlabel.images import files as images
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.pending_images import read_or_note
from owlabel.models.mask.mask_former import MaskFormer
from owlabel.models.mask.weights import save_mask_former
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables.catalog import inside
from owlabel.project.tables.proposals import NewProposal
from owlabel.view.data_requirements import missing_masks, missing_tags
from owlabel_training.core.project_frames import people_labels, shrunk
from owlabel_training.core.recipe import section
from owlabel_training.core.run_state import keep_or_begin_anew
from owlabel_training.weak_shot.comparison import Masks, compare_masks
from owlabel_training.weak_shot.data import lacking
from owlabel_training.weak_shot.loop import train_weak_shot
from owlabel_training.weak_shot.project_data import TaggedProject, tagged_project
from owlabel_training.weak_shot.pseudo_labels import confidence, pseudo_labels, scores_of
from owlabel_training.weak_shot.recipe import MaskModelRecipe, WeakShotSettings
from owlabel_training.weak_shot.run import new_model, retrain

Pixels = NDArray[np.uint8]
SIDE = 192
"""Shorter side of what the network sees: what two CPU cores can train on in minutes."""
SMALL: dict[str, Any] = {"iterations": 600, "lr": 1e-3, "loss_stride": 4}
SMALL_MODEL: dict[str, Any] = {"channels": 64, "feedforward": 256, "queries": 36}
"""What differs from the small profile: few steps at a higher rate, half the channels."""
SURE, DOUBTFUL = 0.9, 0.5
"""Confidence from which a mask counts as sure, and below which as doubtful."""
LEAST_PIXELS = 16
"""Smaller masks are no proposals."""


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
        return (
            section(MaskModelRecipe, {"model": model}, "model"),
            section(WeakShotSettings, {"weak_shot": course}, "weak_shot"),
        )

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
            known = tagged_project(project, segmenter, header)
            told = _told(project, known)
        shape = known.frames.labels[0].shape
        sizes, course = self.settings((shape[0], shape[1]), len(known.frames.classes))
        model = new_model(sizes, path, known.frames, course.seed)
        yield Progress(0, course.iterations, "; ".join(told))
        total = course.iterations + course.retrain
        keep_or_begin_anew(context.work, {"class_ids": list(known.class_ids)})
        first = train_weak_shot(model, known.frames, course, context.work)
        minutes = yield from _part(first, 0, total, "training")
        if course.retrain:
            pseudo = _labels_to_retrain(model, known)
            model = new_model(sizes, path, known.frames, course.seed)
            second = retrain(model, known.frames, pseudo, course, context.work)
            minutes += yield from _part(second, course.iterations, total, "re-training")
        result = yield from self._propose(context, model, known, segmenter)
        yield Progress(course.iterations, course.iterations, "comparing before and after")
        relative = self._keep(context, model, known, header, course)
        result["comparison"] = {}
        try:
            result["comparison"] = self._compare(context, model, known, segmenter, header)
        except images.ImageError as error:  # it costs the comparison, not the network
            told.append(f"before and after were not compared: {error}")
        return {**result, "minutes": round(minutes, 2), "lacking": told, "path": relative}

    def _propose(
        self, context: JobContext, model: MaskFormer, known: TaggedProject, segmenter: Segmenter
    ) -> Generator[Progress, None, dict[str, Any]]:
        """Write the proposals, one image after the other; return how many of each class."""
        names = known.frames.classes.names
        told: dict[str, list[float]] = {names[i]: [] for i in known.frames.novel_ids}
        tagged = dict.fromkeys(told, 0)
        with Project.open(context.project) as project:
            records = [r for r in project.images() if r.error is None and known.present.get(r.id)]
            for done, record in enumerate(records, start=1):
                present = _still_tagged(project, record, known)
                for number in present:
                    tagged[names[number]] += 1
                items = _proposals(project, record, model, known, present, segmenter.max_side)
                if items:  # else what an earlier run proposed stays
                    origin = f"job {context.work.name}"
                    project.proposals.write(record.id, "weak_shot", origin, items)
                for item in items:
                    place = known.class_ids.index(item.class_id)
                    told[names[known.frames.novel_ids[place]]].append(item.confidence)
                yield Progress(done, len(records), f"proposing, {record.relative}")
        return {
            "images": len(records),
            "proposals": sum(map(len, told.values())),
            "classes": {name: _spread(tagged[name], values) for name, values in told.items()},
        }

    def _compare(
        self,
        context: JobContext,
        model: MaskFormer,
        known: TaggedProject,
        segmenter: Segmenter,
        header: CheckpointHeader,
    ) -> dict[str, Any]:
        """Return before and after where people painted a tagged class, see `compare_masks`."""
        ids = dict(zip(known.frames.novel_ids, known.class_ids, strict=True))
        with Project.open(context.project) as project:
            present = {
                r.id: _still_tagged(project, r, known)
                for r in project.images()
                if known.present.get(r.id)
            }

            def masks_in(record: ImageRecord) -> Masks:
                found = _found(project, record, model, known, present[record.id],
                               segmenter.max_side)  # fmt: skip
                return {class_id: mask for class_id, mask, _ in found}

            tagged = {i: frozenset(ids[n] for n in numbers) for i, numbers in present.items()}
            return compare_masks(project, segmenter, header, tagged, masks_in)

    def _keep(
        self,
        context: JobContext,
        model: MaskFormer,
        known: TaggedProject,
        header: CheckpointHeader,
        course: WeakShotSettings,
    ) -> str:
        """Write the network beside the project's models; return its path there."""
        relative = f"models/weak-shot-{context.work.name}.safetensors"
        told = {"weak_shot": asdict(course), "base_hash": header.heads[0].hash}
        name = f"{header.name} + tags"
        save_mask_former(model, Path(context.project) / relative, name, known.frames.classes, told)
        return relative


def _part(
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


def _told(project: Project, known: TaggedProject) -> list[str]:
    """Return which class lacks what; raises ValueError where nothing can be learnt at all."""
    lacking(known.frames)
    project.label_index.look()
    classes = project.classes()
    images = sum(r.error is None for r in project.images())
    return [*missing_tags(project, classes, images), *missing_masks(project, classes)]


def _still_tagged(project: Project, record: ImageRecord, known: TaggedProject) -> frozenset[int]:
    """Return the compact ids that are tagged present now: tags may have changed meanwhile."""
    now = {c for c, state in project.tags.of(record.id).items() if state == "present"}
    numbers = dict(zip(known.class_ids, known.frames.novel_ids, strict=True))
    return frozenset(numbers[c] for c in now if c in numbers)


def _proposals(
    project: Project,
    record: ImageRecord,
    model: MaskFormer,
    known: TaggedProject,
    present: frozenset[int],
    max_side: int,
) -> list[NewProposal]:
    """Return a mask for each class tagged in an image, where people have said nothing."""
    silent = people_labels(project, record) == UNSET
    items = []
    for class_id, mask, sure in _found(project, record, model, known, present, max_side):
        left = mask & silent
        if int(left.sum()) >= LEAST_PIXELS:
            items.append(NewProposal(class_id, left, sure))
    return items


def _found(
    project: Project,
    record: ImageRecord,
    model: MaskFormer,
    known: TaggedProject,
    present: frozenset[int],
    max_side: int,
) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
    """Yield class id, mask (H, W) and confidence of each class tagged in an image."""
    image = read_or_note(project, record)
    if image is None or image.shape[:2] != record.shape:  # it went, or was replaced meanwhile
        return
    shape = image.shape[:2]
    small = shrunk(image, np.zeros(shape, np.uint8), max_side)[0]
    scores = scores_of(model, small, sorted(set(known.frames.novel_ids) - present))
    nothing = np.full(scores.shape[1:], VOID, np.uint8)
    found = pseudo_labels(scores, nothing, present, known.frames.n_base)
    for class_id, number in zip(known.class_ids, known.frames.novel_ids, strict=True):
        mask = found == number
        yield class_id, _enlarged(mask, shape), confidence(scores, mask, number)


def _spread(tagged: int, values: list[float]) -> dict[str, Any]:
    """Return in how many of the tagged images a mask was proposed, and how sure they are."""
    return {
        "tagged": tagged,
        "proposals": len(values),
        "confidence": round(float(np.mean(values)), 4) if values else None,
        "sure": sum(value >= SURE for value in values),
        "doubtful": sum(value < DOUBTFUL for value in values),
    }


def _enlarged(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask at another size (H, W), nearest."""
    if mask.shape == shape:
        return mask
    size = (shape[1], shape[0])
    picture = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture).astype(bool)


def _labels_to_retrain(model: MaskFormer, known: TaggedProject) -> list[Pixels]:
    """Return full labels: what people said, then tagged novel classes, then what was sure."""
    frames, labels = known.frames, []
    for index, image in enumerate(frames.images):
        people = known.people[index]
        nothing = np.full(people.shape, VOID, np.uint8)
        found = pseudo_labels(
            scores_of(model, image), nothing, frames.present[index], frames.n_base
        )
        merged = np.where(found == VOID, frames.labels[index], found)
        labels.append(np.where(people == UNSET, merged, people).astype(np.uint8))
    return labels
