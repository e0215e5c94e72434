"""MaskFormer on the project's backbone: proposals of a class-agnostic mask and a class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from owlabel.models.backbones import Backbone, full_settings
from owlabel.models.mask.mask_decoder import PixelDecoder, TransformerDecoder
from owlabel.models.segmenter import MEAN, STD


@dataclass(frozen=True)
class MaskFormerSettings:
    """Sizes of the decoders; the defaults are the small profile for CPUs.

    Attributes
    ----------
    channels : int
        C, a multiple of 32 (GroupNorm has 32 groups).
    queries : int
        Q, at least three times the largest number of classes in an image.
    layers : int
        Transformer decoder layers; class and mask heads are applied after each.
    heads : int
        Attention heads; divides `channels`.
    feedforward : int
    dropout : float
        In the transformer decoder.
    short_side : int
        Images are resized to this shorter side before the network; 0 keeps their size.

    Raises
    ------
    ValueError
        If a size is out of its range.
    """

    channels: int = 128
    queries: int = 30
    layers: int = 3
    heads: int = 8
    feedforward: int = 512
    dropout: float = 0.1
    short_side: int = 0

    def __post_init__(self) -> None:
        for name in ("channels", "queries", "layers", "heads", "feedforward"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} must be at least 1, got {getattr(self, name)}")
        if self.channels % 32 or self.channels % self.heads:
            raise ValueError(
                f"model.channels must be a multiple of 32 and of {self.heads} heads, "
                f"got {self.channels}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout must lie in [0, 1), got {self.dropout}")
        if self.short_side and self.short_side < 64:
            raise ValueError(f"model.short_side must be 0 or at least 64, got {self.short_side}")


PUBLISHED = MaskFormerSettings(256, 100, 6, 8, 2048, 0.1, 640)
"""SimFormer on COCO-Stuff-10K; ADE20K has a short side of 512."""


NEVER = -1e4
"""Logit of a class that is known to be absent."""


class Proposals(NamedTuple):
    """Output of the network for a batch, for each of L decoder layers; the last is the result.

    Attributes
    ----------
    class_logits : Tensor, shape (L, B, Q, K + 1)
        s; the last entry is "no object".
    mask_logits : Tensor, shape (L, B, Q, h, w)
        M = <e, F> at stride 4.
    pixels : Tensor, shape (B, C, h, w)
        F, the pixel embedding.
    """

    class_logits: Tensor
    mask_logits: Tensor
    pixels: Tensor


class MaskFormer(nn.Module):
    """Backbone, FPN pixel decoder, transformer decoder, and two heads on each of its layers.

    Parameters
    ----------
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    settings : MaskFormerSettings
    n_classes : int
        K, base and novel, without "no object"; at least 2.
    output_stride : int
        Of the backbone: 8, 16 or 32.

    References
    ----------
    .. [1] B. Cheng, A. Schwing, A. Kirillov, "Per-Pixel Classification is Not All You Need for
       Semantic Segmentation", NeurIPS 2021, sec. 3.3.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, architecture: str, settings: MaskFormerSettings, n_classes: int, output_stride: int
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise ValueError(f"a MaskFormer needs at least two classes, got {n_classes}")
        full_settings(architecture, {"output_stride": output_stride})
        self.architecture, self.settings = architecture, settings
        self.n_classes, self.output_stride = n_classes, output_stride
        width = settings.channels
        self.backbone = Backbone(architecture, output_stride)
        channels = self.backbone.pyramid_channels
        self.pixel_decoder = PixelDecoder(channels, width)
        self.project = nn.Conv2d(channels[-1], width, 1)
        self.decoder = TransformerDecoder(
            width, settings.queries, settings.layers, settings.heads,
            settings.feedforward, settings.dropout,
        )  # fmt: skip
        self.class_head = nn.Linear(width, n_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width),
        )  # fmt: skip
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Proposals:
        """Return the proposals of RGB images in [0, 1], shape (B, 3, H, W)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(images.shape)}")
        return self.decode(self.backbone.pyramid((images - self.mean) / self.std))

    def decode(self, stages: Sequence[Tensor]) -> Proposals:
        """Return the proposals of the backbone's features res2 .. res5."""
        pixels = self.pixel_decoder(stages)  # (B, C, h, w)
        states = self.decoder(self.project(stages[-1]))  # (L, B, Q, C)
        embedding = self.mask_head(states)  # e, (L, B, Q, C)
        masks = torch.einsum("lbqc,bchw->lbqhw", embedding, pixels)
        return Proposals(self.class_head(states), masks, pixels)


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return ``sum_n softmax(s_n)_c sigma(M_n)``; it lies in [0, Q] and is not a probability.

    "No object" is dropped after the softmax.

    Parameters
    ----------
    class_logits : Tensor, shape (..., Q, K + 1)
    mask_logits : Tensor, shape (..., Q, H, W)
        Already resized to the output size.

    Returns
    -------
    Tensor, shape (..., K, H, W)

    References
    ----------
    .. [1] Cheng et al., 2021, sec. 3.4.
    """
    shares = class_logits.softmax(dim=-1)[..., :-1]  # (..., Q, K)
    return torch.einsum("...qk,...qhw->...khw", shares, mask_logits.sigmoid())


@torch.inference_mode()
def image_scores(model: MaskFormer, image: Tensor, absent: Sequence[int] = ()) -> Tensor:
    """Return the semantic scores of one whole image at its own size.

    Parameters
    ----------
    model : MaskFormer
        Switched to evaluation mode.
    image : Tensor, shape (3, H, W)
        RGB in [0, 1].
    absent : sequence of int
        Classes known to be absent; the others share their probability.

    Returns
    -------
    Tensor, shape (K, H, W)
    """
    model.eval()
    height, width = image.shape[1:]
    batch = image[None].to(next(model.parameters()).device)
    side = model.settings.short_side
    if side and side != min(height, width):
        size = [max(32, round(n * side / min(height, width))) for n in (height, width)]
        batch = functional.interpolate(batch, size=size, mode="bilinear", antialias=True)
    proposals = model(batch)
    masks = functional.interpolate(proposals.mask_logits[-1], size=(height, width), mode="bilinear")
    classes = proposals.class_logits[-1, 0]  # (Q, K + 1)
    classes[:, list(absent)] = NEVER
    return semantic_scores(classes, masks[0])
