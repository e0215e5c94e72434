"""The two decoders of MaskFormer: an FPN for the pixels and a transformer for the proposals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 32


class PixelDecoder(nn.Module):
    """FPN from res5 to res2 with GroupNorm; outputs the pixel embedding F at stride 4 (res2).

    Parameters
    ----------
    channels : sequence of int
        Channels of res2 .. res5.
    width : int
        C.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.top = _block(channels[-1], width, 3)
        lateral = channels[-2::-1]  # res4, res3, res2
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 1, bias=False), nn.GroupNorm(GROUPS, width))
            for n in lateral
        )
        self.output = nn.ModuleList(_block(width, width, 3) for _ in lateral)
        self.pixels = nn.Conv2d(width, width, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Return F, (B, C, h, w), from the features res2 .. res5."""
        up: Tensor = self.top(stages[-1])
        for stage, lateral, output in zip(stages[-2::-1], self.lateral, self.output, strict=True):
            side = lateral(stage)
            up = output(side + functional.interpolate(up, size=side.shape[-2:], mode="nearest"))
        pixels: Tensor = self.pixels(up)
        return pixels


def _block(inputs: int, outputs: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False),
        nn.GroupNorm(GROUPS, outputs),
        nn.ReLU(),
    )


class DecoderLayer(nn.TransformerDecoderLayer):
    """torch's post-norm decoder layer with positions added to queries and keys, not to values."""

    def attend(self, target: Tensor, query: Tensor, memory: Tensor, position: Tensor) -> Tensor:
        """Return the proposals, (B, Q, C), after one layer.

        Parameters
        ----------
        target : Tensor, shape (B, Q, C)
        query : Tensor, shape (B, Q, C)
            Learned position of each proposal.
        memory, position : Tensor, shape (B, N, C)
            Pixels of res5 and their positions.
        """
        own = target + query
        seen, _ = self.self_attn(own, own, target, need_weights=False)
        target = self.norm1(target + self.dropout1(seen))
        seen, _ = self.multihead_attn(target + query, memory + position, memory, need_weights=False)
        target = self.norm2(target + self.dropout2(seen))
        seen = self.linear2(self.dropout(functional.relu(self.linear1(target))))
        after: Tensor = self.norm3(target + self.dropout3(seen))
        return after


class TransformerDecoder(nn.Module):
    """Learned queries and zero targets that attend to the pixels of res5 in every layer.

    Parameters
    ----------
    width, queries, layers, heads, feedforward : int
    dropout : float
    """

    def __init__(
        self, width: int, queries: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.queries = nn.Embedding(queries, width)
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, feedforward, dropout, batch_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the proposals after every layer, (L, B, Q, C), for res5 of shape (B, C, h, w)."""
        rows, columns = feature.shape[-2:]
        memory = feature.flatten(2).transpose(1, 2)  # (B, h w, C)
        position = sine_positions(rows, columns, feature.shape[1]).to(memory)
        position = position.expand_as(memory)
        query = self.queries.weight.expand(len(memory), -1, -1)  # (B, Q, C)
        target = torch.zeros_like(query)
        states = []
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            target = layer.attend(target, query, memory, position)
            states.append(self.norm(target))
        return torch.stack(states)


def sine_positions(rows: int, columns: int, channels: int) -> Tensor:
    """Return the sine positions of a map, (rows * columns, channels), all in [-1, 1].

    Half of the channels encode the row and half the column, as in DETR with temperature 10000.
    `channels` must be a multiple of 4.
    """
    half = channels // 2
    pair = torch.arange(half // 2, dtype=torch.float32).repeat_interleave(2)  # 0, 0, 1, 1, ...
    wave = 10000.0 ** (2 * pair / half)  # (half,)
    axes = []
    for count in (rows, columns):
        place = (torch.arange(count, dtype=torch.float32) + 1) / count * 2 * math.pi
        angle = place[:, None] / wave  # (count, half)
        axes.append(torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1))
    row = axes[0][:, None].expand(rows, columns, half)
    column = axes[1][None].expand(rows, columns, half)
    return torch.cat([row, column], dim=2).flatten(0, 1)
