"""Base training: a recipe and a data folder to a checkpoint."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from owlabel.jobs.job import Progress
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel_training.core.base_loop import miou, train
from owlabel_training.core.data import Frames, read_split
from owlabel_training.core.recipe import ModelRecipe, Recipe


@dataclass(frozen=True)
class BaseTraining:
    """Train a base model.  Started again with the same output folder, it goes on.

    Attributes
    ----------
    recipe : Recipe
    data : Path
        Folder with ``images/``, ``labels/`` and ``classes.json``.
    output : Path
        Gets the log, the state to resume from and ``<name>.safetensors``.
    """

    recipe: Recipe
    data: Path
    output: Path

    @property
    def checkpoint(self) -> Path:
        """Where the model will lie."""
        return self.output / f"{self.recipe.name}.safetensors"

    def run(self) -> Generator[Progress, None, dict[str, Any]]:
        """Train; return the checkpoint's path and the validation mIoU.

        Raises
        ------
        ValueError
            If recipe or data do not fit, before the first step.
        """
        frames = read_split(self.data, self.recipe.data)
        torch.manual_seed(self.recipe.training.seed)
        segmenter = new_segmenter(self.recipe.model, len(frames[0].classes))
        self.output.mkdir(parents=True, exist_ok=True)
        segmenter = yield from train(segmenter, frames, self.recipe.training, self.output)
        return self._write(segmenter, frames[1])

    def _write(self, segmenter: Segmenter, val: Frames) -> dict[str, Any]:
        mean, per_class = miou(segmenter, val)
        names = val.classes.names
        result = {
            "checkpoint": str(self.checkpoint),
            "val_miou": mean,
            "val_iou": {names[i]: float(value) for i, value in enumerate(per_class)},
        }
        recipe = self.recipe.model_dump()
        recipe["data"]["folder"] = ""
        save(
            segmenter,
            self.checkpoint,
            name=self.recipe.name,
            classes=val.classes,
            recipe={**recipe, "val_miou": mean},
            half=self.recipe.model.half,
        )
        return result


def new_segmenter(recipe: ModelRecipe, n_classes: int) -> Segmenter:
    """Return the network to train: random weights, or those of another model but its last layer.

    Raises
    ------
    ValueError
        If the architecture is unknown or the other model has another one.
    """
    segmenter = Segmenter(
        recipe.architecture,
        recipe.settings,
        n_classes,
        kind=recipe.kind,
        prototype_length=recipe.prototype_length,
    )
    segmenter.max_side = recipe.max_side
    segmenter.large_images = recipe.large_images
    if recipe.initial:
        start_from(segmenter, Path(recipe.initial))
    return segmenter


def start_from(segmenter: Segmenter, path: Path) -> None:
    """Copy backbone and base head from a checkpoint, except the layer that names classes.

    The dilation rates may differ: weights are taken by position.
    """
    other, header = load(path)
    settings = {**other.settings, "rates": segmenter.settings["rates"]}
    if (header.architecture, settings) != (segmenter.architecture, segmenter.settings):
        raise ValueError(f"{path} has another architecture or other settings: {header.settings}")
    own = segmenter.state_dict()
    left = ("heads.0.embedding.", "heads.0.prototypes")
    taken = {
        key: value
        for key, value in other.state_dict().items()
        if key in own and not key.startswith(left)
    }
    segmenter.load_state_dict({**own, **taken})
