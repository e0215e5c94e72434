from __future__ import annotations

from torch import Tensor, nn


class TinyNet(nn.Module):
    """Five steps of stride 2, or fewer: feature maps at strides 1, 2, 4, ..."""

    def __init__(self, output_stride: int) -> None:
        super().__init__()
        self.out_channels = [3, 4, 6, 8, 8, 8]
        strides = [2 if 2**step <= output_stride else 1 for step in range(1, 6)]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b, stride in zip(self.out_channels, self.out_channels[1:], strides, strict=False)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        stages = [images]
        for step in self.steps:
            stages.append(step(stages[-1]))
        return stages
