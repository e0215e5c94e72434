"""Walking an image in blocks that fit the processor's cache, for NumPy arrays and torch tensors."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.introspect import opt_func_info

Array: TypeAlias = Any
"""A NumPy array or a torch tensor."""

_BLOCK_PIXELS = 16384  # 19 channels of float32 are 1.2 MB: two such buffers stay in the cache
_CHUNK = 1 << 16
_LOWEST_SHIFT = -200.0  # exp(-200) is 0 in float32; keeps 0 * log 0 from being 0 * inf (torch)


def vectorised(name: str) -> bool:
    """Tell whether NumPy has vector instructions of this processor for a function of float32."""
    targets = opt_func_info(func_name=f"^{name}$", signature="^float32$").get(name, {})
    return any("baseline" not in str(target["current"]) for target in targets.values())


_POWER, _UNIT = (np.exp2, math.log2(math.e)) if vectorised("exp2") else (np.exp, 1.0)
"""``_POWER(_UNIT * x) = exp(x)``: half the time of exp where exp2 has vector instructions."""


class Scratch:
    """A buffer that the blocks of one image share; fresh memory costs more than the arithmetic."""

    def __init__(self) -> None:
        self._held: Array | None = None

    def like(self, block: Array, channels: int) -> Array:
        """Return `channels` planes like those of a NumPy block (C, rows, W), not set to 0."""
        if self._held is None or self._held.shape[1] < block.shape[1]:
            self._held = np.empty_like(block)
        return self._held[:channels, : block.shape[1]]


Kernel: TypeAlias = Callable[[Array, Scratch], tuple[Array, ...]]
"""Takes a block (C, rows, W), which it may write over; returns maps (rows, W)."""


def namespace(array: Array) -> Any:
    """Return the module whose functions work on this array; never imports torch itself."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def check_image(array: Array) -> None:
    """Refuse an array that is not (C >= 2, H, W); raises ValueError with its shape."""
    if getattr(array, "ndim", 0) != 3 or array.shape[0] < 2:
        raise ValueError(f"expected shape (C >= 2, H, W), got {tuple(getattr(array, 'shape', ()))}")


def by_blocks(kernel: Kernel, array: Array, scale: float = 1.0) -> tuple[Array, ...]:
    """Apply a function of blocks to the whole array and put its maps together.

    Parameters
    ----------
    kernel : callable
        Must treat every pixel alone.  Sees a copy in float32, or float64 where `array` is.
    array : array, shape (C, H, W)
        At least two channels.  A torch tensor is given to `kernel` in one piece.
    scale : float
        `kernel` sees ``scale * array``.

    Returns
    -------
    tuple of array, shape (H, W)

    Raises
    ------
    ValueError
        If `array` is not 3-D or has fewer than two channels.
    """
    check_image(array)
    xp = namespace(array)
    dtype = xp.float64 if array.dtype == xp.float64 else xp.float32
    if xp is not np:
        return kernel(xp.asarray(array, dtype=dtype) * scale, Scratch())
    height, width = array.shape[1:]
    step = max(1, min(height, _BLOCK_PIXELS // max(1, width)))
    scratch = Scratch()
    maps: tuple[np.ndarray[Any, Any], ...] = ()
    block = np.empty((len(array), step, width), dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are dealt with, see below
        for start in range(0, max(height, 1), step):
            rows = array[:, start : start + step]
            part = np.multiply(rows, dtype(scale), out=block[:, : rows.shape[1]], dtype=dtype)
            parts = kernel(part, scratch)
            maps = maps or tuple(np.empty((height, width), dtype) for _ in parts)
            for whole, one in zip(maps, parts, strict=True):
                whole[start : start + step] = one
    return maps


def by_chunks(function: Callable[..., Array], *maps: Array) -> Array:
    """Apply an elementwise function to maps of one shape, a cacheful at a time.

    Parameters
    ----------
    function : callable
        Takes as many arrays as there are maps; must treat every element alone.
    *maps : array, any one shape

    Returns
    -------
    array
        Of the shape and precision of the first map.
    """
    if namespace(maps[0]) is not np or maps[0].size <= _CHUNK:
        return function(*maps)
    result = np.empty(maps[0].shape, maps[0].dtype)
    flat, sources = result.reshape(-1), [np.reshape(values, -1) for values in maps]
    for start in range(0, flat.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        flat[chunk] = function(*(values[chunk] for values in sources))
    return result


class SoftmaxTerms(NamedTuple):
    """What the scores of a softmax are made of, a number a pixel each: arrays (H, W).

    Attributes
    ----------
    peak : array
        ``max z``.
    tail : array
        ``sum exp(z - max z)`` over all classes but the one on top: 0 .. C - 1, exact where tiny.
    slope : array
        ``sum (z - max z) exp(z - max z)``, at most 0.
    second : array or None
        The largest term of `tail`, ``p_2 / p_1``: 0 .. 1.  None unless asked for.
    classes : int
        C.
    """

    peak: Array
    tail: Array
    slope: Array
    second: Array | None
    classes: int


def unit(array: Array) -> float:
    """Return the factor that the logits given to `softmax_terms` must have been multiplied by."""
    return _UNIT if namespace(array) is np else 1.0


def softmax_terms(logits: Array, scratch: Scratch, second: bool = False) -> SoftmaxTerms:
    """Return the terms of a block of logits, free of overflow.

    A pixel with a NaN has NaN in all terms.  Infinities are limits: one class at +inf is certain,
    several share, a class at -inf is impossible, and C classes at -inf are all equally likely.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Multiplied by ``unit(logits)``; written over.
    scratch : Scratch
    second : bool
        Whether `SoftmaxTerms.second` is wanted.
    """
    classes = logits.shape[0]
    if namespace(logits) is not np:
        return _tensor_terms(logits, second)
    losers = scratch.like(logits, classes - 1)
    peak = _top(logits, losers)
    shifted = np.subtract(losers, peak, out=losers)
    limited = _limit(shifted, peak)
    powers = _POWER(shifted, out=logits[1:])  # all but the peak is spoilt: two buffers stay cached
    tail, slope = np.add.reduce(powers, axis=0), inner(powers, shifted)
    largest = np.maximum.reduce(powers, axis=0) if second else None
    if limited:
        nothing = tail <= 2 * classes * np.finfo(tail.dtype).tiny
        for term in (tail, slope, largest):
            if term is not None:
                term[nothing] = 0
    return SoftmaxTerms(peak / _UNIT, tail, slope / _UNIT, largest, classes)


def inner(first: Array, second: Array) -> Array:
    """Return the inner product over the channels: (C, H, W) twice to (H, W)."""
    if namespace(first) is np:
        return np.einsum("chw,chw->hw", first, second)
    return (first * second).sum(0)  # einsum of tensors is a product of matrices, which is not fused


def _top(block: Array, losers: Array) -> Array:
    """Return the largest value of each pixel and put all others into `losers`; spoils `block`.

    A knock-out over halves of the channels: few calls on large pieces, and the largest term of the
    softmax, which is 1, is left out of the sums that would swallow small ones.
    """
    left, out = len(block), 0
    while left > 1:
        half = left // 2
        first, last = block[:half], block[left - half : left]
        np.minimum(first, last, out=losers[out : out + half])
        np.maximum(first, last, out=first)
        left, out = left - half, out + half
    return block[0]


def _limit(shifted: Array, peak: Array) -> bool:
    """Keep ``z - max z`` within what `_POWER` is quick and right for, in place; tell if it was not.

    Where exp leaves the normal numbers it costs a hundred times as much; NaN comes from equal
    infinities, which tie, unless a logit was NaN.
    """
    floor = float(np.finfo(shifted.dtype).minexp) * math.log(2) * _UNIT
    if shifted.min(initial=0.0) > floor:  # False for NaN, too
        return False
    np.copyto(shifted, 0, where=np.isnan(shifted) & ~np.isnan(peak))
    np.clip(shifted, floor, 0, out=shifted)
    return True


def _tensor_terms(logits: Array, second: bool) -> SoftmaxTerms:
    """Return the same terms of a torch tensor, in sums over the channels that torch can fuse.

    Compiled for a GPU they are one kernel that reads each logit once.  The classes on top are
    counted apart from the others, whose terms a float32 sum with a 1 in it would swallow.
    """
    xp = namespace(logits)
    peak = logits.amax(0)
    top = logits == peak
    shifted = xp.where(top, 0.0, logits - peak).clip(min=_LOWEST_SHIFT)
    powers = shifted.exp()
    losers = xp.where(top, 0.0, powers)
    ties = top.sum(0, dtype=powers.dtype) - 1
    largest = xp.where(ties > 0, 1.0, losers.amax(0)) if second else None
    return SoftmaxTerms(
        peak, losers.sum(0) + ties, inner(powers, shifted), largest, logits.shape[0]
    )
