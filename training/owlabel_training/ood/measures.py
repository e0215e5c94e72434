"""What OoD training measures: closed-set mIoU, and AP, AUROC and FPR95 on pasted objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from owlabel.arrays import embedding_grid
from owlabel.metrics import PixelOod
from owlabel.models.embed import image_features
from owlabel.models.residual_block import ResidualBlock, residual_energy
from owlabel.models.segmenter import Segmenter
from owlabel.ood import registry as scores
from owlabel_training.ood.data import PastedFrame

Pixels = NDArray[np.uint8]
ScoreOf = Callable[[Pixels], NDArray[np.float32]]
"""An image (H, W, 3) to its score on the grid, (h, w)."""


@dataclass(frozen=True)
class Measured:
    """One row of a course of training; ratios in [0, 1], NaN where nothing can be said.

    Attributes
    ----------
    miou : float
        Of the known classes on the validation frames without objects.
    ap, auroc, fpr95 : float
        Of the score on the validation frames with pasted objects, pixels pooled.
    """

    miou: float
    ap: float
    auroc: float
    fpr95: float

    def plain(self) -> dict[str, float]:
        """Return the values that are numbers."""
        return {name: v for name, v in asdict(self).items() if not math.isnan(v)}


def measure_ood(score_of: ScoreOf, frames: Sequence[PastedFrame]) -> dict[str, float]:
    """Return AP, AUROC and FPR95 of a score over frames, pixels pooled, at full resolution."""
    counted = PixelOod()
    for frame in frames:
        shape = (frame.truth.shape[0], frame.truth.shape[1])
        score = np.asarray(score_of(frame.image), np.float32)
        counted.update(embedding_grid.upsample(score, shape).ravel(), frame.truth.ravel())
    result = counted.result()
    return {"ap": result.ap, "auroc": result.auroc, "fpr95": result.fpr95}


def base_score(segmenter: Segmenter, name: str) -> ScoreOf:
    """Return the function that gives one of `owlabel.ood.registry.SCORES` of the base head."""

    @torch.inference_mode()
    def score_of(image: Pixels) -> NDArray[np.float32]:
        features = image_features(segmenter, image)
        embedding = segmenter.embed(features)[0].float().cpu().numpy()
        function = scores.SCORES[name].of
        return np.asarray(function(embedding, segmenter.prototype_length), np.float32)

    return score_of


def residual_score(segmenter: Segmenter, block: ResidualBlock) -> ScoreOf:
    """Return the function that gives the energy of the residual path."""

    def score_of(image: Pixels) -> NDArray[np.float32]:
        features = image_features(segmenter, image)
        shape = (image.shape[0], image.shape[1])
        return residual_energy(segmenter, block, features, shape).astype(np.float32)

    return score_of
