"""What is measured on CamVid: closed set, anomaly scores, NPM, and its ablation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.camvid.protocol import Setting, drives
from owlabel.arrays import embedding_grid
from owlabel.classes import VOID
from owlabel.metrics import ConfusionMatrix, PixelOod
from owlabel.models.backbones import Features
from owlabel.models.embed import prepare
from owlabel.models.segmenter import Segmenter
from owlabel.novel import prototypes as fewshot
from owlabel.novel.prototypes import NovelPrototype
from owlabel.ood.registry import all_scores, available
from owlabel_training.core.data import Frames
from owlabel_training.fewshot.head_training import fast_bfloat16

Pixels = NDArray[np.uint8]
LAMBDAS = (0.5, 1.0, 1.5, 2.0, math.inf)
SOFTMAX_SCORES = ("msp", "max_logit", "entropy", "energy")
"""Scores that a plain softmax model has; the others need prototypes."""
POOLED = 13
"""Frames whose pixels are counted together: a multiple keeps the counting cheap."""


@dataclass(frozen=True)
class Outputs:
    """What one model makes of some frames.

    Attributes
    ----------
    frames : Frames
    grids : list of float16 array, shape (N, h, w)
        Base embeddings.
    features : list of Features
        Backbone features in 16 bits, for heads that are trained later.
    """

    frames: Frames
    grids: list[NDArray[np.float16]]
    features: list[Features]

    def shape(self, index: int) -> tuple[int, int]:
        """Return (H, W) of a frame."""
        rows, columns = self.frames.labels[index].shape
        return rows, columns

    @cached_property
    def base_maps(self) -> list[Pixels]:
        """The base class maps, uint8 (H, W); do not write into them."""
        return [embedding_grid.argmax_upsampled(g, self.shape(i)) for i, g in enumerate(self.grids)]


@torch.inference_mode()
def run_model(segmenter: Segmenter, frames: Frames, keep_features: bool = False) -> Outputs:
    """Embed all frames; keep the backbone features where heads will be trained."""
    grids, features = [], []
    for image in frames.images:
        found = segmenter.features(prepare(image, segmenter.max_side))
        grids.append(segmenter.embed(found)[0].numpy().astype(np.float16))
        if keep_features:
            features.append(Features(found.high.half(), found.low.half()))
    return Outputs(frames, grids, features)


@torch.inference_mode()
def run_head(segmenter: Segmenter, outputs: Outputs, head: int) -> list[NDArray[np.float16]]:
    """Return one head's embedding of every frame from the kept features, in 16-bit arithmetic."""
    found = []
    for features in outputs.features:
        plain = Features(features.high.float(), features.low.float())
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
            embedding = segmenter.embed(plain, head)[0]
        found.append(embedding.float().numpy().astype(np.float16))
    return found


def confusions(
    outputs: Outputs, maps: Sequence[Pixels], setting: Setting, added: int | None = None
) -> dict[str, ConfusionMatrix]:
    """Return the pooled confusion of each drive and of both together."""
    n = setting.n + len(setting.novel)
    single = []
    for label, predicted in zip(outputs.frames.labels, maps, strict=True):
        matrix = ConfusionMatrix(n)
        matrix.update(setting.truth(label, added), predicted)
        single.append(matrix)
    return {
        drive: sum((single[i] for i in chosen), start=ConfusionMatrix(n))
        for drive, chosen in drives(outputs.frames.names).items()
        if chosen
    }


def closed_set(outputs: Outputs, setting: Setting) -> dict[str, Any]:
    """Return mIoU and IoU per known class, novel pixels ignored, per drive and together."""
    return {
        drive: {
            "miou": _round(matrix.miou(range(setting.n))),
            "iou": dict(zip(setting.known, map(_round, matrix.iou()), strict=False)),
        }
        for drive, matrix in confusions(outputs, outputs.base_maps, setting, 0).items()
    }


def anomaly(
    outputs: Outputs, setting: Setting, length: float, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return AUROC, AP and FPR95 of each score; positives are the novel pixels.

    Scores are taken on the grid and then enlarged (distance-first).
    """
    chosen = [n for n in available({"metric head"}) if names is None or n in set(names)]
    result: dict[str, Any] = {}
    for drive, indices in drives(outputs.frames.names).items():
        if indices:
            counted = _count_scores(outputs, setting, length, chosen, indices)
            result[drive] = {name: _ood_row(measure) for name, measure in counted.items()}
    return result


def _count_scores(
    outputs: Outputs, setting: Setting, length: float, names: Sequence[str], indices: Sequence[int]
) -> dict[str, PixelOod]:
    """Feed the scores of some frames to one measure a score, several frames at a time."""
    measures = {name: PixelOod() for name in names}
    for start in range(0, len(indices), POOLED):
        part = indices[start : start + POOLED]
        truth = np.concatenate([_ood_truth(outputs, setting, i) for i in part])
        values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
        for i in part:
            found = all_scores(outputs.grids[i].astype(np.float32), length, names)
            for name in names:
                values[name].append(embedding_grid.upsample(found[name], outputs.shape(i)).ravel())
        for name in names:
            measures[name].update(np.concatenate(values[name]), truth)
    return measures


def _ood_truth(outputs: Outputs, setting: Setting, index: int) -> Pixels:
    """Return 0 for known, 1 for novel and 255 for void pixels, flat."""
    compact = setting.truth(outputs.frames.labels[index]).ravel()
    novel = np.where(compact < setting.n, np.uint8(0), np.uint8(1))
    return np.where(compact == VOID, np.uint8(VOID), novel)


def _ood_row(measure: PixelOod) -> dict[str, float | None]:
    result = measure.result()
    values = {"auroc": result.auroc, "ap": result.ap, "fpr95": result.fpr95}
    return {name: _round(value) for name, value in values.items()}


def prototypes(
    support: Outputs, setting: Setting, seed: int, count: int
) -> tuple[NovelPrototype, ...]:
    """Return one prototype per novel class from all pixels of the class in its support frames."""
    place = {name: i for i, name in enumerate(support.frames.names)}
    found = []
    for index, class_id in enumerate(setting.novel_ids):
        means = []
        for name in setting.shots(seed, index, count):
            i = place[name]
            mask = setting.truth(support.frames.labels[i]) == class_id
            means.append(fewshot.image_mean(support.grids[i].astype(np.float32), mask))
        found.append(NovelPrototype(class_id, fewshot.novel_prototype(means), count))
    return tuple(found)


def npm_maps(
    outputs: Outputs, found: Sequence[NovelPrototype], lambda_novel: float, length: float
) -> list[Pixels]:
    """Return the label maps of NPM in compact ids."""
    return [
        fewshot.claim_novel(g.astype(np.float32), base, found, lambda_novel, length)
        for g, base in zip(outputs.grids, outputs.base_maps, strict=True)
    ]


def incremental(
    outputs: Outputs, maps: Sequence[Pixels], setting: Setting, added: int | None = None
) -> dict[str, Any]:
    """Return mIoU over all, old and novel classes and the harmonic mean, per drive and together."""
    return {
        drive: incremental_row(matrix, setting, added)
        for drive, matrix in confusions(outputs, maps, setting, added).items()
    }


def incremental_row(
    matrix: ConfusionMatrix, setting: Setting, added: int | None = None
) -> dict[str, Any]:
    """Return the four numbers of one confusion matrix and the IoU of each novel class."""
    count = len(setting.novel) if added is None else added
    old, novel = list(range(setting.n)), list(setting.novel_ids[:count])
    iou = matrix.iou()
    return {
        "miou": _round(matrix.miou(old + novel)),
        "miou_old": _round(matrix.miou(old)),
        "miou_novel": _round(matrix.miou(novel)),
        "harmonic": _round(matrix.harmonic(old, novel)),
        "iou_novel": {setting.novel[i]: _round(iou[c]) for i, c in enumerate(novel)},
    }


def mean_and_spread(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of the four numbers."""
    keys = ("miou", "miou_old", "miou_novel", "harmonic")
    table = {key: np.array([row[key] for row in rows], np.float64) for key in keys}
    return {
        key: {"mean": _round(values.mean()), "std": _round(values.std())}
        for key, values in table.items()
    }


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
