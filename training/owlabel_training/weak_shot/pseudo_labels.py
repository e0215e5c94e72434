"""From scores to pseudo labels of novel classes, and how good class maps are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from owlabel.classes import VOID
from owlabel.metrics import ConfusionMatrix
from owlabel.models.mask.mask_former import MaskFormer, image_scores
from owlabel_training.core.data import Frames
from owlabel_training.weak_shot.data import WeakFrames

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


def scores_of(model: MaskFormer, image: Pixels, absent: Sequence[int] = ()) -> Scores:
    """Return the semantic scores (K, H, W) of an image (H, W, 3); absent classes have none."""
    plain = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    return np.asarray(image_scores(model, plain, absent).cpu().numpy(), np.float32)


def pseudo_labels(scores: Scores, base: Pixels, present: Iterable[int], n_base: int) -> Pixels:
    """Return labels of base and novel classes for an image, uint8 (H, W).

    Parameters
    ----------
    scores : array, shape (K, H, W)
    base : array of uint8, shape (H, W)
        Ground truth of base classes, 255 elsewhere; it always wins.
    present : iterable of int
        Novel ids tagged in the image: no other one is ever written.
    n_base : int

    Returns
    -------
    array of uint8, shape (H, W)
        Base ids where `base` has them, a novel id where it is the best class and tagged, else 255.
    """
    predicted = scores.argmax(axis=0).astype(np.uint8)
    allowed = np.isin(predicted, [i for i in present if i >= n_base])
    novel = np.where(allowed, predicted, np.uint8(VOID))
    return np.where(base < n_base, base, novel).astype(np.uint8)


def confidence(scores: Scores, mask: NDArray[np.bool_], class_id: int) -> float:
    """Return the mean score of a class in its mask, at most 1; scores (K, H, W)."""
    return float(min(scores[class_id][mask].mean(), 1.0)) if mask.any() else 0.0


def pseudo_frames(model: MaskFormer, frames: WeakFrames) -> Iterator[Pixels]:
    """Yield the pseudo labels of every frame."""
    for image, base, present in zip(frames.images, frames.labels, frames.present, strict=True):
        yield pseudo_labels(scores_of(model, image), base, present, frames.n_base)


def measure(predictions: Iterable[Pixels], truth: Frames, n_base: int) -> dict[str, Any]:
    """Return IoU by class, pixels pooled, and the means over base and over novel classes.

    Parameters
    ----------
    predictions : iterable of uint8 array, shape (H, W)
    truth : Frames
        With the labels of all K classes.
    n_base : int
    """
    matrix = ConfusionMatrix(len(truth.classes))
    for label, predicted in zip(truth.labels, predictions, strict=True):
        matrix.update(label, predicted)
    iou = matrix.iou()
    novel = range(n_base, len(iou))
    return {
        "novel_miou": round(matrix.miou(list(novel)), 4),
        "base_miou": round(matrix.miou(list(range(n_base))), 4),
        "iou": {truth.classes.names[i]: round(float(v), 4) for i, v in enumerate(iou)},
    }


def class_maps(model: MaskFormer, frames: Frames) -> Iterator[Pixels]:
    """Yield the best class of every pixel, uint8 (H, W), of every frame."""
    for image in frames.images:
        yield scores_of(model, image).argmax(axis=0).astype(np.uint8)
