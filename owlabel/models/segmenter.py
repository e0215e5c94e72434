"""The segmenter: one backbone, one base head, and one complete head for each novel class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from owlabel.models.backbones import Backbone, Features, full_settings
from owlabel.models.deeplab_head import DeepLabHead, new_head
from owlabel.models.tiles import shortest_side

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PROTOTYPE_LENGTH = 3.0
"""T of DMLNet (supplement, Table b)."""
DEFAULT_MAX_SIDE = 2048
"""Larger images are reduced to this side, or cut into tiles of at most this side."""
MOST_TILES = 4
"""Most tiles along one side; even larger images are first reduced to this many tiles."""


class Segmenter(nn.Module):
    """A network with embedding f and logits z = 2T f, for both kinds of training.

    Parameters
    ----------
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    settings : mapping
        Settings of the head; missing ones come from `DEFAULTS`.
    n_classes : int
        Base classes, at least 2.
    kind : {"metric", "softmax"}
        "softmax" heads output logits, which `embed` divides by 2T.
    prototype_length : float
        T > 0.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str,
        settings: Mapping[str, Any],
        n_classes: int,
        *,
        kind: Literal["metric", "softmax"] = "metric",
        prototype_length: float = PROTOTYPE_LENGTH,
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"a segmenter needs at least two classes, got {n_classes}")
        if kind not in ("metric", "softmax"):
            raise ValueError(f"kind must be 'metric' or 'softmax', got {kind!r}")
        if prototype_length <= 0:
            raise ValueError(f"the prototype length must be positive, got {prototype_length}")
        self.architecture = architecture
        self.settings = full_settings(architecture, settings)
        self.kind = kind
        self.prototype_length = float(prototype_length)
        self.novel_ids: list[int] = []
        self.max_side = DEFAULT_MAX_SIDE
        self.large_images: Literal["reduce", "tile"] = "reduce"
        self.backbone = Backbone(architecture, self.settings["output_stride"])
        self.heads = nn.ModuleList([self._new_head(n_classes)])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    @property
    def n_classes(self) -> int:
        """Number of base classes."""
        return self.head(0).outputs

    @property
    def tile_side(self) -> int:
        """Longest side that the network sees at once."""
        return max(self.max_side, shortest_side() if self.large_images == "tile" else 0)

    @property
    def largest_side(self) -> int:
        """Images with a longer side are first reduced to this side."""
        return self.tile_side * (MOST_TILES if self.large_images == "tile" else 1)

    def head(self, index: int) -> DeepLabHead:
        """Return head 0 (base) or the head of the index-th novel class."""
        head = self.heads[index]
        assert isinstance(head, DeepLabHead)
        return head

    def features(self, images: Tensor) -> Features:
        """Return the backbone features of RGB images in [0, 1], shape (B, 3, H, W)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(images.shape)}")
        features: Features = self.backbone((images - self.mean) / self.std)
        return features

    def embed(self, features: Features, head: int = 0, points: int | None = None) -> Tensor:
        """Return the embedding f of one head, shape (B, N, h, w) at stride 4.

        If `points` is given, at most about this many grid points are computed at once.
        """
        height, width = features.low.shape[2:]
        if points is None or height * width <= points:
            output: Tensor = self.heads[head](features)
        else:
            output = self.head(head).in_stripes(features, max(1, points // width))
        return output / (2 * self.prototype_length) if self.kind == "softmax" else output

    def forward(self, images: Tensor) -> Tensor:
        """Return the base embedding of RGB images in [0, 1]: (B, 3, H, W) to (B, N, h, w)."""
        return self.embed(self.features(images))

    def add_head(self, class_id: int) -> DeepLabHead:
        """Add a complete new head for one novel class, with random weights.

        Its outputs are the base classes, the novel classes before it, and the new class last
        (DMLNet: N + i outputs).

        Raises
        ------
        ValueError
            If the class already has a head, or the id belongs to a base class.
        """
        if class_id < self.n_classes or class_id in self.novel_ids:
            raise ValueError(
                f"class id {class_id} is taken: ids below {self.n_classes} are base classes, "
                f"{self.novel_ids} have heads"
            )
        head = self._new_head(self.n_classes + len(self.heads))
        self.heads.append(head)
        self.novel_ids.append(class_id)
        return head

    def renew_head(self, class_id: int) -> DeepLabHead:
        """Return a new head with random weights for the class; it replaces the old one, if any.

        The heads of classes added later keep their outputs and their meaning.
        """
        if class_id not in self.novel_ids:
            return self.add_head(class_id)
        index = self.novel_ids.index(class_id) + 1
        head = self._new_head(self.n_classes + index)
        self.heads[index] = head
        return head

    def _new_head(self, outputs: int) -> DeepLabHead:
        head = new_head(self.backbone, outputs, self.settings, self.prototype_length)
        return head.train(self.training)


def build(architecture: str, settings: Mapping[str, Any], n_classes: int) -> Segmenter:
    """Return a metric segmenter with random weights; see `Segmenter` for kinds and errors."""
    return Segmenter(architecture, settings, n_classes)
