"""Pairs of crops for SimFormer: an image, and a reference that shares a class with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from owlabel.classes import UNSET
from owlabel_training.core.data import augmented
from owlabel_training.weak_shot.data import WeakFrames
from owlabel_training.weak_shot.recipe import WeakShotSettings

MOST_EXACT, MOST_ANY = 500, 50
"""Candidates of a reference that are kept: exactly the class, and any class."""
RAREST_SHARE = 0.01


class PairBatch(NamedTuple):
    """Image, reference, image, reference, ...: B = 2 x pairs.

    Attributes
    ----------
    images : Tensor, shape (B, 3, h, w)
        RGB in [0, 1].
    labels : Tensor of int64, shape (B, h, w)
        Base ids, 255, or UNSET.
    present, unknown : Tensor of bool, shape (B, K + 1)
        What is tagged, and of what nothing is known.
    """

    images: Tensor
    labels: Tensor
    present: Tensor
    unknown: Tensor


class Pairing:
    """Chooses references: the released code's "Deconf" rule.

    Parameters
    ----------
    frames : WeakFrames
    """

    def __init__(self, frames: WeakFrames) -> None:
        self.frames = frames
        self._base = [frozenset(np.unique(x[x < UNSET]).tolist()) for x in frames.labels]
        counts = {i: sum(i in row for row in frames.present) for i in frames.novel_ids}
        self._counts = counts

    def reference(self, rng: np.random.Generator, index: int) -> int:
        """Return a reference for an image.

        One of its novel classes is chosen (the rarest with probability 0.01).  The reference shares
        exactly that one; where none does, any novel class; then any base class; then it is the
        image itself.
        """
        own = self.frames.present[index]
        others = [i for i in range(len(self.frames)) if i != index]
        if own:
            chosen = self._chosen(rng, own)
            exact = [i for i in others if self.frames.present[i] & own == {chosen}]
            if exact:
                return int(rng.choice(exact[:MOST_EXACT]))
            sharing = [i for i in others if self.frames.present[i] & own]
            if sharing:
                return int(rng.choice(_capped(rng, sharing)))
        like = [i for i in others if self._base[i] & self._base[index]]
        return int(rng.choice(_capped(rng, like))) if like else index

    def _chosen(self, rng: np.random.Generator, own: frozenset[int]) -> int:
        if rng.random() < RAREST_SHARE:
            return min(sorted(own), key=lambda i: self._counts[i])
        return int(rng.choice(sorted(own)))


def _capped(rng: np.random.Generator, found: list[int]) -> list[int]:
    if len(found) <= MOST_ANY:
        return found
    return [int(i) for i in rng.choice(found, MOST_ANY, replace=False)]


class PairSampler:
    """Random pairs of augmented crops.  A batch depends on the seed and the step alone."""

    def __init__(self, frames: WeakFrames, recipe: WeakShotSettings) -> None:
        self.frames, self.recipe = frames, recipe
        self.pairing = Pairing(frames)

    def batch(self, step: int) -> PairBatch:
        """Return the batch of a step."""
        rng = np.random.default_rng([self.recipe.seed, step])
        chosen: list[int] = []
        for _ in range(self.recipe.pairs):
            first = int(rng.integers(len(self.frames)))
            chosen += [first, self.pairing.reference(rng, first)]
        frames = self.frames
        crops = [
            augmented(rng, (frames.images[index], frames.labels[index]), self.recipe)
            for index in chosen
        ]
        images = torch.from_numpy(np.stack([image for image, _ in crops]))  # (B, h, w, 3)
        labels = torch.from_numpy(np.stack([label for _, label in crops]))  # (B, h, w)
        return PairBatch(
            images.permute(0, 3, 1, 2), labels.long(),
            self._flags(frames.present, chosen), self._flags(frames.unknown, chosen),
        )  # fmt: skip

    def _flags(self, rows: tuple[frozenset[int], ...], chosen: list[int]) -> Tensor:
        flags = torch.zeros(len(chosen), len(self.frames.classes) + 1, dtype=torch.bool)
        for place, index in enumerate(chosen):
            flags[place, sorted(rows[index])] = True
        return flags
