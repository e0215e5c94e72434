"""PLM as a job: a new head for one novel class of a project, trained on its annotated shots."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import VOID, ClassTable, LabelClass
from owlabel.images import files as images
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.requests.plm import PLM_STEPS
from owlabel.models.device import chosen_device
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel.project.store import Project
from owlabel.project.tables.catalog import inside
from owlabel_training.core.project_models import add_model
from owlabel_training.fewshot.comparison import compare
from owlabel_training.fewshot.head_training import PlmRecipe, train_head
from owlabel_training.fewshot.shots import Shot, build_cache


@dataclass(frozen=True)
class PlmShot:
    """One annotated image: which, and the revision of its human labels that holds the object."""

    image_id: int
    revision_id: int


@dataclass(frozen=True)
class PlmJob:
    """Train a head for one novel class.  The base model's file is never changed.

    Attributes
    ----------
    checkpoint : str
        Model to start from, relative to the project's folder.
    class_id, class_name, color : int, str, sequence of int
        The novel class.
    shots : sequence of mapping
        Rows of image_id and revision_id, see `PlmShot`.
    iterations : int
    lr : float or None
        None follows the rule of the number of shots, see `PlmRecipe.for_shots`.
    seed : int
    name : str
        Of the new model; "" makes one from the class.
    """

    checkpoint: str
    class_id: int
    class_name: str
    color: Sequence[int]
    shots: Sequence[Mapping[str, int]]
    iterations: int = PLM_STEPS
    lr: float | None = None
    seed: int = 0
    name: str = ""

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Train, register the new model, and measure it against the one before.

        Raises
        ------
        ValueError
            If a shot holds no pixel of the class, or a file cannot be read.
        """
        recipe = PlmRecipe.for_shots(
            len(self.shots), iterations=self.iterations, lr=self.lr, seed=self.seed
        )
        yield Progress(0, recipe.iterations, "reading the shots")
        with Project.open(context.project) as project:
            segmenter, header = load(inside(project.folder, self.checkpoint))
            shots = [read_shot(project, PlmShot(**row), self.class_id) for row in self.shots]
        torch.manual_seed(self.seed)
        head = segmenter.renew_head(self.class_id)
        segmenter.to(chosen_device())
        yield Progress(0, recipe.iterations, "computing the features of the shots")
        cache = build_cache(segmenter, shots, self.class_id, recipe.plan, self.seed)
        for parameter in segmenter.parameters():
            parameter.requires_grad_(False)
        head.requires_grad_(True)
        loss = yield from train_head(head, cache, loss_length(segmenter), recipe, context.work)
        yield Progress(recipe.iterations, recipe.iterations, "comparing before and after")
        return self._register(context, segmenter, header, loss)

    def _register(
        self, context: JobContext, segmenter: Segmenter, header: CheckpointHeader, loss: float
    ) -> dict[str, Any]:
        """Write the new model into the project and return what the window shows of it."""
        with Project.open(context.project) as project:
            name = self.name or f"{header.name} + {self.class_name}"
            path = (
                project.folder / "models" / f"plm-{context.work.name}-{self.class_id}.safetensors"
            )
            new_header = save(
                segmenter,
                path,
                name=name,
                classes=self._classes(header.classes),
                recipe={**header.recipe, f"plm_{self.class_id}": self._recipe(loss)},
                half=False,
            )
            comparison = compare(project, segmenter, header, new_header)
            metrics = {"comparison": comparison}
            parent = project.folder / self.checkpoint
            return add_model(project, path, (name, "plm"), parent, metrics) | metrics

    def _classes(self, table: ClassTable) -> ClassTable:
        """Return the model's classes with the new one."""
        others = tuple(c for c in table.classes if c.id != self.class_id)
        red, green, blue = (int(value) for value in self.color)
        added = LabelClass(self.class_id, self.class_name, (red, green, blue), novel=True)
        return ClassTable((*others, added))

    def _recipe(self, loss: float) -> dict[str, Any]:
        return {
            "shots": [dict(row) for row in self.shots],
            "iterations": self.iterations,
            "lr": self.lr,
            "seed": self.seed,
            "loss": loss,
        }


def loss_length(segmenter: Segmenter) -> float:
    """Return the T whose 2T turns a head's raw output into logits: 0.5 for softmax heads."""
    return segmenter.prototype_length if segmenter.kind == "metric" else 0.5


def read_shot(project: Project, shot: PlmShot, class_id: int) -> Shot:
    """Return image and mask of a shot.

    Raises
    ------
    ValueError
        If the revision holds no pixel of the class, or the image cannot be read.
    """
    record = project.image(shot.image_id)
    labels = project.revision(shot.revision_id)
    mask = labels == class_id
    if not mask.any():
        raise ValueError(f"{record.relative} holds no pixel of the class any more: click it again")
    return Shot(images.read(record.path), mask, labels == VOID)
