"""What OoD training sees: crops with pasted objects, whole proxies, and frames to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from owlabel.classes import MAX_CLASSES, OOD_PROXY, VOID
from owlabel_training.core.data import Frames, resized, window
from owlabel_training.ood.proxies import Cutout, Proxy, cutouts
from owlabel_training.ood.recipe import CourseRecipe, ProxyRecipe

Pixels = NDArray[np.uint8]
LARGEST_SHARE = 0.5
"""A pasted object is shrunk to at most this share of a crop's side: its surroundings count too."""
ORDER, CROPS, CONTEXT, PASTE = 0, 1, 2, 3  # kinds of random numbers, each a stream of its own


@dataclass(frozen=True)
class OodData:
    """Everything a run of OoD training reads.

    Attributes
    ----------
    train, val : Frames
        In-distribution frames with labels of the known classes.
    proxies : sequence of Proxy
        To train on.
    objects, val_objects : sequence of Cutout
        To paste while training, and while validating.
    """

    train: Frames
    val: Frames
    proxies: Sequence[Proxy]
    objects: Sequence[Cutout]
    val_objects: Sequence[Cutout]


def ood_data(
    frames: tuple[Frames, Frames],
    proxies: tuple[Sequence[Proxy], Sequence[Proxy]],
    recipe: ProxyRecipe,
) -> OodData:
    """Cut the objects of train and val proxies out; all that is needed is together then."""
    cut = [cutouts(part, recipe.min_area, recipe.pieces) for part in proxies]
    return OodData(frames[0], frames[1], proxies[0], cut[0], cut[1])


class OodSampler:
    """Batches of crops; each depends on the seed and the step alone: a resumed run sees the same.

    Parameters
    ----------
    data : OodData
    proxy : ProxyRecipe
    course : CourseRecipe
    """

    def __init__(self, data: OodData, proxy: ProxyRecipe, course: CourseRecipe) -> None:
        self.data, self.proxy, self.course = data, proxy, course
        self._epoch, self._order = -1, np.zeros(0, np.int64)
        per_pass = len(data.train) + self.proxies_per_epoch
        self.steps_per_epoch = course.steps_per_epoch or max(1, per_pass // course.batch_size)

    @property
    def proxies_per_epoch(self) -> int:
        """Proxy images in one pass over all frames."""
        return max(1, round(self.proxy.ratio * len(self.data.train)))

    def mixed(self, step: int) -> tuple[Tensor, Tensor]:
        """Return a batch of in-distribution crops and proxies in the recipe's ratio.

        Every epoch is a new order of all frames among proxies that are drawn anew.

        Returns
        -------
        images : Tensor, shape (B, 3, h, w)
            In [0, 1].
        labels : Tensor of int64, shape (B, h, w)
            Class ids, 254, 255.
        """
        pairs = []
        for place in range(self.course.batch_size):
            chosen = self._chosen(step, place)
            rng = np.random.default_rng([self.course.seed, CROPS, step, place])
            if chosen < len(self.data.train):
                pairs.append(self._frame_crop(rng, chosen))
            elif self.proxy.use == "whole":
                pairs.append(self._whole(rng))
            else:
                pairs.append(self._pasted(rng))
        return _batch(pairs)

    def pasted(self, step: int) -> tuple[Tensor, Tensor]:
        """Return a batch of in-distribution crops that all hold a pasted object, as RPL trains."""
        rngs = [self._rng(CROPS, step, i) for i in range(self.course.batch_size)]
        return _batch([self._pasted(rng) for rng in rngs])

    def context(self, step: int) -> tuple[Tensor, Tensor]:
        """Return a batch of proxies in their own surroundings, which count as inliers (CoroCL).

        Their unlabelled pixels are 0, not 255: any value below 253 is an inlier to the contrast.
        """
        rngs = [self._rng(CONTEXT, step, i) for i in range(self.course.batch_size)]
        return _batch([self._whole(rng, inlier=True) for rng in rngs])

    def _rng(self, kind: int, step: int, place: int) -> np.random.Generator:
        return np.random.default_rng([self.course.seed, kind, step, place])

    def _chosen(self, step: int, place: int) -> int:
        """Return the frame's index, or one past the last for a proxy."""
        position = step * self.course.batch_size + place
        frames = len(self.data.train)
        length = frames + self.proxies_per_epoch
        epoch, index = divmod(position, length)
        if epoch != self._epoch:
            rng = np.random.default_rng([self.course.seed, ORDER, epoch])
            self._order, self._epoch = rng.permutation(length), epoch
        return min(int(self._order[index]), frames)

    def _frame_crop(self, rng: np.random.Generator, index: int) -> tuple[Pixels, Pixels]:
        frames = self.data.train
        return self._crop(rng, frames.images[index], frames.labels[index])

    def _crop(
        self, rng: np.random.Generator, image: Pixels, label: Pixels
    ) -> tuple[Pixels, Pixels]:
        """Return a random window, mirrored half of the time; smaller pictures are enlarged."""
        box = window(rng, label.shape, self.course)
        image, label = resized(image, label, box, self.course.crop)
        if rng.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        return image, label

    def _pasted(self, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        image, label = self._frame_crop(rng, int(rng.integers(len(self.data.train))))
        return paste(image, label, self.data.objects, rng, self.proxy.scales)

    def _whole(self, rng: np.random.Generator, inlier: bool = False) -> tuple[Pixels, Pixels]:
        """Return a window of a proxy picture with a part of its object, if ten draws find one."""
        proxy = self.data.proxies[int(rng.integers(len(self.data.proxies)))]
        labels = proxy.labels
        if inlier:
            labels = np.where(labels == VOID, np.uint8(0), labels)
        for _ in range(10):
            image, label = self._crop(rng, proxy.image, labels)
            if (label == OOD_PROXY).any():
                break
        return image, label


def paste(
    image: Pixels,
    label: Pixels,
    objects: Sequence[Cutout],
    rng: np.random.Generator,
    scales: Sequence[float],
) -> tuple[Pixels, Pixels]:
    """Paste the masked pixels of one random object at a random place; no blending.

    Parameters
    ----------
    image : array of uint8, shape (H, W, 3)
    label : array of uint8, shape (H, W)
    objects : sequence of Cutout
    rng : numpy Generator
    scales : sequence of float
        One is drawn; an object that would be larger than half the picture's side is shrunk.

    Returns
    -------
    image, label : arrays
        Copies, 254 on the object.  Unchanged where ten draws gave an empty mask.

    References
    ----------
    .. [1] Y. Liu et al., "Residual Pattern Learning for Pixel-wise Out-of-Distribution Detection in
       Semantic Segmentation", ICCV 2023, and its code; limit of the size: ours.
    """
    image, label = image.copy(), label.copy()
    for _ in range(10):
        cut = scaled(objects[int(rng.integers(len(objects)))], float(rng.choice(scales)), label)
        if not cut.mask.any():
            continue
        rows, columns = cut.mask.shape
        top = int(rng.integers(label.shape[0] - rows + 1))
        left = int(rng.integers(label.shape[1] - columns + 1))
        flipped = rng.random() < 0.5
        mask = cut.mask[:, ::-1] if flipped else cut.mask
        pixels = cut.image[:, ::-1] if flipped else cut.image
        image[top : top + rows, left : left + columns][mask] = pixels[mask]
        label[top : top + rows, left : left + columns][mask] = OOD_PROXY
        break
    return image, label


def scaled(cut: Cutout, scale: float, label: Pixels) -> Cutout:
    """Return the object at a scale at which it fits into a picture of this label map's shape."""
    limits = [
        LARGEST_SHARE * whole / part
        for whole, part in zip(label.shape, cut.mask.shape, strict=True)
    ]
    factor = min(scale, *limits)
    rows, columns = (max(1, round(side * factor)) for side in cut.mask.shape)
    image = Image.fromarray(cut.image).resize((columns, rows), Image.Resampling.BILINEAR)
    mask = Image.fromarray(cut.mask).resize((columns, rows), Image.Resampling.NEAREST)
    return Cutout(np.asarray(image), np.asarray(mask))


@dataclass(frozen=True)
class PastedFrame:
    """A frame to measure on: `truth` is 0 in-distribution, 1 pasted object, 255 void."""

    image: Pixels
    truth: Pixels


def pasted_frames(
    frames: Frames, objects: Sequence[Cutout], seed: int, scales: Sequence[float]
) -> list[PastedFrame]:
    """Return every frame with one object pasted; the same for the same seed."""
    with_objects = []
    for index, (image, label) in enumerate(zip(frames.images, frames.labels, strict=True)):
        rng = np.random.default_rng([seed, PASTE, index])
        pasted, labels = paste(image, label, objects, rng, scales)
        truth = np.where(labels < MAX_CLASSES, np.uint8(0), np.uint8(VOID))
        truth[labels == OOD_PROXY] = 1
        with_objects.append(PastedFrame(pasted, truth))
    return with_objects


def _batch(pairs: Sequence[tuple[Pixels, Pixels]]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.stack([image for image, _ in pairs])).float() / 255
    labels = torch.from_numpy(np.stack([label for _, label in pairs]))
    return images.permute(0, 3, 1, 2), labels.long()
