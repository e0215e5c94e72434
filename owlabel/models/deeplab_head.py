"""The DeepLabV3+ head with a metric space and one fixed prototype per class as output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP, SeparableConv2d
from torch import Tensor, nn
from torch.nn import functional

from owlabel.models.backbones import Backbone, Features


def one_hot_prototypes(n_classes: int, length: float) -> Tensor:
    """Return the prototypes m_t = T e_t as rows, shape (N, N) (DMLNet, supplement A.4)."""
    return torch.eye(n_classes) * length


class DeepLabHead(nn.Module):
    """ASPP, low-level skip and a 1x1 convolution to the embedding, (B, N, h, w) at stride 4.

    Parameters
    ----------
    high_channels, low_channels : int
        Channels of the two backbone features.
    outputs : int
        N: the number of classes, and also the dimension of the metric space.
    settings : mapping
        As returned by `full_settings`.
    prototype_length : float
        T.
    """

    prototypes: Tensor

    def __init__(
        self,
        high_channels: int,
        low_channels: int,
        outputs: int,
        settings: Mapping[str, Any],
        prototype_length: float,
    ) -> None:
        super().__init__()
        width, low_width = int(settings["width"]), int(settings["low_width"])
        separable = bool(settings["separable"])
        self.outputs = outputs
        self.aspp = ASPP(high_channels, width, settings["rates"], separable, settings["dropout"])
        self.low = nn.Sequential(
            nn.Conv2d(low_channels, low_width, 1, bias=False), nn.BatchNorm2d(low_width), nn.ReLU()
        )
        convolution = SeparableConv2d if separable else nn.Conv2d
        self.fuse = nn.Sequential(
            convolution(width + low_width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.embedding = nn.Conv2d(width, outputs, 1)
        self.register_buffer("prototypes", one_hot_prototypes(outputs, prototype_length))
        _initialise(self)

    def forward(self, features: Features) -> Tensor:
        """Return the embedding f, shape (B, N, h, w), on the grid of the low-level feature."""
        return self.classify(self.decoder_input(features))

    def in_stripes(self, features: Features, rows: int) -> Tensor:
        """Return the same embedding as `forward`, computing stride 4 in stripes of `rows` rows.

        The maps at stride 4 need the most memory.  Each stripe also reads one row of either
        neighbour, because the only filter at stride 4 is 3 x 3.
        """
        high = self.aspp(features.high)  # (B, width, h_high, w_high)
        height = features.low.shape[2]
        stripes = []
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            first, last = max(start - 1, 0), min(stop + 1, height)
            low = self.low(features.low[:, :, first:last])
            high_rows = functional.interpolate(
                _rows(high, first, last, height), size=low.shape[-2:], mode="bilinear"
            )  # (B, width, last - first, w); changes the columns only, `_rows` made the rows
            stripe = self.classify(torch.cat([high_rows, low], dim=1))
            stripes.append(stripe[:, :, start - first : stop - first])
        return torch.cat(stripes, dim=2)

    def decoder_input(self, features: Features) -> Tensor:
        """Return c, the tensor that the pixel classifier reads, (B, width + low_width, h, w)."""
        high = self.aspp(features.high)  # (B, width, h_high, w_high)
        low = self.low(features.low)  # (B, low_width, h, w)
        high = functional.interpolate(
            high, size=low.shape[-2:], mode="bilinear", align_corners=False
        )  # (B, width, h, w)
        return torch.cat([high, low], dim=1)

    def classify(self, decoder_input: Tensor) -> Tensor:
        """Return the embedding f of c, shape (B, N, h, w): the segmentation head g of RPL."""
        embedding: Tensor = self.embedding(self.fuse(decoder_input))
        return embedding  # (B, N, h, w)

    def decode(self, features: Features) -> Tensor:
        """Return the last layer's input, (B, width, h, w) at stride 4, for auxiliary labels."""
        fused: Tensor = self.fuse(self.decoder_input(features))
        return fused


def _rows(maps: Tensor, start: int, stop: int, height: int) -> Tensor:
    """Return rows start .. stop - 1 of maps (B, C, h, w) interpolated to `height` rows."""
    points = maps.shape[2]
    position = (torch.arange(start, stop, device=maps.device) + 0.5) * points / height - 0.5
    position = position.clamp(0, points - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=points - 1)
    share = (position - low)[:, None]  # (stop - start, 1)
    return maps[:, :, low] * (1 - share) + maps[:, :, high] * share


def new_head(
    backbone: Backbone, outputs: int, settings: Mapping[str, Any], prototype_length: float
) -> DeepLabHead:
    """Return a head with random weights that fits the backbone."""
    return DeepLabHead(
        backbone.high_channels, backbone.low_channels, outputs, settings, prototype_length
    )


def _initialise(head: DeepLabHead) -> None:
    """Initialise with Kaiming weights; a small last layer makes all classes equally likely.

    In dilated depthwise filters all taps but the middle one start at zero.  On small crops the
    outer taps may see only padding: they would stay untrained and add noise on whole images.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.dilation[0] > 1 and module.groups > 1:
                module.weight.data.mul_(torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(head.embedding.weight, std=0.01)
