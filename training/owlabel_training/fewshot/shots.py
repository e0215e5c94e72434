"""Shots of a novel class as cached backbone features: what a PLM head is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from owlabel.arrays import embedding_grid
from owlabel.classes import VOID
from owlabel.models.backbones import Features
from owlabel.models.embed import embed_image
from owlabel.models.segmenter import Segmenter
from owlabel.novel import prototypes as fewshot
from owlabel_training.core.data import jittered

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shot:
    """One annotated image of the novel class.

    Attributes
    ----------
    image : array of uint8, shape (H, W, 3)
    mask : array of bool, shape (H, W)
        Pixels of the new class; at least one.
    void : array of bool, shape (H, W), optional
        What the annotator marked as "ignore".
    """

    image: Pixels
    mask: Mask
    void: Mask | None = None

    def __post_init__(self) -> None:
        if self.mask.shape != self.image.shape[:2] or not self.mask.any():
            raise ValueError(
                f"a shot needs a mask of {self.image.shape[:2]} with at least one pixel, got "
                f"{self.mask.shape} with {int(self.mask.sum())}"
            )


@dataclass(frozen=True)
class CropPlan:
    """How many crops a shot gives and how they vary.

    Attributes
    ----------
    side : int
        Rows and columns of a crop; smaller images give smaller crops.
    crops : int
        Windows of one shot, half of them on the object; each also mirrored.
    jitter : float
        Colour jitter of all but the first of them.
    """

    side: int = 192
    crops: int = 8
    jitter: float = 0.3


@dataclass(frozen=True)
class Cache:
    """Features and targets of all crops, in 16 bits, where the segmenter is.

    Attributes
    ----------
    high : Tensor, shape (M, C_high, h_high, w_high)
    low : Tensor, shape (M, C_low, h, w)
    target : Tensor of uint8, shape (M, h, w)
        Output channel that each grid point shall choose; 255 is ignored.
    """

    high: Tensor
    low: Tensor
    target: Tensor

    def batch(self, chosen: NDArray[np.int64]) -> tuple[Features, Tensor]:
        """Return some crops in 32 bits, channels last, and their targets as int64."""
        index = torch.from_numpy(chosen).to(self.target.device)
        high, low = (
            features[index].float().contiguous(memory_format=torch.channels_last)
            for features in (self.high, self.low)
        )
        return Features(high, low), self.target[index].long()

    def __len__(self) -> int:
        return len(self.target)


def shrunk(shot: Shot, max_side: int) -> Shot:
    """Return the shot at the size in which the segmenter sees it."""
    height, width = shot.mask.shape
    longest = max(height, width)
    if longest <= max_side:
        return shot
    size = (max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest)))

    def nearest(mask: Mask) -> Mask:
        return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))

    image = Image.fromarray(shot.image).resize(size, Image.Resampling.BILINEAR)
    void = None if shot.void is None else nearest(shot.void)
    return Shot(np.asarray(image), nearest(shot.mask), void)


def channel_targets(segmenter: Segmenter, shot: Shot, class_id: int) -> Pixels:
    """Return the pseudo labels of one shot as channels of the new head, uint8 (H, W).

    The base head's map, overwritten by the earlier heads' newest classes, overwritten by the
    annotated pixels; VOID where the annotator said so.
    """
    shape = (shot.mask.shape[0], shot.mask.shape[1])
    earlier = earlier_heads(segmenter, class_id)
    grids = embed_image(segmenter, shot.image)
    base = embedding_grid.argmax_upsampled(grids[0], shape)
    newest = [
        (segmenter.novel_ids[i], fewshot.newest_mask(grids[i + 1], shape)) for i in range(earlier)
    ]
    targets = fewshot.plm_targets(base, newest, shot.mask, class_id, shot.void)
    lookup = np.full(256, VOID, np.uint8)
    lookup[: segmenter.n_classes] = np.arange(segmenter.n_classes)
    for index, novel_id in enumerate([*segmenter.novel_ids[:earlier], class_id]):
        lookup[novel_id] = segmenter.n_classes + index
    return lookup[targets]


def earlier_heads(segmenter: Segmenter, class_id: int) -> int:
    """Return how many novel classes have heads that come before this class's."""
    ids = segmenter.novel_ids
    return ids.index(class_id) if class_id in ids else len(ids)


@torch.inference_mode()
def build_cache(
    segmenter: Segmenter, shots: Sequence[Shot], class_id: int, plan: CropPlan, seed: int
) -> Cache:
    """Run the frozen backbone once over fixed crops of every shot, plain and mirrored.

    Raises
    ------
    ValueError
        If there is no shot.
    """
    if not shots:
        raise ValueError("a novel class needs at least one shot, got none")
    segmenter.eval()
    shots = [shrunk(shot, segmenter.largest_side) for shot in shots]
    side = min(plan.side, *(min(shot.mask.shape) for shot in shots))
    rng = np.random.default_rng(seed)
    crops: list[tuple[Tensor, Tensor, Tensor]] = []
    for shot in shots:
        targets = channel_targets(segmenter, shot, class_id)
        for index, window in enumerate(windows(shot.mask, side, plan.crops, rng)):
            amount = plan.jitter if index else 0.0
            crops.append(_crop_features(segmenter, shot.image, targets, window, rng, amount))
    high, low, target = (torch.cat(column) for column in zip(*crops, strict=True))
    return Cache(high, low, target)


def windows(mask: Mask, side: int, count: int, rng: np.random.Generator) -> list[Window]:
    """Return windows (top, bottom, left, right): every other one holds a pixel of the mask."""
    places = np.argwhere(mask)
    boxes = []
    for index in range(count):
        start = []
        row_column = places[rng.integers(len(places))]
        for axis in (0, 1):
            high = mask.shape[axis] - side
            low = 0
            if index % 2 == 0:
                low = int(np.clip(row_column[axis] - side + side // 8, 0, high))
                high = int(np.clip(row_column[axis] - side // 8, low, high))
            start.append(int(rng.integers(low, high + 1)))
        boxes.append((start[0], start[0] + side, start[1], start[1] + side))
    return boxes


def _crop_features(
    segmenter: Segmenter,
    image: Pixels,
    targets: Pixels,
    window: Window,
    rng: np.random.Generator,
    jitter: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features and targets of one window and its mirror image."""
    top, bottom, left, right = window
    piece = jittered(image[top:bottom, left:right], rng, jitter)  # (side, side, 3)
    plain = torch.from_numpy(piece).permute(2, 0, 1)
    batch = torch.stack([plain, plain.flip(2)]).contiguous(memory_format=torch.channels_last)
    features = segmenter.features(batch.to(segmenter.mean.device))
    labels = targets[top:bottom, left:right]
    both = np.stack([on_grid(labels, features), on_grid(labels[:, ::-1], features)])
    target = torch.from_numpy(both).to(features.high.device)
    return features.high.half(), features.low.half(), target


def on_grid(labels: Pixels, features: Features) -> Pixels:
    """Return the labels under the grid points of a crop, uint8 (h, w): nearest pixel."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * pixels / cells).astype(np.intp)
        for cells, pixels in zip(features.low.shape[2:], labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])
