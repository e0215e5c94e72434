"""Anomaly scores of a metric head (DMLNet): EDS, MMSP, their mixture; prototypes ``m_t = T e_t``.

The functions take NumPy arrays or torch tensors and return the same kind.  They compute in float64
for float64 input and in float32 otherwise.  They raise ValueError unless the embedding has shape
(N >= 2, H, W) and the prototype length T is above 0.

A pixel with a NaN scores NaN; other pixels are not affected.  A pixel at infinity is infinitely far
from all prototypes; scores from the distance sum rate it as known.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from owlabel.arrays.cache_blocks import Array, Scratch, by_blocks, by_chunks, inner, namespace
from owlabel.ood.logit_scores import msp_of, scored

PROTOTYPE_LENGTH = 3.0
"""T, the length of every prototype ``m_t = T e_t``."""
CLIP_FACTOR = 1.85
"""Distance sums are clipped at this multiple of the value on a prototype (400 if N = 13, T = 3)."""
BETA, GAMMA = 20.0, 0.8
"""Steepness and threshold of the mixture."""
MmspNorm = Literal["none", "minmax"]
"""Whether the mixture uses raw MMSP or MMSP spread over 0 .. 1 within its image."""


def mmsp(embedding: Array, T: float = PROTOTYPE_LENGTH) -> Array:
    """Metric-based maximum softmax probability: ``1 - max_t softmax(-d)_t``.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head.
    T : float
        Length of the prototypes.

    Returns
    -------
    array, shape (H, W)
        0 .. 1 - 1/N.  ``softmax(-d) = softmax(2T f)``, because terms common to all classes cancel.

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", ICCV 2021.
    """
    return scored(msp_of, embedding, 2 * checked_length(T))


def distance_sum(embedding: Array, T: float = PROTOTYPE_LENGTH) -> Array:
    """Sum of the squared distances to all prototypes, ``S = sum_t ||f - T e_t||^2``.

    Computed as ``(N - 1) T^2 + N ||f - c||^2`` with c = T/N in every channel, the centroid of the
    prototypes.  **Small** sums are anomalous.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head.
    T : float
        Length of the prototypes.

    Returns
    -------
    array, shape (H, W)
        At least ``(N - 1) T^2``; twice that on a prototype.
    """
    checked_length(T)
    return by_blocks(lambda block, scratch: (distance_sum_of(block, T, scratch),), embedding)[0]


def eds(
    embedding: Array,
    T: float = PROTOTYPE_LENGTH,
    mode: Literal["minmax", "absolute"] = "minmax",
    clip: bool = True,
) -> Array:
    """Euclidean distance sum, normalised and inverted: ``1 - norm(S)``.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head.
    T : float
        Length of the prototypes.
    mode : {"minmax", "absolute"}
        "minmax" spreads S over 0 .. 1 within this image, so *some* pixel scores 1 in every image.
        Use it for display, not with a fixed threshold.  "absolute" is
        ``clip(2 - S / ((N - 1) T^2), 0, 1)`` and can be compared across images: 0 on a prototype,
        1 at their centroid.
    clip : bool
        In "minmax", first clip S at 1.85 times its value on a prototype, so that one outlier does
        not push all other pixels towards 1.

    Returns
    -------
    array, shape (H, W)
        0 .. 1; all 0 for a constant image in "minmax".

    Raises
    ------
    ValueError
        If `mode` is neither "minmax" nor "absolute".

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", ICCV 2021.
    """
    if mode not in ("minmax", "absolute"):
        raise ValueError(f'mode must be "minmax" or "absolute", got {mode!r}')
    sums = distance_sum(embedding, T)
    lowest = (embedding.shape[0] - 1) * T * T
    if mode == "absolute":
        return absolute_of(sums, lowest)
    return turned_minmax(sums, CLIP_FACTOR * 2 * lowest if clip else math.inf)


def mixture_weight(eds: Array, beta: float = BETA, gamma: float = GAMMA) -> Array:
    """Weight of EDS in the mixture: ``alpha = 1 / (1 + exp(-beta (eds - gamma)))``.

    Parameters
    ----------
    eds : array, any shape
        0 .. 1.
    beta, gamma : float
        Steepness (>= 0) and the EDS at which both scores have equal weight (0 .. 1).

    Returns
    -------
    array
        0 .. 1, same shape as `eds`.

    Raises
    ------
    ValueError
        If beta is negative or not finite, or gamma is outside 0 .. 1.
    """
    check_mixture(beta, gamma)
    xp = namespace(eds)
    return 1 / (1 + xp.exp(xp.clip(-beta * (eds - gamma), -80, 80)))


def mixture(
    eds: Array,
    mmsp: Array,
    beta: float = BETA,
    gamma: float = GAMMA,
    mmsp_norm: MmspNorm = "none",
) -> Array:
    """Mix EDS and MMSP: ``alpha eds + (1 - alpha) mmsp``, alpha from `mixture_weight`.

    Parameters
    ----------
    eds, mmsp : array, shape (H, W)
        Both 0 .. 1; `eds` in its "minmax" form, for which beta and gamma were tuned.
    beta, gamma : float
        Steepness (>= 0) and threshold (0 .. 1).
    mmsp_norm : {"none", "minmax"}
        "none" uses raw MMSP.  "minmax" first spreads it over 0 .. 1 within this image, as the
        released code does; a constant MMSP becomes 0.

    Returns
    -------
    array, shape (H, W)
        0 .. 1, between the two at every pixel.

    Raises
    ------
    ValueError
        If the shapes differ, beta is negative or not finite, gamma is outside 0 .. 1, or
        `mmsp_norm` is neither "none" nor "minmax".

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", ICCV 2021,
       eq. (10); the defaults are the centre of the ablation in the supplement, table (a).
    """
    if tuple(eds.shape) != tuple(mmsp.shape):
        raise ValueError(f"eds and mmsp differ in shape: {tuple(eds.shape)}, {tuple(mmsp.shape)}")
    check_mixture(beta, gamma, mmsp_norm)
    if mmsp_norm == "minmax":
        mmsp = spread_mmsp(mmsp)
    return by_chunks(lambda e, m: m + mixture_weight(e, beta, gamma) * (e - m), eds, mmsp)


def spread_mmsp(mmsp: Array) -> Array:
    """Return MMSP (H, W) spread over 0 .. 1 within its image; all 0 if it is constant."""
    return turned_minmax(1 - mmsp, 1.0)


def check_mixture(beta: float, gamma: float, mmsp_norm: str = "none") -> None:
    """Check that the settings of the mixture are in range.

    Raises
    ------
    ValueError
        If beta is negative or not finite, gamma is outside 0 .. 1, or `mmsp_norm` is neither "none"
        nor "minmax".
    """
    if mmsp_norm not in ("none", "minmax"):
        raise ValueError(f'mmsp_norm must be "none" or "minmax", got {mmsp_norm!r}')
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta must be finite and at least 0, got {beta}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")


def checked_length(T: float) -> float:
    """Return T; raises ValueError unless it is finite and above 0."""
    if not 0 < T < math.inf:
        raise ValueError(f"T must be finite and above 0, got {T}")
    return T


def distance_sum_of(block: Array, T: float, scratch: Scratch, scale: float = 1.0) -> Array:
    """Return `distance_sum` of a block of ``scale * f``, shape (N, H, W), without changing it."""
    n = block.shape[0]
    center = scale * T / n
    if namespace(block) is np:
        offset = np.subtract(block, center, out=scratch.like(block, n))
    else:
        offset = block - center
    return (n - 1) * T * T + n / scale**2 * inner(offset, offset)


def absolute_of(sums: Array, lowest: float) -> Array:
    """Return absolute EDS from distance sums and their lower bound, ``(N - 1) T^2``."""
    return namespace(sums).clip(2 - sums / lowest, 0, 1)


def turned_minmax(sums: Array, upper: float) -> Array:
    """Return 1 - (S - min) / (max - min) after clipping at `upper`; zeros where S is constant."""
    if 0 in sums.shape:
        return sums
    if namespace(sums) is not np:
        return _tensor_turned(sums, upper)
    least, most = (float(pick.reduce(sums, axis=None)) for pick in (np.fmin, np.fmax))
    least, most = min(least, upper), min(most, upper)
    if not most - least > 1e-6 * most:  # also true if every value is NaN
        return np.where(np.isnan(sums), sums, sums.dtype.type(0))
    span = most - least
    return by_chunks(lambda part: np.clip((most - np.clip(part, 0, upper)) / span, 0, 1), sums)


def _tensor_turned(sums: Array, upper: float) -> Array:
    """Return `turned_minmax` of a torch tensor without waiting for the device, so it can fuse."""
    xp = namespace(sums)
    missing = sums.isnan()
    least = xp.where(missing, math.inf, sums).amin().clip(max=upper)
    most = xp.where(missing, -math.inf, sums).amax().clip(max=upper)
    span = most - least
    turned = ((most - sums.clip(max=upper)) / span).clip(0, 1)
    return xp.where(missing, sums, xp.where(span > 1e-6 * most, turned, 0.0))
