"""Pre-training on a data folder: auxiliary labels, then contrast, to a checkpoint to start from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from owlabel.classes import ClassTable, LabelClass
from owlabel.clusters.pmiou import ProxyMiou
from owlabel.images import files as images
from owlabel.jobs.job import Progress
from owlabel.jobs.kinds.auxiliary_labels import Auxiliary, Build, Picture, extractor
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel_training.core.base_run import new_segmenter
from owlabel_training.core.data import known_classes, read_classes, read_names
from owlabel_training.pretraining.batches import Labelled
from owlabel_training.pretraining.loop import check_count, pretrain
from owlabel_training.pretraining.recipe import PretrainRecipe

UNNAMED = ClassTable((LabelClass(0, "a", (90, 90, 90)), LabelClass(1, "b", (180, 180, 180))))
"""The classes of a checkpoint from a folder that names none; its last layer means nothing."""


@dataclass(frozen=True)
class PretrainingRun:
    """Pre-train on the images of a folder.  Started again with the same output folder, it goes on.

    Attributes
    ----------
    recipe : PretrainRecipe
    data : Path
        Folder with ``images/`` (or images themselves); labels are never looked at, but for PmIoU.
    output : Path
        Gets caches, log, state and ``<name>.safetensors``, which a base recipe may name as
        ``model.initial``.
    shared : Path or None
        Cache of labels that several runs share; None is one in `output`.
    """

    recipe: PretrainRecipe
    data: Path
    output: Path
    shared: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the model will lie."""
        return self.output / f"{self.recipe.name}.safetensors"

    @property
    def cache(self) -> FeatureCache:
        """Auxiliary labels and superpixels."""
        return FeatureCache(self.shared or self.output / "cache")

    def run(self) -> Generator[Progress, None, dict[str, Any]]:
        """Make auxiliary labels, train, and write the checkpoint; return its path and PmIoU.

        Raises
        ------
        ValueError
            If recipe, folder and weights do not fit, before the first step.
        """
        recipe = self.recipe
        pictures = folder_pictures(self.data, recipe.data.train)
        check_count(len(pictures), recipe.pretraining)
        torch.manual_seed(recipe.pretraining.seed)
        classes = self._classes()
        segmenter = new_segmenter(recipe.model, len(classes))
        quality: dict[str, Any] = {}
        key = ""
        if recipe.pretraining.positives == "auxiliary":
            source = extractor(recipe.labels)
            build = Build(pictures, recipe.labels, source, self.cache, self.output / "work")
            auxiliary = yield from build.run()
            key, quality = auxiliary.key, {"pmiou": self._pmiou(auxiliary, pictures)}
        labelled = Labelled(
            pictures, self.cache, key, recipe.pretraining.positives, recipe.labels.superpixels
        )
        loss = yield from pretrain(segmenter, labelled, recipe.pretraining, self.output)
        self._write(segmenter, classes, loss)
        return {"checkpoint": str(self.checkpoint), "loss": loss, **quality}

    def _classes(self) -> ClassTable:
        if not (self.data / "classes.json").is_file():
            return UNNAMED
        return known_classes(read_classes(self.data), self.recipe.data.left_out)[0]

    def _pmiou(self, auxiliary: Auxiliary, pictures: Sequence[Picture]) -> dict[str, Any] | None:
        """Return PmIoU on the images that were clustered, where there are labels; else None."""
        if not (self.data / "labels").is_dir() or not (self.data / "classes.json").is_file():
            return None
        classes, lookup = known_classes(read_classes(self.data), self.recipe.data.left_out)
        counts = ProxyMiou(len(auxiliary.clusters), len(classes))
        for picture in pictures:
            clusters, path = auxiliary.read(picture.content_hash), self._truth(picture)
            if clusters is not None and path.is_file():
                with Image.open(path) as file:
                    truth = np.asarray(file)
                if truth.shape != clusters.labels.shape:
                    raise ValueError(
                        f"{path} has size {truth.shape}, its image {clusters.labels.shape}: make "
                        "them equal, or move labels/ away (pre-training needs none)"
                    )
                counts.update(clusters.labels, lookup[truth])
        return counts.plain() if counts.pixels else None

    def _truth(self, picture: Picture) -> Path:
        return self.data / "labels" / f"{picture.path.stem}.png"

    def _write(self, segmenter: Segmenter, classes: ClassTable, loss: float) -> None:
        recipe = self.recipe.model_dump()
        recipe["data"]["folder"] = recipe["labels"]["weights"] = ""
        save(
            segmenter,
            self.checkpoint,
            name=self.recipe.name,
            classes=classes,
            recipe={**recipe, "contrastive_loss": loss},
            half=self.recipe.model.half,
        )


def folder_pictures(folder: Path, names: str = "") -> list[Picture]:
    """Return the images of a folder: those of a list of names, or all.

    Parameters
    ----------
    folder : Path
        Holds ``images/``, or images themselves.
    names : str
        A text file in it with one name a line, without suffix; "" takes all images.

    Raises
    ------
    ValueError
        If there is no folder, no image, or a named one is missing.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no data folder {folder}")
    inside = folder / "images"
    paths = images.scan(inside if inside.is_dir() else folder)
    if names:
        wanted = read_names(folder / names)
        by_name = {path.stem: path for path in paths}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise ValueError(f"there is no image {missing[0]} in {inside} ({names} names it)")
        paths = [by_name[name] for name in wanted]
    if not paths:
        raise ValueError(f"{folder} holds no image: choose the folder that does")
    return [Picture(images.content_hash(path), path) for path in paths]
