"""Curves and distributions of a score, computed from its histograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.quantile_histogram import OrderedHistogram
from owlabel.metrics import PixelOod

Floats = NDArray[np.float64]
_CURVE_POINTS = 300
_STEPS = 80


@dataclass(frozen=True)
class Spread:
    """Distribution of the scores of some pixels, for a violin.

    Attributes
    ----------
    quantiles : tuple of float
        5, 25, 50, 75 and 95 %.
    values, density : ndarray of float64, shape (n,)
        Centres of equal steps, and the share of pixels in each step.
    """

    quantiles: tuple[float, ...]
    values: Floats
    density: Floats
    pixels: int


def roc(pixels: PixelOod) -> Floats:
    """Return FPR and TPR from (0, 0) to (1, 1), with at most a few hundred points."""
    alarms, hits = _falling(pixels)
    if not hits.size or not hits[-1] or not alarms[-1]:
        return np.zeros((2, 0))
    curve = np.stack([alarms / alarms[-1], hits / hits[-1]])
    return _thinned(np.concatenate([np.zeros((2, 1)), curve], axis=1))


def precision_recall(pixels: PixelOod) -> Floats:
    """Return recall and precision at all thresholds where recall changes."""
    alarms, hits = _falling(pixels)
    if not hits.size or not hits[-1] or not alarms[-1]:
        return np.zeros((2, 0))
    curve = np.stack([hits / hits[-1], hits / (hits + alarms)])
    return _thinned(curve[:, np.diff(hits, prepend=0) > 0])


def _falling(pixels: PixelOod) -> tuple[Floats, Floats]:
    """Return false and true positives at each non-empty bin, from the highest score down."""
    negative, positive = pixels.negative.counts[::-1], pixels.positive.counts[::-1]
    filled = np.flatnonzero(negative + positive)
    return (
        np.cumsum(negative[filled]).astype(np.float64),
        np.cumsum(positive[filled]).astype(np.float64),
    )


def _thinned(curve: Floats) -> Floats:
    """Return evenly spaced points of a curve, including both ends."""
    length = np.cumsum(np.abs(np.diff(curve, axis=1, prepend=curve[:, :1])).sum(0))
    wanted = np.linspace(0, length[-1], _CURVE_POINTS)
    return np.asarray(curve[:, np.unique(np.searchsorted(length, wanted).clip(0, length.size - 1))])


def spreads(pixels: PixelOod, by_class: Mapping[str, OrderedHistogram]) -> dict[str, Spread]:
    """Return the score distributions of in-distribution, OoD and each class, on one scale."""
    kinds = {"in-distribution": pixels.negative, "OoD": pixels.positive}
    ends = np.array([h.quantile([0.002, 0.998]) for h in kinds.values() if h.total], np.float64)
    if not ends.size:
        return {}
    low, high = (float(np.clip(end, -3e38, 3e38)) for end in (ends.min(), ends.max()))
    edges = np.linspace(low, max(high, low + max(1e-6, 1e-6 * abs(low))), _STEPS + 1)
    named = {**kinds, **by_class}
    return {name: _spread(h, edges) for name, h in named.items() if h.total}


def _spread(histogram: OrderedHistogram, edges: Floats) -> Spread:
    filled = np.flatnonzero(histogram.counts)
    values = np.clip(histogram.values[filled].astype(np.float64), edges[0], edges[-1])
    counts, _ = np.histogram(values, edges, weights=histogram.counts[filled].astype(np.float64))
    quantiles = histogram.quantile([0.05, 0.25, 0.5, 0.75, 0.95])
    return Spread(
        tuple(float(q) for q in quantiles),
        (edges[1:] + edges[:-1]) / 2,
        counts / counts.sum(),
        histogram.total,
    )
