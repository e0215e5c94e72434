"""The backbones by name: encoders, and the settings of the head on top of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from owlabel.registry import Registry

Encoder: TypeAlias = Callable[[int], nn.Module]
"""``encoder(output_stride)`` builds a network with random weights for RGB images (B, 3, H, W).

The output is a list of feature maps at strides 1, 2, 4, 8, ... up to the output stride.  The first
may be the image itself.  The attribute ``out_channels`` lists the channels of each.
"""


def _smp(name: str) -> Encoder:
    """Return an encoder of segmentation-models-pytorch."""
    return lambda stride: get_encoder(name, weights=None, depth=5, output_stride=stride)


def _checked(_name: str, item: Any) -> Encoder:
    if not callable(item):
        raise ValueError(f"expected a function of the output stride, got {type(item).__name__}")
    return cast(Encoder, item)


MODELS: Registry[Encoder] = Registry(
    "owlabel.models",
    "architecture",
    {
        "mobilenet_v3_small": _smp("tu-mobilenetv3_small_100"),
        "mobilenet_v3_large": _smp("tu-mobilenetv3_large_100"),
        "resnet18": _smp("resnet18"),
        "resnet50": _smp("resnet50"),
        "resnet101": _smp("resnet101"),
    },
    _checked,
)
"""Every architecture by the name that recipes and checkpoints use.

A package adds one through an entry point of the group ``owlabel.models`` whose object is an
`Encoder`.  A checkpoint holds its name and weights, never code.
"""

DEFAULTS: dict[str, Any] = {
    "width": 256,
    "low_width": 48,
    "rates": [6, 12, 18],
    "separable": True,
    "dropout": 0.1,
    "output_stride": 16,
}
"""Settings of the DeepLabV3+ head, and the encoder's stride (DMLNet, supplement B.1)."""

LOW_STAGE = 2
"""Index of the stride-4 feature among an encoder's outputs."""


class Features(NamedTuple):
    """Features of a batch from a frozen backbone: the input of a head.

    Attributes
    ----------
    high : Tensor, shape (B, C_high, h_high, w_high)
        Deep feature at the output stride, 16 by default.
    low : Tensor, shape (B, C_low, h, w)
        Shallow feature at stride 4; its size is the embedding grid.
    """

    high: Tensor
    low: Tensor


class Backbone(nn.Module):
    """An encoder without pretrained weights, reduced to the two features DeepLabV3+ uses.

    Parameters
    ----------
    architecture : str
        A key of `MODELS`.
    output_stride : int
        8, 16 or 32.
    """

    def __init__(self, architecture: str, output_stride: int) -> None:
        super().__init__()
        self.encoder = MODELS[architecture](output_stride)
        channels: Sequence[int] = getattr(self.encoder, "out_channels", ())
        if len(channels) <= LOW_STAGE + 1:
            raise ValueError(
                f"the encoder {architecture!r} must list the channels of its feature maps at "
                f"strides 1, 2, 4, 8 ... in out_channels, got {channels!r}"
            )
        self.low_channels = int(channels[LOW_STAGE])
        self.high_channels = int(channels[-1])
        self.pyramid_channels = tuple(int(n) for n in channels[LOW_STAGE:])

    def forward(self, images: Tensor) -> Features:
        """Return both features of normalised images, shape (B, 3, H, W)."""
        stages = self.encoder(images)
        return Features(high=stages[-1], low=stages[LOW_STAGE])

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Return res2 .. res5 of normalised images: the features from stride 4 on."""
        return list(self.encoder(images)[LOW_STAGE:])


def full_settings(architecture: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the defaults filled in, checked.

    Raises
    ------
    ValueError
        If the architecture or a setting is unknown, or a value is out of its range.
    """
    if architecture not in MODELS:
        raise ValueError(
            f"unknown architecture {architecture!r}; choose from {', '.join(sorted(MODELS))}"
        )
    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"unknown model settings {unknown}; choose from {sorted(DEFAULTS)}")
    full = {**DEFAULTS, **settings}
    full["rates"] = [int(rate) for rate in full["rates"]]
    if full["output_stride"] not in (8, 16, 32):
        raise ValueError(f"output_stride must be 8, 16 or 32, got {full['output_stride']}")
    if len(full["rates"]) != 3 or min(full["rates"]) < 1:
        raise ValueError(f"rates must be three positive numbers, got {full['rates']}")
    if not 0 <= full["dropout"] < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {full['dropout']}")
    for name in ("width", "low_width"):
        if not 1 <= int(full[name]) <= 4096:
            raise ValueError(f"{name} must lie in 1 .. 4096, got {full[name]}")
    return full
