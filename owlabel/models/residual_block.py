"""Residual pattern learning (RPL): a small block beside a frozen segmenter.

The block adds r to the tensor c that the segmentation head g reads.  The logits g(c) do not change;
g(c + r) gives only the anomaly map.

References
----------
.. [1] Y. Liu et al., "Residual Pattern Learning for Pixel-wise Out-of-Distribution Detection in
   Semantic Segmentation", ICCV 2023, sec. 3.1 and supplement A.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP
from torch import Tensor, nn
from torch.nn import functional

from owlabel.checkpoints.header import CheckpointError
from owlabel.checkpoints.residual_header import FORMAT, KEY, ResidualHeader, read_residual_header
from owlabel.models.backbones import Features
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import write_whole

BLUR_SIDE = 7
BLUR_SIGMA = 1.0
"""Gaussian over the anomaly map at full resolution, as in the authors' code."""
LARGEST_F16 = 65504.0
MOST_POINTS = 1 << 18
"""Grid points of an image of 2048 x 2048; for larger images the energy stays on the grid."""


class ResidualBlock(nn.Module):
    """ASPP branches, a 1x1 layer without norm, and two 1x1 layers: r and CoroCL's projection.

    Parameters
    ----------
    high_channels : int
        Channels of the deep feature.
    settings : mapping
        Settings of the base head, see `owlabel.models.backbones.DEFAULTS`.
    """

    def __init__(self, high_channels: int, settings: Mapping[str, Any]) -> None:
        super().__init__()
        width, channels = int(settings["width"]), int(settings["width"] + settings["low_width"])
        separable = bool(settings["separable"])
        aspp = ASPP(high_channels, width, settings["rates"], separable, 0.0)
        self.high_channels, self.settings = high_channels, dict(settings)
        self.branches = aspp.convs
        self.squeeze = nn.Conv2d(5 * width, width, 1, bias=False)
        self.residual = nn.Conv2d(width, channels, 1, bias=False)
        projector = nn.Conv2d(width, channels, 1)
        for layer in (self.residual, projector):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        assert projector.bias is not None
        nn.init.zeros_(projector.bias)
        self.projector: nn.Module = projector

    def context(self, high: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the input of the two last layers, (B, width, h, w), from the deep feature."""
        joined = torch.cat([branch(high) for branch in self.branches], dim=1)  # (B, 5 width, ...)
        return functional.interpolate(
            self.squeeze(joined), size=size, mode="bilinear", align_corners=False
        )

    def forward(self, features: Features) -> Tensor:
        """Return r, (B, width + low_width, h, w), with the shape of c."""
        rows, columns = features.low.shape[-2:]
        r: Tensor = self.residual(self.context(features.high, (rows, columns)))
        return r


def block_for(segmenter: Segmenter) -> ResidualBlock:
    """Return a block whose ASPP and 1x1 squeeze are copies of the base head's."""
    head = segmenter.head(0)
    block = ResidualBlock(segmenter.backbone.high_channels, segmenter.settings)
    block.branches.load_state_dict(head.aspp.convs.state_dict())
    block.squeeze.load_state_dict(head.aspp.project[0].state_dict())
    return block.to(next(segmenter.parameters()).device).train(segmenter.training)


def logits_of(segmenter: Segmenter, decoder_input: Tensor) -> Tensor:
    """Return the logits z = 2T f of the base head for c or c + r, (B, N, h, w).

    RPL must not use -d: its log-sum-exp is at most 2e-7, so it would learn nothing from outliers.
    """
    output = segmenter.head(0).classify(decoder_input)
    return output if segmenter.kind == "softmax" else output * (2 * segmenter.prototype_length)


def residual_logits(segmenter: Segmenter, block: ResidualBlock, features: Features) -> Tensor:
    """Return the logits of the residual path, g(c + r), (B, N, h, w); gradients reach the block."""
    return logits_of(segmenter, segmenter.head(0).decoder_input(features) + block(features))


@torch.inference_mode()
def residual_energy(
    segmenter: Segmenter, block: ResidualBlock, features: Features, shape: tuple[int, int]
) -> NDArray[np.float16]:
    """Return the anomaly map of one image on its embedding grid.

    Parameters
    ----------
    segmenter : Segmenter
    block : ResidualBlock
    features : Features
        Of one image, batch size 1.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    array of float16, shape (h, w)
        -LSE of the logits.  The logits are enlarged to the image size that the model saw; the
        result is blurred and averaged over each grid cell.
    """
    segmenter.eval()
    block.eval()
    logits = residual_logits(segmenter, block, features)  # (1, N, h, w)
    if (
        logits.shape[2] * logits.shape[3] > MOST_POINTS
    ):  # a cell is as wide as four sigmas of the Gaussian
        return _stored(-logits.logsumexp(dim=1)[0])
    if max(shape) > segmenter.largest_side:  # reduced before the model saw it
        shape = (4 * logits.shape[2], 4 * logits.shape[3])
    full = functional.interpolate(logits, size=shape, mode="bilinear", align_corners=False)
    energy = blurred(-full.logsumexp(dim=1, keepdim=True))  # (1, 1, H, W)
    return _stored(functional.interpolate(energy, size=logits.shape[-2:], mode="area")[0, 0])


def _stored(energy: Tensor) -> NDArray[np.float16]:
    """Return a map in the form that the cache stores."""
    plain = energy.clamp(-LARGEST_F16, LARGEST_F16).cpu().numpy()
    return np.asarray(plain.astype(np.float16))


def blurred(maps: Tensor, side: int = BLUR_SIDE, sigma: float = BLUR_SIGMA) -> Tensor:
    """Smooth maps (B, 1, H, W) with a Gaussian window; edges are reflected, constants unchanged."""
    offsets = torch.arange(side, dtype=maps.dtype, device=maps.device) - side // 2
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    window = window / window.sum()
    for axis, kernel in ((2, window.view(1, 1, -1, 1)), (3, window.view(1, 1, 1, -1))):
        pad = [0, 0, 0, 0]
        reach = min(side // 2, maps.shape[axis] - 1)
        kernel = kernel if reach == side // 2 else _cut(kernel, axis, reach)
        pad[2 * (3 - axis)] = pad[2 * (3 - axis) + 1] = reach
        maps = functional.conv2d(functional.pad(maps, pad, mode="reflect"), kernel)
    return maps


def _cut(kernel: Tensor, axis: int, reach: int) -> Tensor:
    """Return the middle of a window for a map that is narrower than half the window."""
    kernel = kernel.narrow(axis, BLUR_SIDE // 2 - reach, 2 * reach + 1)
    return kernel / kernel.sum()


def save_block(
    block: ResidualBlock,
    path: Path,
    *,
    name: str,
    base_hash: str,
    recipe: Mapping[str, Any] | None = None,
) -> ResidualHeader:
    """Write a block without CoroCL's projector to a file, completely or not at all.

    Parameters
    ----------
    block : ResidualBlock
    path : Path
        Replaced if it exists.
    name : str
        Shown to the annotator.
    base_hash : str
        Hash of the base head it was trained with.
    recipe : mapping, optional
        Training settings, plain JSON values.
    """
    state = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in block.state_dict().items()
        if value.dtype.is_floating_point and not key.startswith("projector.")
    }
    header = ResidualHeader(
        FORMAT, name, base_hash, _digest(base_hash, state), block.high_channels,
        block.settings, dict(recipe or {}),
    )  # fmt: skip
    write_whole(state, {KEY: header.to_json()}, path)
    return header


def load_block(path: Path | str, base_hash: str) -> tuple[ResidualBlock, ResidualHeader]:
    """Read a block, ready for inference.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, newer than this program or of another base model, or its
        weights do not fit.
    """
    header = read_residual_header(path)
    if header.base_hash != base_hash:
        raise CheckpointError(
            f"{path} was trained with another base model ({header.base_hash}, this one is "
            f"{base_hash}): train it again"
        )
    try:
        block = ResidualBlock(header.high_channels, header.settings)
        stored = load_file(path)
        own = block.state_dict()
        kept = {k: v for k, v in own.items() if k.startswith("projector.") or v.ndim == 0}
        block.load_state_dict({**kept, **stored})
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the weights do not fit: {error}") from error
    if _digest(base_hash, stored) != header.hash:
        raise CheckpointError(f"{path} is damaged: its weights do not match the hash in its header")
    return block.eval(), header


def _digest(base_hash: str, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(base_hash.encode())
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].numpy().tobytes())
    return digest.hexdigest()[:16]
