"""Walking an image in blocks of rows, for NumPy arrays and torch tensors alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array or a torch tensor."""
Kernel: TypeAlias = Callable[[Array], tuple[Array, ...]]
"""Takes a block (C, rows, W); returns maps (rows, W)."""

_BLOCK_PIXELS = 16384  # 19 channels of float32 are 1.2 MB: stay in the processor's cache
_LOWEST_SHIFT = -200.0  # exp(-200) is 0 in float32; keeps 0 * log 0 from being 0 * inf


def namespace(array: Array) -> Any:
    """Return the module whose functions work on this array; never imports torch itself."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def by_blocks(kernel: Kernel, array: Array) -> tuple[Array, ...]:
    """Apply a function of blocks to the whole array and put its maps together.

    Parameters
    ----------
    kernel : callable
        Must treat every pixel alone.  Sees float32, or float64 where `array` is.
    array : array, shape (C, H, W)
        At least two channels.  A torch tensor is given to `kernel` in one piece.

    Returns
    -------
    tuple of array, shape (H, W)

    Raises
    ------
    ValueError
        If `array` is not 3-D or has fewer than two channels.
    """
    if getattr(array, "ndim", 0) != 3 or array.shape[0] < 2:
        raise ValueError(f"expected shape (C >= 2, H, W), got {tuple(getattr(array, 'shape', ()))}")
    xp = namespace(array)
    dtype = xp.float64 if array.dtype == xp.float64 else xp.float32
    height, width = array.shape[1:]
    if xp is not np:
        return kernel(xp.asarray(array, dtype=dtype))
    step = max(1, _BLOCK_PIXELS // max(1, width))
    parts = kernel(np.asarray(array[:, :step], dtype))
    maps = tuple(np.empty((height, width), dtype) for _ in parts)
    for start in range(0, height, step):
        if start:
            parts = kernel(np.asarray(array[:, start : start + step], dtype))
        for whole, part in zip(maps, parts, strict=True):
            whole[start : start + step] = part
    return maps


class SoftmaxTerms(NamedTuple):
    """What the softmax scores share.

    Attributes
    ----------
    peak : array, shape (H, W)
        ``max z``.
    shifted, powers : array, shape (C, H, W)
        ``z - max z`` and its exponential.
    tail : array, shape (H, W)
        Sum of `powers` less the largest, which is 1: 0 .. C - 1, exact where it is tiny.
    """

    peak: Array
    shifted: Array
    powers: Array
    tail: Array


def softmax_terms(logits: Array) -> SoftmaxTerms:
    """Return the terms of a block of logits, shape (C, H, W), free of overflow and of NaN."""
    xp = namespace(logits)
    peak = xp.amax(logits, 0)
    shifted = xp.clip(logits - peak, _LOWEST_SHIFT, 0)
    powers = xp.exp(shifted)
    tail = xp.asarray(powers.sum(0, dtype=xp.float64) - 1, dtype=powers.dtype)
    return SoftmaxTerms(peak, shifted, powers, tail)


def inner(first: Array, second: Array) -> Array:
    """Return the inner product over the channels: (C, H, W) twice to (H, W)."""
    return namespace(first).einsum("chw,chw->hw", first, second)
