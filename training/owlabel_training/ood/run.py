"""One run of OoD training, from a base model and its data to a new model or a residual block."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.jobs.job import Progress
from owlabel.models.residual_block import save_block
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel_training.core.data import Frames, read_split
from owlabel_training.ood.data import OodData, ood_data
from owlabel_training.ood.entropy_maximisation import EntropyMaximisation
from owlabel_training.ood.loop import Course, train_ood
from owlabel_training.ood.proxies import read_proxies
from owlabel_training.ood.recipe import OodRecipe
from owlabel_training.ood.residual_training import ResidualTraining, fingerprint

MEASURES = {"miou": "closed-set mIoU", "ap": "AP", "auroc": "AUROC", "fpr95": "FPR95"}
"""Key of a course's row to its name for people."""
AGREEMENT = "mIoU against the old model"
"""Name of the mIoU where no person has labelled a pixel that it is measured on."""


@dataclass(frozen=True)
class OodTraining:
    """Fine-tune a base model, or train a residual block beside it, on a data folder.

    Started again with the same output folder, it goes on.

    Attributes
    ----------
    recipe : OodRecipe
    base : Path
        Checkpoint of the base model; its file is never changed.
    data : Path
        Folder with ``images/``, ``labels/`` and ``classes.json``.
    output : Path
        Gets the log, the state to resume from and ``<name>.safetensors``.
    """

    recipe: OodRecipe
    base: Path
    data: Path
    output: Path

    def run(self) -> Generator[Progress, None, dict[str, Any]]:
        """Train; return the file's path, the course, and what was before and after.

        Raises
        ------
        ValueError
            If recipe, data, proxies and base do not fit, before the first step; or if the
            closed-set mIoU fell too far.
        """
        segmenter, header = load(self.base)
        frames = read_split(self.data, self.recipe.data)
        check_classes(header, frames[0])
        proxies = read_proxies(self.recipe.proxy, segmenter.largest_side)
        data = ood_data(frames, proxies, self.recipe.proxy)
        trained = yield from train_method(segmenter, data, self.recipe, self.output)
        path = self.output / f"{self.recipe.name}.safetensors"
        write_result(trained.module, path, header, self.recipe, trained.course)
        return {"checkpoint": str(path), **summary(trained.course)}


@dataclass(frozen=True)
class Trained:
    """What came out: a segmenter or a residual block with its best weights, and the course."""

    module: nn.Module
    course: Course


def train_method(
    segmenter: Segmenter, data: OodData, recipe: OodRecipe, work: Path
) -> Generator[Progress, None, Trained]:
    """Train by the recipe's method.  RPL leaves the segmenter as it is, bit for bit.

    Raises
    ------
    MiouFellError
        If entropy maximisation cost too much closed-set mIoU in every epoch.
    """
    if recipe.entropy is not None:
        only_base(segmenter)
        entropy = EntropyMaximisation(segmenter, data, recipe.proxy, recipe.entropy)
        course = yield from train_ood(entropy, recipe.entropy, work)
        return Trained(entropy.segmenter, course)
    assert recipe.residual is not None
    before = fingerprint(segmenter)
    residual = ResidualTraining(segmenter, data, recipe.proxy, recipe.residual)
    course = yield from train_ood(residual, recipe.residual, work)
    if fingerprint(segmenter) != before:
        raise RuntimeError("training the residual block has changed the frozen base model")
    return Trained(residual.block, course)


def only_base(segmenter: Segmenter) -> None:
    """Take the heads of novel classes away: they were trained on a backbone that changes now."""
    segmenter.heads = nn.ModuleList([segmenter.head(0)])
    segmenter.novel_ids = []


def write_result(
    module: nn.Module, path: Path, header: CheckpointHeader, recipe: OodRecipe, course: Course
) -> str:
    """Write the new base model, or the residual block beside the old one; return its name."""
    plain = recipe.model_dump()
    plain["data"]["folder"] = plain["proxy"]["path"] = plain["base"]["checkpoint"] = ""
    about = {**plain, "base_hash": header.heads[0].hash, **summary(course)}
    if isinstance(module, Segmenter):
        module.cpu()
        classes = dataclasses.replace(header.classes, classes=header.classes.base)
        older = {**header.recipe, "entropy_maximisation": about}
        save(module, path, name=recipe.name, classes=classes, recipe=older)
    else:
        save_block(
            module.cpu(),  # type: ignore[arg-type]
            path,
            name=recipe.name,
            base_hash=header.heads[0].hash,
            recipe=about,
        )
    return recipe.name


def check_classes(header: CheckpointHeader, frames: Frames) -> None:
    """Refuse frames whose classes are not those of the base model."""
    ours, theirs = [c.name for c in header.classes.base], [c.name for c in frames.classes.classes]
    if ours != theirs:
        raise ValueError(
            f"the base model knows {ours}, the data have {theirs}: "
            "leave the others out (data.left_out), or take another base model"
        )


def summary(course: Course, labelled: bool = True) -> dict[str, Any]:
    """Return the course and the rows before and after, in plain values.

    Where people have labelled nothing, the frames' labels are those of the model before training:
    then the mIoU is named the agreement that it is.
    """
    first, best = course.rows[0], course.rows[course.best]
    names = MEASURES if labelled else MEASURES | {"miou": AGREEMENT}
    return {
        "comparison": {
            key: {name: round(row[k], 4) for k, name in names.items() if k in row}
            for key, row in (("before", first), ("after", best))
        },
        "course": [{k: round(v, 5) for k, v in row.items()} for row in course.rows],
        "best_epoch": int(best["epoch"]),
        "minutes": round(course.seconds / 60, 2),
    }
