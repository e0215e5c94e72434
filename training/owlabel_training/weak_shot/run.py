"""One run of weak-shot training: a recipe and a data folder to a MaskFormer and pseudo labels."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from owlabel.classes import UNSET
from owlabel.jobs.job import Progress
from owlabel.models.mask.mask_former import MaskFormer
from owlabel.models.mask.weights import on_backbone_of, save_mask_former
from owlabel_training.core.data import read_names
from owlabel_training.weak_shot.data import (
    WeakFrames,
    lacking,
    read_truth,
    tagged,
    with_masks,
)
from owlabel_training.weak_shot.loop import train_weak_shot
from owlabel_training.weak_shot.pseudo_labels import Pixels, class_maps, measure, pseudo_frames
from owlabel_training.weak_shot.recipe import MaskModelRecipe, WeakShotRecipe, WeakShotSettings


@dataclass(frozen=True)
class WeakShotTraining:
    """Learn masks of novel classes from tags.  Started again with the same folder, it goes on.

    Attributes
    ----------
    recipe : WeakShotRecipe
    base : Path or None
        Checkpoint of the project's model, whose backbone is the start; None is random weights.
    data : Path
        Folder with ``images/``, ``labels/``, ``classes.json`` and the tags.
    output : Path
        Gets log, state, ``pseudo/NAME.png`` and ``<name>.safetensors``.
    """

    recipe: WeakShotRecipe
    base: Path | None
    data: Path
    output: Path

    def run(self) -> Generator[Progress, None, dict[str, Any]]:
        """Train, write the pseudo labels, train again on them if asked, measure on `val`.

        Raises
        ------
        ValueError
            If recipe, data, tags and base do not fit or nothing can be learnt: before any step.
        """
        frames = read_training_frames(self.recipe, self.data)
        lacks = lacking(frames)
        yield Progress(0, self.recipe.weak_shot.iterations, "; ".join(lacks))
        model = new_model(self.recipe.model, self.base, frames, self.recipe.weak_shot.seed)
        minutes = yield from train_weak_shot(model, frames, self.recipe.weak_shot, self.output)
        result: dict[str, Any] = {"lacking": lacks, "minutes": minutes}
        result |= self._write(model, frames, "")
        pseudo = list(pseudo_frames(model, frames))
        self._write_pseudo(frames, pseudo)
        if self.recipe.weak_shot.retrain:
            again = new_model(self.recipe.model, self.base, frames, self.recipe.weak_shot.seed)
            yield from retrain(again, frames, pseudo, self.recipe.weak_shot, self.output)
            result["retrained"] = self._write(again, frames, "_retrained")
        return result

    def _write(self, model: MaskFormer, frames: WeakFrames, suffix: str) -> dict[str, Any]:
        """Save a model and return its path and its measures."""
        name = self.recipe.name + suffix
        path = self.output / f"{name}.safetensors"
        plain = self.recipe.model_dump()
        plain["data"]["folder"] = plain["base"]["checkpoint"] = ""
        result: dict[str, Any] = {"checkpoint": str(path)}
        if self.recipe.data.val:
            names = read_names(self.data / self.recipe.data.val)
            truth = read_truth(self.data, names, frames.classes)
            result |= measure(class_maps(model, truth), truth, frames.n_base)
        save_mask_former(model, path, name, frames.classes, {**plain, **result, "checkpoint": ""})
        return result

    def _write_pseudo(self, frames: WeakFrames, pseudo: list[Pixels]) -> None:
        folder = self.output / "pseudo"
        folder.mkdir(parents=True, exist_ok=True)
        for name, label in zip(frames.names, pseudo, strict=True):
            part = folder / f".{name}.part"
            Image.fromarray(label).save(part, "PNG")
            part.replace(folder / f"{name}.png")


def read_training_frames(recipe: WeakShotRecipe, folder: Path) -> WeakFrames:
    """Return the frames that a recipe trains on; raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"there is no data folder {folder}")
    if recipe.data.train:
        names = read_names(folder / recipe.data.train)
    else:
        names = tuple(sorted(path.stem for path in (folder / "labels").glob("*.png")))
    if not names:
        raise ValueError(f"{folder / 'labels'} has no masks")
    return tagged(folder, names, recipe.data)


def new_model(
    recipe: MaskModelRecipe, base: Path | None, frames: WeakFrames, seed: int
) -> MaskFormer:
    """Return the network to train: random decoders on the base model's backbone, or on a new one.

    Raises
    ------
    ValueError
        If the architecture is unknown, the base cannot be read, or there are too few proposals.
    """
    settings = recipe.sizes
    most = max(
        len(np.unique(label[label < UNSET])) + len(present)
        for label, present in zip(frames.labels, frames.present, strict=True)
    )
    if settings.queries < most:
        raise ValueError(
            f"model.queries must be at least the {most} classes of an image (three times as many "
            f"are advised), got {settings.queries}"
        )
    torch.manual_seed(seed)
    if base is not None:
        return on_backbone_of(base, settings, len(frames.classes))
    return MaskFormer(recipe.architecture, settings, len(frames.classes), recipe.output_stride)


def retrain(
    model: MaskFormer,
    frames: WeakFrames,
    pseudo: list[Pixels],
    recipe: WeakShotSettings,
    output: Path,
) -> Generator[Progress, None, float]:
    """Train a new model on base masks and pseudo labels as full masks: no CompLoss, no pairs."""
    full = with_masks(frames, pseudo)
    return (yield from train_weak_shot(model, full, supervised(recipe), output / "retrained"))


def supervised(recipe: WeakShotSettings) -> WeakShotSettings:
    """Return the settings of plain MaskFormer on full masks (re-training, oracle)."""
    iterations = recipe.retrain or recipe.iterations
    return recipe.replace(iterations=iterations, comp_weight=0.0, similarity="none", retrain=0)
