"""What a step of pre-training reads: views of several images, and which of their pixels count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from owlabel.clusters.auxiliary_settings import REMOVED
from owlabel.clusters.label_maps import from_png, to_png
from owlabel.clusters.superpixels import superpixels
from owlabel.images import files as images
from owlabel.jobs.kinds.auxiliary_labels import Picture
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel.view.clusters.catalog import read_map
from owlabel_training.pretraining.recipe import PretrainingRecipe
from owlabel_training.pretraining.views import NONE, LabelMap, two_views

STRIDE = 4
"""Of the decoder's features."""
CELL = 4
"""Pixels of the side of what counts as the same pixel in two views: one point of the grid."""


@dataclass(frozen=True)
class Labelled:
    """Images with the labels that say which of their pixels belong together; nothing is kept.

    Attributes
    ----------
    pictures : sequence of Picture
    cache : FeatureCache
    key : str
        Under which the auxiliary labels are cached.
    positives : {"pixel", "superpixel", "auxiliary"}
    count : int
        Superpixels of an image.
    """

    pictures: Sequence[Picture]
    cache: FeatureCache
    key: str
    positives: str
    count: int

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, index: int) -> tuple[NDArray[np.uint8], LabelMap]:
        """Return image (H, W, 3) and labels (H, W), `NONE` where a pixel shall not be used.

        Raises
        ------
        ValueError
            If the image cannot be read or its labels are gone.
        """
        picture = self.pictures[index]
        image = images.read(picture.path)
        if self.positives == "pixel":
            rows, cols = (np.arange(side) // CELL for side in image.shape[:2])
            return image, rows[:, None] * (int(cols[-1]) + 1) + cols
        if self.positives == "superpixel":
            return image, self._superpixels(picture, image)
        auxiliary = read_map(self.cache, self.key, picture.content_hash)
        if auxiliary is None or auxiliary.labels.shape != image.shape[:2]:
            raise ValueError(f"the auxiliary labels of {picture.path.name} are gone: build again")
        labels = auxiliary.labels.astype(np.int64)
        labels[auxiliary.labels == REMOVED] = NONE
        return image, labels

    def _superpixels(self, picture: Picture, image: NDArray[np.uint8]) -> LabelMap:
        key = f"slic-{self.count}"
        arrays = self.cache.read(key, picture.content_hash)
        if arrays is not None:
            return from_png(arrays["superpixels"]).astype(np.int64)
        labels = superpixels(image, self.count)
        png = to_png(labels.astype(np.uint16))
        self.cache.write(key, picture.content_hash, {"superpixels": png})
        return labels.astype(np.int64)


class ViewSampler:
    """Batches that depend on the seed and the step alone, so that a resumed run sees the same."""

    def __init__(self, source: Labelled, recipe: PretrainingRecipe) -> None:
        self.source, self.recipe = source, recipe

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return views, the pixels that count, and their labels.

        Returns
        -------
        images : Tensor, shape (2 B, 3, s, s)
            In [0, 1]; views 2 i and 2 i + 1 are of one image.
        places : Tensor of int64, shape (A,)
            Flat indices into the grid of all views, (2 B, s / 4, s / 4).
        labels : Tensor of int64, shape (A,)
        """
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, step])
        side = int(rng.choice(recipe.sides))
        chosen = rng.choice(len(self.source), recipe.images_per_batch, replace=False)
        pictures, maps = [], []
        for index in chosen:
            for picture, seen in two_views(*self.source.read(int(index)), rng, side, recipe):
                pictures.append(picture)
                maps.append(seen[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])
        grid = np.stack(maps)  # (2 B, s / 4, s / 4)
        if self.source.positives != "auxiliary":
            grid = _of_one_image(grid)
        places = anchors(grid, recipe, rng, both_views=self.source.positives == "pixel")
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        return batch, torch.from_numpy(places), torch.from_numpy(grid.ravel()[places])


def _of_one_image(grid: LabelMap) -> LabelMap:
    """Return labels that no two images share."""
    most = int(grid.max()) + 1
    image = (np.arange(len(grid)) // 2)[:, None, None]
    return np.where(grid == NONE, NONE, grid + most * image)


def anchors(
    grid: LabelMap, recipe: PretrainingRecipe, rng: np.random.Generator, *, both_views: bool = False
) -> NDArray[np.int64]:
    """Choose the pixels that are compared: an equal share for each image, evenly over its labels.

    Parameters
    ----------
    grid : ndarray of int64, shape (2 B, h, w)
        Labels, below 0 never chosen; two views of each image follow each other.
    recipe : PretrainingRecipe
        `anchors` in all, `per_label` for each label and image, at most.
    rng : numpy Generator
    both_views : bool
        Only labels that both views of the image show.

    Returns
    -------
    ndarray of int64, shape (A,)
        Flat indices into `grid`; of each label both views give their share, where they can.
    """
    pairs = grid.reshape(len(grid) // 2, 2, -1)  # (B, 2, h * w)
    budget = recipe.anchors // len(pairs)
    chosen = []
    for image, views in enumerate(pairs):
        flat = np.flatnonzero(views.ravel() >= 0)
        labels, seen = views.ravel()[flat], flat // views.shape[1]
        names, codes = np.unique(labels, return_inverse=True)
        counts = np.stack([np.bincount(codes[seen == v], minlength=len(names)) for v in (0, 1)])
        fit = (counts.min(axis=0) > 0) if both_views else (counts.sum(axis=0) > 1)
        usable = np.flatnonzero(fit)
        if not usable.size:
            continue
        each = int(np.clip(budget // usable.size, 2, recipe.per_label))
        taken = rng.permutation(usable)[: max(budget // each, 1)]
        turn = _turns(codes, seen, rng)
        keep = np.isin(codes, taken) & (turn < each)
        chosen.append(flat[keep] + image * views.size)
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def _turns(
    codes: NDArray[np.int64], seen: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return at which turn each pixel is drawn among those of its label, the views by turns."""
    in_view = _ranks(codes * 2 + seen, rng.random(codes.size))
    return _ranks(codes, in_view * 2 + seen)


def _ranks(groups: NDArray[np.int64], order: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each element within its group, by `order`."""
    sorted_ = np.lexsort((order, groups))
    ordered = groups[sorted_]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, ordered.size])
    ranks = np.empty(groups.size, np.int64)
    ranks[sorted_] = np.arange(groups.size) - starts.repeat(lengths)
    return ranks
