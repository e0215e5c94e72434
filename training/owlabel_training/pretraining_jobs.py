"""Pre-training on a project as a background job: clusters, contrast, tuning, before and after."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from owlabel.checkpoints import CheckpointHeader
from owlabel.cluster_set import ClusterSet
from owlabel.jobs.clusters import AuxiliaryLabelsJob, build_clusters, project_pictures
from owlabel.jobs.job import JobContext, Progress
from owlabel.models.checkpoint import load, save
from owlabel.models.segmenter import Segmenter
from owlabel.project.catalog import inside
from owlabel.project.store import Project
from owlabel_training.base import start_from
from owlabel_training.loop import miou, train
from owlabel_training.ood_runs import only_base
from owlabel_training.plm import parent_id
from owlabel_training.pretraining_batches import Labelled
from owlabel_training.pretraining_loop import check_count, pretrain
from owlabel_training.pretraining_recipe import PretrainingRecipe
from owlabel_training.project_frames import project_frames
from owlabel_training.recipe import TrainingRecipe

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
            If there are fewer than two readable images, or a setting is out of range.
        """
        build = AuxiliaryLabelsJob(**self.labels)
        with Project.open(context.project) as project:
            path = inside(project.folder, build.checkpoint)
            records = [r for r in project.images() if r.error is None and r.shape is not None]
            recipe = self._recipe(len(project_pictures(records)))
            found = yield from build_clusters(project, build, context.work)
            segmenter, header = load(path)
            pretrained = project.folder / "models" / f"pretrained-{context.work.name}.safetensors"
            if not pretrained.exists():
                yield from self._contrast(project, found, header, recipe, context, pretrained)
            yield Progress(0, 0, "reading the labelled images")
            frames = project_frames(project, segmenter, header)
        tuned = _started(header, pretrained, self.seed)
        recipe_ = TrainingRecipe(
            **TUNING, iterations=self.tuning, validate_every=max(1, self.tuning // 2),
            seed=self.seed,
        )  # fmt: skip
        tuned = yield from train(tuned, (frames.train, frames.val), recipe_, _folder(context))
        yield Progress(self.tuning, self.tuning, "comparing before and after")
        names = header.classes.names
        comparison = {
            key: _measured(model, frames.val, names)
            for key, model in (("before", segmenter), ("after", tuned))
        }
        told = {
            "comparison": comparison, "frames": len(frames.train),
            "val_frames": len(frames.val), "val_human_pixels": frames.val_human,
            "clusters": found.clusters,
        }  # fmt: skip
        return told | self._register(context, tuned, header, path, told)

    def _recipe(self, images: int) -> PretrainingRecipe:
        """Return the recipe; with fewer than four images batches hold fewer."""
        check_count(images, PretrainingRecipe(images_per_batch=2))
        recipe = PretrainingRecipe(iterations=self.iterations, seed=self.seed, **SMALL)
        return replace(recipe, images_per_batch=min(images, recipe.images_per_batch))

    def _contrast(
        self,
        project: Project,
        found: ClusterSet,
        header: CheckpointHeader,
        recipe: PretrainingRecipe,
        context: JobContext,
        target: Path,
    ) -> Generator[Progress, None, None]:
        """Train by contrast and write the checkpoint that tuning starts from."""
        records = [r for r in project.images() if r.error is None and r.shape is not None]
        pictures = [p for p in project_pictures(records) if project.cache.has(found.key, p[0])]
        path = inside(project.folder, str(self.labels["checkpoint"]))
        torch.manual_seed(self.seed)
        segmenter = load(path)[0] if self.start == "model" else _new(header)
        only_base(segmenter)
        source = Labelled(pictures, project.cache, found.key, "auxiliary", 0)
        loss = yield from pretrain(segmenter, source, recipe, context.work)
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
        told: Mapping[str, Any],
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
            version = project.add_model(target, name, "pretrain", parent_id(project, path), told)
            relative = target.relative_to(project.folder).as_posix()
        return {"model_id": version.id, "path": relative}


def _folder(context: JobContext) -> Path:
    folder = context.work / "tuning"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _new(header: CheckpointHeader) -> Segmenter:
    """Return a network like the header's with random weights and its base classes."""
    made = Segmenter(
        header.architecture,
        header.settings,
        header.heads[0].outputs,
        kind=header.kind,
        prototype_length=header.prototype_length,
    )
    made.max_side, made.large_images = header.max_side, header.large_images
    return made


def _started(header: CheckpointHeader, pretrained: Path, seed: int) -> Segmenter:
    """Return the network to tune: pre-trained but for the layer that names classes."""
    torch.manual_seed(seed)
    made = _new(header)
    start_from(made, pretrained)
    return made


def _measured(segmenter: Segmenter, frames: Any, names: Mapping[int, str]) -> dict[str, float]:
    """Return closed-set mIoU and the IoU of each class that occurs, by name."""
    mean, per_class = miou(segmenter, frames)
    found = {names[i]: round(float(v), 4) for i, v in enumerate(per_class) if not math.isnan(v)}
    return {"closed-set mIoU": round(mean, 4), **found}
