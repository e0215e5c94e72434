"""The baseline of weak-shot segmentation: an image classifier's activation maps (CAM)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from owlabel.classes import VOID
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load
from owlabel_training.core.base_loop import rate_factor
from owlabel_training.core.data import Frames
from owlabel_training.weak_shot.data import WeakFrames
from owlabel_training.weak_shot.pseudo_labels import measure
from owlabel_training.weak_shot.recipe import WeakShotSettings
from owlabel_training.weak_shot.sampler import PairSampler

THRESHOLDS = tuple(round(float(t), 2) for t in np.linspace(0.05, 0.95, 19))
SURE = 0.5
"""A class is looked for in an image whose probability of it is above this."""
Pixels = NDArray[np.uint8]


class CamNet(nn.Module):
    """A segmenter's backbone, a 3x3 convolution, a linear map (CAM), and its mean over the image.

    Parameters
    ----------
    segmenter : Segmenter
    n_novel : int
    width : int
    """

    def __init__(self, segmenter: Segmenter, n_novel: int, width: int = 128) -> None:
        super().__init__()
        self.segmenter = segmenter
        channels = segmenter.backbone.high_channels
        self.body = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        self.classes = nn.Conv2d(width, n_novel, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the activation maps (B, V, h, w); their means are the class logits."""
        maps: Tensor = self.classes(self.body(self.segmenter.features(images).high))
        return maps


@dataclass(frozen=True)
class CamMaps:
    """What the classifier says of one image.

    Attributes
    ----------
    maps : array, shape (V, H, W)
        Positive activations over their largest one, 0 .. 1; all 0 where the class is not seen.
    """

    maps: NDArray[np.float32]


def train_cam(checkpoint: Path, frames: WeakFrames, recipe: WeakShotSettings) -> CamNet:
    """Train the classifier on tags alone: binary cross entropy, the recipe's steps and crops."""
    torch.manual_seed(recipe.seed)
    net = CamNet(load(checkpoint)[0], len(frames.novel_ids))
    sampler, n_base = PairSampler(frames, recipe), frames.n_base
    head = [*net.body.parameters(), *net.classes.parameters()]
    slow = list(net.segmenter.backbone.parameters())
    optimiser = torch.optim.AdamW(
        [{"params": head, "highest": recipe.lr},
         {"params": slow, "highest": recipe.lr * recipe.backbone_factor}],
        lr=recipe.lr, weight_decay=recipe.weight_decay,
    )  # fmt: skip
    net.segmenter.eval()
    for step in range(recipe.iterations):
        batch = sampler.batch(step)
        done = step / recipe.iterations
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * rate_factor(done, 0.0, recipe.power)
        with torch.set_grad_enabled(done >= recipe.freeze):
            high = net.segmenter.features(batch.images).high
        logits = net.classes(net.body(high)).mean(dim=(2, 3))  # (B, V)
        wanted, known = batch.present[:, n_base:-1].float(), ~batch.unknown[:, n_base:-1]
        each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        loss = (each * known).sum() / known.sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net.eval()


@torch.inference_mode()
def cam_maps(net: CamNet, image: Pixels, short_side: int) -> CamMaps:
    """Return the normalised activation maps of an image (H, W, 3)."""
    height, width = image.shape[:2]
    batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    if short_side:
        size = [max(32, round(n * short_side / min(height, width))) for n in (height, width)]
        batch = functional.interpolate(batch, size=size, mode="bilinear", antialias=True)
    maps = net(batch)  # (1, V, h, w)
    seen = maps.mean(dim=(2, 3)).sigmoid()[0] > SURE  # (V,)
    full = functional.interpolate(maps.relu(), size=(height, width), mode="bilinear")[0]
    full = full / full.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    return CamMaps((full * seen[:, None, None]).numpy().astype(np.float32))


def cam_classes(found: CamMaps, threshold: float, n_base: int) -> Pixels:
    """Return the novel class of each pixel whose activation is above a threshold, else 255."""
    best = found.maps.argmax(axis=0) + n_base
    return np.where(found.maps.max(axis=0) > threshold, best, VOID).astype(np.uint8)


def best_threshold(found: Sequence[CamMaps], truth: Frames, n_base: int) -> float:
    """Return the threshold with the best mIoU of novel classes on validation frames."""

    def value(threshold: float) -> float:
        told = measure((cam_classes(m, threshold, n_base) for m in found), truth, n_base)
        return float(np.nan_to_num(told["novel_miou"]))

    return max(THRESHOLDS, key=value)


def all_maps(net: CamNet, frames: Frames, short_side: int) -> Iterator[CamMaps]:
    """Yield the maps of every frame."""
    for image in frames.images:
        yield cam_maps(net, image, short_side)
