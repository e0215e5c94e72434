"""Computes the embedding grids of an image, one per head, for the feature cache."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from owlabel.models.backbones import Features
from owlabel.models.segmenter import Segmenter
from owlabel.models.tiles import Stretch, tiled_features

LARGEST_F16 = 65504.0
STRIPE_POINTS = 1 << 18
"""Grid points that a head computes at once: those of an image of 2048 x 2048."""


def prepare(image: NDArray[np.uint8], max_side: int) -> Tensor:
    """Return the network's input: (1, 3, h, w) in [0, 1], channels last, at most max_side long.

    Raises
    ------
    ValueError
        If the image is not uint8 of shape (H, W, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    longest = max(image.shape[:2])
    if longest > max_side:
        size = [max(1, round(side * max_side / longest)) for side in image.shape[:2]]
        batch = functional.interpolate(batch, size=size, mode="bilinear", antialias=True)
    return batch.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def embed_image(segmenter: Segmenter, image: NDArray[np.uint8]) -> list[NDArray[np.float16]]:
    """Return the embedding grid of every head, the base head's first.

    Parameters
    ----------
    segmenter : Segmenter
    image : array of uint8, shape (H, W, 3)
        An image larger than the segmenter's `max_side` is first reduced or computed in tiles,
        depending on `large_images`.

    Returns
    -------
    list of float16 array, shape (N_i, h, w)
        Stride about 4; (h, w) and (H, W) are related by bilinear resizing, align_corners=False.
    """
    return embed_features(segmenter, image_features(segmenter, image))


@torch.inference_mode()
def image_features(segmenter: Segmenter, image: NDArray[np.uint8]) -> Features:
    """Return the backbone features of one image, batch size 1: the slow half of embedding it.

    With tiles, the memory needed beyond the features is that of one tile.
    """
    segmenter.eval()
    device, limit = segmenter.mean.device, segmenter.largest_side
    longest = max(image.shape[:2])
    if longest <= segmenter.tile_side or segmenter.large_images == "reduce":
        return segmenter.features(prepare(image, limit).to(device))
    reduced = prepare(image, limit) if longest > limit else None

    def piece(rows: Stretch, columns: Stretch) -> Tensor:
        if reduced is not None:
            return reduced[:, :, slice(*rows), slice(*columns)].to(device)
        return prepare(image[slice(*rows), slice(*columns)], limit).to(device)

    shape = image.shape[:2] if reduced is None else reduced.shape[2:]
    return tiled_features(segmenter.features, piece, (shape[0], shape[1]), segmenter.tile_side)


@torch.inference_mode()
def embed_features(segmenter: Segmenter, features: Features) -> list[NDArray[np.float16]]:
    """Return the embedding grid of every head from the features of one image; see `embed_image`."""
    segmenter.eval()
    grids = []
    for index in range(len(segmenter.heads)):
        grid = segmenter.embed(features, index, STRIPE_POINTS)[0].clamp(-LARGEST_F16, LARGEST_F16)
        grids.append(np.ascontiguousarray(grid.cpu().numpy().astype(np.float16)))
    return grids
