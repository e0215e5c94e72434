"""Pre-training on a project as a background job: clusters, contrast, tuning, before and after."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import VOID
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.kinds.clusters import AuxiliaryLabelsJob, build_clusters, project_pictures
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel.project.store import Project
from owlabel.project.tables.catalog import inside
from owlabel_training.core.base_loop import miou, train
from owlabel_training.core.base_run import start_from
from owlabel_training.core.data import Frames
from owlabel_training.core.project_frames import ProjectFrames, project_frames, readable_images
from owlabel_training.core.project_models import add_model
from owlabel_training.core.recipe import TrainingRecipe
from owlabel_training.ood.run import only_base
from owlabel_training.pretraining.batches import Labelled
from owlabel_training.pretraining.loop import check_count, pretrain
from owlabel_training.pretraining.recipe import PretrainingRecipe

SMALL: dict[str, Any] = {"lr": 1e-3, "crop": (160, 192), "anchors": 512}
"""Of the contrast, on two CPU cores."""
TUNING: dict[str, Any] = {
    "batch_size": 4, "crop": (192, 192), "scale": (0.5, 1.25), "jitter": 0.4, "ema": 0.98,
    "optimiser": "adamw", "lr": 1e-3, "lr_backbone": 1e-3, "weight_decay": 0.02,
    "class_weight_cap": 3.0, "variance_weight": 0.04,
}  # fmt: skip


@dataclass(frozen=True)
class PretrainJob:
    """Pre-train backbone and decoder on all images of a project, then tune on its labels.

    The file of the model in use is never changed.

    Attributes
    ----------
    labels : mapping
        Fields of `AuxiliaryLabelsJob`; its checkpoint is the model in use.
    iterations, tuning : int
        Steps of the contrast and of the training on labels.
    start : {"model", "random"}
        Weights that the contrast begins with.
    seed : int
    """

    labels: Mapping[str, Any]
    iterations: int = 300
    tuning: int = 200
    start: str = "model"
    seed: int = 0

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Build clusters, pre-train, tune, register the result and compare it with before.

        Raises
        ------
        ValueError
            If there are fewer than two readable images, a setting is out of range, or there is no
            label to tune on.
        """
        build = AuxiliaryLabelsJob(**self.labels)
        with Project.open(context.project) as project:
            path = inside(project.folder, build.checkpoint)
            recipe = self._recipe(len(project_pictures(readable_images(project))))
            yield Progress(0, 0, "reading the labelled images")
            segmenter, header = load(path)
            frames = project_frames(project, segmenter, header)
            human = human_frames(project, frames.val)
            if not labelled(frames.train):
                raise ValueError(
                    "there is nothing to tune on: no pixel is labelled, and the model in use is "
                    "sure of none; label a part of some images first"
                )
            clusters = yield from build_clusters(project, build, context.work, keep_named=True)
            pretrained = project.folder / "models" / f"pretrained-{context.work.name}.safetensors"
            if not pretrained.exists():
                yield from self._contrast(project, clusters.key, recipe, context.work, pretrained)
        tuned = yield from self._tune(header, frames, pretrained, context.work / "tuning")
        yield Progress(self.tuning, self.tuning, "comparing before and after")
        pixels, names = labelled(human), header.classes.names
        models = (("before", segmenter), ("after", tuned))
        metrics = {
            "comparison": {k: _measured(m, human, names) if pixels else {} for k, m in models},
            "frames": len(frames.train), "val_frames": len(frames.val),
            "val_human_pixels": pixels, "clusters": clusters.clusters,
        }  # fmt: skip
        return metrics | self._register(context, tuned, header, path, metrics)

    def _tune(
        self, header: CheckpointHeader, frames: ProjectFrames, pretrained: Path, work: Path
    ) -> Generator[Progress, None, Segmenter]:
        """Train the pre-trained network on labels; return it."""
        work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.seed)
        segmenter = _new(header)
        start_from(segmenter, pretrained)
        recipe = TrainingRecipe(
            **TUNING, iterations=self.tuning, validate_every=max(1, self.tuning // 2),
            seed=self.seed,
        )  # fmt: skip
        watched = frames.val if labelled(frames.val) else frames.train
        return (yield from train(segmenter, (frames.train, watched), recipe, work))

    def _recipe(self, images: int) -> PretrainingRecipe:
        """Return the recipe; with fewer than four images batches hold fewer."""
        check_count(images, PretrainingRecipe(images_per_batch=2))
        recipe = PretrainingRecipe(iterations=self.iterations, seed=self.seed, **SMALL)
        return recipe.replace(images_per_batch=min(images, recipe.images_per_batch))

    def _contrast(
        self, project: Project, key: str, recipe: PretrainingRecipe, work: Path, target: Path
    ) -> Generator[Progress, None, None]:
        """Train by the contrast of the clusters of a key; write the checkpoint to tune."""
        pictures = project_pictures(readable_images(project))
        pictures = [p for p in pictures if project.cache.has(key, p.content_hash)]
        segmenter, header = load(inside(project.folder, str(self.labels["checkpoint"])))
        if self.start == "random":
            torch.manual_seed(self.seed)
            segmenter = _new(header)
        only_base(segmenter)
        source = Labelled(pictures, project.cache, key, "auxiliary", 0)
        loss = yield from pretrain(segmenter, source, recipe, work)
        save(
            segmenter,
            target,
            name=f"{header.name}, pre-trained",
            classes=replace(header.classes, classes=header.classes.base),
            recipe={**header.recipe, "contrastive_loss": loss},
        )

    def _register(
        self,
        context: JobContext,
        segmenter: Segmenter,
        header: CheckpointHeader,
        path: Path,
        metrics: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the tuned model into the project as a new version."""
        name = f"{header.name} + pre-training"
        with Project.open(context.project) as project:
            target = project.folder / "models" / f"pretrain-{context.work.name}.safetensors"
            plain = {"iterations": self.iterations, "tuning": self.tuning, "start": self.start}
            classes = replace(header.classes, classes=header.classes.base)
            save(
                segmenter.cpu(),
                target,
                name=name,
                classes=classes,
                recipe={**header.recipe, "pretraining": plain},
            )
            return add_model(project, target, (name, "pretrain"), path, metrics)


def labelled(frames: Frames) -> int:
    """Return how many pixels of some frames have a class."""
    return sum(int((label != VOID).sum()) for label in frames.labels)


def human_frames(project: Project, frames: Frames) -> Frames:
    """Return frames of a project with what people labelled or reviewed, and void elsewhere.

    Where the model itself gave the labels, it would be compared with itself.
    """
    by_name = {r.relative: r for r in project.images()}
    labels = []
    for name, label in zip(frames.names, frames.labels, strict=True):
        record = by_name[name]
        reviewed, human = project.reviewed(record.id), project.human_labels(record.id)
        rest = np.full(human.shape, VOID, np.uint8) if reviewed is None else reviewed[0]
        merged = np.where(human < len(frames.classes), human, rest).astype(np.uint8)
        merged[merged >= len(frames.classes)] = VOID
        size = (label.shape[1], label.shape[0])
        small = cv2.resize(merged, size, interpolation=cv2.INTER_NEAREST)
        labels.append(np.asarray(small, np.uint8))
    return replace(frames, labels=tuple(labels))


def _new(header: CheckpointHeader) -> Segmenter:
    """Return a network like the header's with random weights and its base classes."""
    segmenter = Segmenter(
        header.architecture,
        header.settings,
        header.heads[0].outputs,
        kind=header.kind,
        prototype_length=header.prototype_length,
    )
    segmenter.max_side, segmenter.large_images = header.max_side, header.large_images
    return segmenter


def _measured(segmenter: Segmenter, frames: Frames, names: Mapping[int, str]) -> dict[str, float]:
    """Return closed-set mIoU and the IoU of each class that occurs, by name."""
    mean, per_class = miou(segmenter, frames)
    known = {names[i]: round(float(v), 4) for i, v in enumerate(per_class) if not math.isnan(v)}
    return {"closed-set mIoU": round(mean, 4), **known}
