"""Anomaly scores from the logits of any segmentation model; higher where the model is less sure.

The functions take NumPy arrays or torch tensors and return the same kind.  They compute in float64
for float64 input and in float32 otherwise.  Logits must have shape (C >= 2, H, W), or the functions
raise ValueError.

A pixel with a NaN logit scores NaN; other pixels are not affected.  Infinite logits are limits: a
class at +inf is certain (several share the probability), a class at -inf is impossible, and if all
are at -inf, all classes are equally likely.  Max-logit and energy are infinite there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from owlabel.arrays.cache_blocks import (
    Array,
    Scratch,
    SoftmaxTerms,
    by_blocks,
    namespace,
    softmax_terms,
    unit,
)


def msp(logits: Array) -> Array:
    """Maximum softmax probability, as an anomaly score: ``1 - max_j p_j``.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.

    Returns
    -------
    array, shape (H, W)
        0 where one class is certain, ``1 - 1/C`` where all are equally likely.  Computed as the
        sum over the other classes, so that values too small for ``1 - p`` keep their order.
    """
    return scored(msp_of, logits)


def variation_ratio(logits: Array) -> Array:
    """Variation ratio ``V = 1 - max_j p_j``, the paper's name for `msp`.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.

    Returns
    -------
    array, shape (H, W)
        0 .. 1 - 1/C.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, eq. (12).
    """
    return msp(logits)


def margin(logits: Array) -> Array:
    """Probability margin of the two likeliest classes: ``M = 1 - p_1 + p_2``.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.

    Returns
    -------
    array, shape (H, W)
        0 where one class is certain, 1 where the two likeliest tie.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, eq. (13).
    """
    return scored(margin_of, logits, second=True)


def entropy(logits: Array) -> Array:
    """Normalised softmax entropy: ``-sum_j p_j log p_j / log C``.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.

    Returns
    -------
    array, shape (H, W)
        0 where one class is certain, 1 where all C classes are equally likely.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, eq. (1), normalised by log C
       as in sec. 3.2.
    """
    return scored(entropy_of, logits)


def max_logit(logits: Array) -> Array:
    """Negative of the largest logit: ``-max_j z_j``.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.

    Returns
    -------
    array, shape (H, W)
        Unbounded.
    """
    return by_blocks(lambda block, _: (-namespace(block).amax(block, 0),), logits)[0]


def energy(logits: Array) -> Array:
    """Free energy at temperature 1: ``-log sum_j exp z_j``, computed without overflow.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.  For a metric head pass ``z = 2T f``, not ``-d``.

    Returns
    -------
    array, shape (H, W)
        Unbounded; ``max p = exp(max z + E)``.

    References
    ----------
    .. [1] W. Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, eq. (4).
    """
    return scored(energy_of, logits)


def scored(
    formula: Callable[[SoftmaxTerms], Array],
    logits: Array,
    scale: float = 1.0,
    second: bool = False,
) -> Array:
    """Apply a formula of softmax terms to the logits ``scale * logits``, (C, H, W) to (H, W)."""

    def kernel(block: Array, scratch: Scratch) -> tuple[Array]:
        return (formula(softmax_terms(block, scratch, second)),)

    return by_blocks(kernel, logits, scale * unit(logits))[0]


def msp_of(terms: SoftmaxTerms) -> Array:
    """Return `msp` from softmax terms."""
    return terms.tail / (1 + terms.tail)


def margin_of(terms: SoftmaxTerms) -> Array:
    """Return `margin` from softmax terms, which must include `SoftmaxTerms.second`."""
    return (terms.tail + terms.second) / (1 + terms.tail)


def entropy_of(terms: SoftmaxTerms) -> Array:
    """Return `entropy` from softmax terms."""
    xp = namespace(terms.tail)
    raw = xp.log1p(terms.tail) - terms.slope / (1 + terms.tail)
    return xp.clip(raw / math.log(terms.classes), 0, 1)


def max_logit_of(terms: SoftmaxTerms) -> Array:
    """Return `max_logit` from softmax terms, up to rounding."""
    return -terms.peak


def energy_of(terms: SoftmaxTerms) -> Array:
    """Return `energy` from softmax terms."""
    return -(terms.peak + namespace(terms.tail).log1p(terms.tail))
