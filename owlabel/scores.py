"""Anomaly scores of every pixel; higher where the model is less at home.

The functions take NumPy arrays and torch tensors alike and return the same kind.  float64 is kept,
everything else is computed in float32.  An embedding or a stack of logits that is not of shape
(C >= 2, H, W) raises ValueError, and so does a prototype length T that is not above 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from owlabel.pixelwise import Array, SoftmaxTerms, by_blocks, inner, namespace, softmax_terms

PROTOTYPE_LENGTH = 3.0
"""T, the length of every prototype ``m_t = T e_t``."""
CLIP_FACTOR = 1.85
"""Distance sums are clipped at this multiple of the value on a prototype (400 if N = 13, T = 3)."""


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
        share of the other classes, so that values below the rounding of ``1 - p`` keep their order.
    """
    return by_blocks(lambda block: (_msp(softmax_terms(block)),), logits)[0]


def entropy(logits: Array) -> Array:
    """Softmax entropy over its largest value: ``-sum_j p_j log p_j / log C``.

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
    return by_blocks(lambda block: (_entropy(softmax_terms(block)),), logits)[0]


def max_logit(logits: Array) -> Array:
    """Largest logit with its sign turned: ``-max_j z_j``.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.

    Returns
    -------
    array, shape (H, W)
        Unbounded.
    """
    return by_blocks(lambda block: (-namespace(block).amax(block, 0),), logits)[0]


def energy(logits: Array) -> Array:
    """Free energy at temperature 1: ``-log sum_j exp z_j``, in its stable form.

    Parameters
    ----------
    logits : array, shape (C, H, W)
        Class logits before the softmax.  For a metric head take ``z = 2T f``, not ``-d``.

    Returns
    -------
    array, shape (H, W)
        Unbounded; ``max p = exp(max z + E)``.

    References
    ----------
    .. [1] W. Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, eq. (4).
    """
    return by_blocks(lambda block: (_energy(softmax_terms(block)),), logits)[0]


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
        0 .. 1 - 1/N.  ``softmax(-d) = softmax(2T f)``, because what all classes share cancels.

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", ICCV 2021.
    """
    return _from_embedding(_msp, embedding, T)


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
    _checked_length(T)
    return by_blocks(lambda block: (_distance_sum(block, T),), embedding)[0]


def eds(
    embedding: Array,
    T: float = PROTOTYPE_LENGTH,
    mode: Literal["minmax", "absolute"] = "minmax",
    clip: bool = True,
) -> Array:
    """Euclidean distance sum, turned and normalised: ``1 - norm(S)``.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head.
    T : float
        Length of the prototypes.
    mode : {"minmax", "absolute"}
        "minmax" spreads S of this image over 0 .. 1, so *some* pixel scores 1 in every image: good
        to look at, wrong to threshold.  "absolute" is ``clip(2 - S / ((N - 1) T^2), 0, 1)``, which
        can be compared across images: 0 on a prototype, 1 at their centroid.
    clip : bool
        In "minmax", clip S at 1.85 times its value on a prototype first, so that one far-out pixel
        does not push all others towards 1.

    Returns
    -------
    array, shape (H, W)
        0 .. 1; all 0 for a constant image in "minmax".

    Raises
    ------
    ValueError
        If `mode` is neither of the two.

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", ICCV 2021.
    """
    if mode not in ("minmax", "absolute"):
        raise ValueError(f'mode must be "minmax" or "absolute", got {mode!r}')
    sums = distance_sum(embedding, T)
    lowest = (embedding.shape[0] - 1) * T * T
    if mode == "absolute":
        return namespace(sums).clip(2 - sums / lowest, 0, 1)
    return _turned_minmax(sums, CLIP_FACTOR * 2 * lowest if clip else math.inf)


def mixture_weight(eds: Array, beta: float = 20.0, gamma: float = 0.8) -> Array:
    """Weight of EDS in the mixture: ``alpha = 1 / (1 + exp(-beta (eds - gamma)))``.

    Parameters
    ----------
    eds : array, any shape
        0 .. 1.
    beta, gamma : float
        Steepness (>= 0) and the EDS at which both weigh the same (0 .. 1).

    Returns
    -------
    array
        0 .. 1, of the shape of `eds`.

    Raises
    ------
    ValueError
        If beta is negative or not finite, or gamma is outside 0 .. 1.
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta must be finite and at least 0, got {beta}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    xp = namespace(eds)
    return 1 / (1 + xp.exp(xp.clip(-beta * (eds - gamma), -80, 80)))


def mixture(eds: Array, mmsp: Array, beta: float = 20.0, gamma: float = 0.8) -> Array:
    """Mix EDS and MMSP: ``alpha eds + (1 - alpha) mmsp``, alpha from `mixture_weight`.

    Parameters
    ----------
    eds, mmsp : array, shape (H, W)
        Both 0 .. 1; `eds` in its "minmax" form, for which beta and gamma were tuned.
    beta, gamma : float
        Steepness (>= 0) and threshold (0 .. 1).

    Returns
    -------
    array, shape (H, W)
        Between the two at every pixel.

    Raises
    ------
    ValueError
        If the shapes differ, beta is negative or gamma is outside 0 .. 1.

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", ICCV 2021,
       eq. (10); the defaults are the centre of the ablation in the supplement, table (a).
    """
    if tuple(eds.shape) != tuple(mmsp.shape):
        raise ValueError(f"eds and mmsp differ in shape: {tuple(eds.shape)}, {tuple(mmsp.shape)}")
    return mmsp + mixture_weight(eds, beta, gamma) * (eds - mmsp)


@dataclass(frozen=True)
class Score:
    """One score as the annotator meets it.

    Attributes
    ----------
    name, label : str
        Its key in `SCORES`, and its name for people.
    formula, range, source : str
        One line each, for the table in the window and the manual; z = 2T f.
    function : callable
        ``function(embedding, T) -> map``: shapes (N, H, W) to (H, W).
    display : tuple of float or None
        The values shown as no and full colour; None where they must come from the data, e.g. the
        1st and 99th percentile over in-distribution images.
    """

    name: str
    label: str
    formula: str
    range: str
    source: str
    function: Callable[[Array, float], Array]
    display: tuple[float, float] | None = (0.0, 1.0)


def all_scores(
    embedding: Array, T: float = PROTOTYPE_LENGTH, names: Sequence[str] | None = None
) -> dict[str, Array]:
    """Compute several scores in one pass that shares the exponentials.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head.
    T : float
        Length of the prototypes.
    names : sequence of str, optional
        Keys of `SCORES`; all by default.

    Returns
    -------
    dict of str to array, shape (H, W)
        In the order of `SCORES`; equal to what each score's own function gives.  "msp" and "mmsp"
        are one array.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    wanted = set(SCORES if names is None else names)
    if unknown := wanted - set(SCORES):
        raise ValueError(f"unknown scores {sorted(unknown)}; there are {list(SCORES)}")
    scale = 2 * _checked_length(T)

    def kernel(block: Array) -> tuple[Array, ...]:
        terms = softmax_terms(block * scale)
        return (
            _distance_sum(block, T), _msp(terms), _entropy(terms), _energy(terms), -terms.peak
        )  # fmt: skip

    sums, probability, uncertainty, free_energy, peak = by_blocks(kernel, embedding)
    lowest = (embedding.shape[0] - 1) * T * T
    spread = _turned_minmax(sums, CLIP_FACTOR * 2 * lowest)
    maps = {
        "eds": spread,
        "eds_absolute": namespace(sums).clip(2 - sums / lowest, 0, 1),
        "mmsp": probability,
        "mixture": mixture(spread, probability) if "mixture" in wanted else None,
        "entropy": uncertainty,
        "energy": free_energy,
        "msp": probability,
        "max_logit": peak,
    }
    return {name: maps[name] for name in SCORES if name in wanted}


def _checked_length(T: float) -> float:
    if not 0 < T < math.inf:
        raise ValueError(f"T must be finite and above 0, got {T}")
    return T


def _from_embedding(score: Callable[[SoftmaxTerms], Array], embedding: Array, T: float) -> Array:
    """Apply a score of logits to the logits of a metric head, z = 2T f."""
    scale = 2 * _checked_length(T)
    return by_blocks(lambda block: (score(softmax_terms(block * scale)),), embedding)[0]


def _msp(terms: SoftmaxTerms) -> Array:
    return terms.tail / (1 + terms.tail)


def _entropy(terms: SoftmaxTerms) -> Array:
    xp = namespace(terms.tail)
    raw = xp.log1p(terms.tail) - inner(terms.powers, terms.shifted) / (1 + terms.tail)
    return xp.clip(raw / math.log(terms.shifted.shape[0]), 0, 1)


def _energy(terms: SoftmaxTerms) -> Array:
    return -(terms.peak + namespace(terms.tail).log1p(terms.tail))


def _distance_sum(embedding: Array, T: float) -> Array:
    n = embedding.shape[0]
    offset = embedding - T / n
    return (n - 1) * T * T + n * inner(offset, offset)


def _turned_minmax(sums: Array, upper: float) -> Array:
    """Return 1 - (S - min) / (max - min) after clipping at `upper`; zeros where S is constant."""
    xp = namespace(sums)
    if 0 in sums.shape:
        return sums
    clipped = xp.clip(sums, 0, upper)
    low, high = float(clipped.min()), float(clipped.max())
    if high - low <= 1e-6 * high:
        return xp.zeros_like(clipped)
    return xp.clip((high - clipped) / (high - low), 0, 1)


_CEN = "Cen et al. 2021 (DMLNet)"
SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score("eds", "Distance sum, this image", "1 - minmax(S), S = sum of d over all classes",
              "0 .. 1, relative to the image", _CEN, lambda f, T: eds(f, T)),
        Score("eds_absolute", "Distance sum, absolute", "clip(2 - S / ((N - 1) T^2), 0, 1)",
              "0 on a prototype .. 1 at their centroid", f"after {_CEN}",
              lambda f, T: eds(f, T, mode="absolute")),
        Score("mmsp", "Metric softmax", "1 - max softmax(-d)", "0 .. 1 - 1/N", _CEN, mmsp),
        Score("mixture", "Distance sum and metric softmax",
              "a EDS + (1 - a) MMSP, a = 1 / (1 + exp(-20 (EDS - 0.8)))",
              "0 .. 1, relative to the image", f"{_CEN}, eq. 10",
              lambda f, T: mixture(eds(f, T), mmsp(f, T))),
        Score("entropy", "Softmax entropy", "-sum p log p / log N", "0 .. 1",
              "Chan et al. 2020, eq. 1", lambda f, T: _from_embedding(_entropy, f, T)),
        Score("energy", "Energy", "-log sum exp z", "unbounded", "Liu et al. 2020, eq. 4",
              lambda f, T: _from_embedding(_energy, f, T), None),
        Score("msp", "Softmax probability", "1 - max p", "0 .. 1 - 1/N",
              "Hendrycks and Gimpel 2017", mmsp),
        Score("max_logit", "Largest logit", "-max z", "unbounded", "Hendrycks et al. 2022",
              lambda f, T: max_logit(f) * (2 * _checked_length(T)), None),
    )
}  # fmt: skip
"""All scores by name, in the order they are offered; each needs the embedding alone."""
