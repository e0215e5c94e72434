"""Standardised max-logit (SML): the largest logit against what is usual for the predicted class.

S. Jung et al., "Standardized Max Logits: A Simple yet Effective Approach for Identifying Unexpected
Road Obstacles in Urban-Scene Segmentation", ICCV 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.grid_cells import running_argmax

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
_BORDER, _SPREAD = 4, 6.0
"""Width of the suppressed border and standard deviation of the smoothing, in pixels."""


class ClassStatistics:
    """Mean and variance of the largest logit by predicted class, from a stream of images.

    Parts of a stream may be counted apart and added.  Pixels with a logit that is no finite number
    are left out.

    Parameters
    ----------
    classes : int
        C, at least 2.

    Attributes
    ----------
    counts, means, squares : ndarray of float64, shape (C,)
        Pixels predicted as each class, mean of their largest logit, and the sum of the squared
        deviations from that mean.

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    """

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        self.counts: Doubles = np.zeros(classes)
        self.means: Doubles = np.zeros(classes)
        self.squares: Doubles = np.zeros(classes)

    def update(self, logits: NDArray[Any], where: NDArray[np.bool_] | None = None) -> None:
        """Count the pixels of one image.

        Parameters
        ----------
        logits : ndarray, shape (C, H, W)
        where : ndarray of bool, shape (H, W), optional
            Only these pixels; no labels are needed beyond that.

        Raises
        ------
        ValueError
            If the number of classes or the shape of `where` differs.
        """
        classes = len(self.counts)
        if logits.ndim != 3 or len(logits) != classes:
            raise ValueError(f"expected logits of shape ({classes}, H, W), got {logits.shape}")
        if where is not None and where.shape != logits.shape[1:]:
            raise ValueError(f"where has shape {where.shape}, the logits {logits.shape}")
        predicted, largest = running_argmax(np.asarray(logits, np.float32))
        counted = np.isfinite(largest)
        if where is not None:
            counted &= where
        of, values = predicted[counted], largest[counted].astype(np.float64)
        part = ClassStatistics(classes)
        part.counts = np.bincount(of, minlength=classes).astype(np.float64)
        totals = np.bincount(of, values, minlength=classes)
        part.means = totals / np.maximum(part.counts, 1)
        squares = np.bincount(of, (values - part.means[of]) ** 2, minlength=classes)
        part.squares = squares.astype(np.float64)
        merged = self + part
        self.counts, self.means, self.squares = merged.counts, merged.means, merged.squares

    def __add__(self, other: ClassStatistics) -> ClassStatistics:
        if len(other.counts) != len(self.counts):
            raise ValueError(f"{len(self.counts)} and {len(other.counts)} classes cannot be added")
        total = ClassStatistics(len(self.counts))
        total.counts = self.counts + other.counts
        share = other.counts / np.maximum(total.counts, 1)
        away = other.means - self.means
        total.means = self.means + share * away
        total.squares = self.squares + other.squares + away**2 * self.counts * share
        return total

    def mean_and_std(self) -> tuple[Doubles, Doubles]:
        """Return the mean and the standard deviation (of the unbiased variance) of each class.

        A class with fewer than two pixels has those of all pixels together; a deviation of 0 is
        replaced by that of all pixels, and by 1 where that is 0, too.

        Returns
        -------
        tuple of ndarray of float64, shape (C,)

        Raises
        ------
        ValueError
            If fewer than two pixels were counted.
        """
        pixels = self.counts.sum()
        if pixels < 2:
            raise ValueError(f"statistics need at least 2 pixels, got {int(pixels)}")
        mean = float(self.counts @ self.means / pixels)
        between = float(self.counts @ (self.means - mean) ** 2)
        std = float(np.sqrt((self.squares.sum() + between) / (pixels - 1)))
        seen = self.counts >= 2
        means = np.where(seen, self.means, mean)
        stds = np.where(seen, np.sqrt(self.squares / np.maximum(self.counts - 1, 1)), std)
        return means, np.where(stds > 0, stds, std if std > 0 else 1.0)

    def arrays(self) -> dict[str, Doubles]:
        """Return what `from_arrays` needs."""
        return {"counts": self.counts, "means": self.means, "squares": self.squares}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ClassStatistics:
        """Return the statistics that `arrays` described.

        Raises
        ------
        ValueError
            If an array is missing or the lengths differ.
        """
        found = [arrays.get(name) for name in ("counts", "means", "squares")]
        sizes = {a.shape for a in found if a is not None}
        if len(sizes) != 1 or any(a is None for a in found):
            raise ValueError("stored statistics need counts, means and squares of one length")
        made = cls(len(arrays["counts"]))
        made.counts, made.means, made.squares = (np.array(a, np.float64) for a in found)
        return made


def sml(logits: NDArray[Any], means: NDArray[Any], stds: NDArray[Any]) -> Floats:
    """Standardised max-logit: ``-(max_j z_j - mean_c) / std_c`` with c the predicted class.

    Parameters
    ----------
    logits : ndarray, shape (C, H, W)
        Class logits before the softmax.
    means, stds : ndarray, shape (C,)
        Of `ClassStatistics.mean_and_std`.

    Returns
    -------
    ndarray of float32, shape (H, W)
        Unbounded, in standard deviations.  NaN where a logit is NaN.

    Raises
    ------
    ValueError
        If the numbers of classes differ or a deviation is not above 0.
    """
    if logits.ndim != 3 or not len(logits) == len(means) == len(stds) >= 2:
        raise ValueError(
            f"expected logits (C >= 2, H, W), means (C,) and stds (C,), got {logits.shape}, "
            f"{means.shape} and {stds.shape}"
        )
    if not (np.asarray(stds) > 0).all():
        raise ValueError(f"stds must be above 0, got {stds}")
    values = np.asarray(logits, np.float32)
    predicted, largest = running_argmax(values)
    score = (means.astype(np.float32)[predicted] - largest) / stds.astype(np.float32)[predicted]
    score[np.isnan(values).any(0)] = np.nan
    return np.asarray(score, np.float32)


def sml_smooth(
    logits: NDArray[Any], means: NDArray[Any], stds: NDArray[Any], stride: int = 4
) -> Floats:
    """Standardised max-logit after boundary suppression and dilated smoothing (sec. 3.3 and 3.4).

    ``smooth_dilated(suppress_boundaries(sml))`` with the authors' widths, which are pixels: on a
    grid of one point every `stride` pixels the border has ``4 / stride`` points, at least one, and
    the Gaussian the same standard deviation of 6 pixels.  With stride 1 it is the authors' own: 4
    iterations, and 7 taps 6 pixels apart.

    Parameters
    ----------
    logits : ndarray, shape (C, H, W)
        Class logits before the softmax.
    means, stds : ndarray, shape (C,)
        Of `ClassStatistics.mean_and_std`.
    stride : int
        Pixels from one point to the next, at least 1; 4 on the embedding grid.

    Returns
    -------
    ndarray of float32, shape (H, W)
        Unbounded, in standard deviations.  A NaN spreads over what is averaged with it.

    Raises
    ------
    ValueError
        As `sml`, or if stride is below 1.

    References
    ----------
    .. [1] S. Jung et al., "Standardized Max Logits", ICCV 2021, and its code for the widths.
    """
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    score = sml(logits, means, stds)
    predicted = running_argmax(np.asarray(logits, np.float32))[0]
    width = max(round(_BORDER / stride), 1)
    score = suppress_boundaries(score, predicted, width, width)
    if stride == 1:
        return smooth_dilated(score)
    sigma = _SPREAD / stride
    return smooth_dilated(score, 2 * math.ceil(3 * sigma) + 1, sigma, 1)


def suppress_boundaries(
    score: Floats, labels: NDArray[np.uint8], width: int = 4, iterations: int = 4
) -> Floats:
    """Give pixels at borders of the predicted label map the average of scores away from borders.

    A border is where the label map dilated by a cross differs from the map eroded by a square.  It
    is grown by ``width - 1, width - 2, ...`` pixels in turn; each time every pixel on it takes the
    mean of the finite scores off it in its 3 x 3 window, or keeps its own where there is none.

    Parameters
    ----------
    score : ndarray of float32, shape (H, W)
    labels : ndarray of uint8, shape (H, W)
        Predicted classes.
    width, iterations : int
        The first border is ``2 width - 1`` thick or so; later ones are thinner.

    Returns
    -------
    ndarray of float32, shape (H, W)

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if score.shape != labels.shape or score.ndim != 2:
        raise ValueError(f"score and labels differ in shape: {score.shape}, {labels.shape}")
    cross, square = (
        cv2.getStructuringElement(k, (3, 3)) for k in (cv2.MORPH_CROSS, cv2.MORPH_RECT)
    )
    border = (cv2.dilate(labels, cross) != cv2.erode(labels, square)).view(np.uint8)
    result = np.asarray(score, np.float32)
    for turn in range(iterations):
        grown = cv2.dilate(border, cross, iterations=max(width - 1 - turn, 0))
        inside = (grown == 0) & np.isfinite(result)
        total = _window_sum(np.where(inside, result, np.float32(0)))
        count = _window_sum(inside.astype(np.float32))
        taken = (grown > 0) & (count > 0.5)
        result = np.where(taken, total / np.maximum(count, 1), result)
    return result


def _window_sum(values: Floats) -> Floats:
    """Return the sum over the 3 x 3 window of each pixel; edges are replicated."""
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.boxFilter(values, -1, (3, 3), normalize=False, borderType=border))


def smooth_dilated(score: Floats, size: int = 7, sigma: float = 1.0, dilation: int = 6) -> Floats:
    """Smooth with a Gaussian whose taps lie `dilation` pixels apart; edges are replicated.

    Parameters
    ----------
    score : ndarray of float32, shape (H, W)
    size : int
        Taps a side, odd.
    sigma : float
        In taps.
    dilation : int
        At least 1.

    Returns
    -------
    ndarray of float32, shape (H, W)
        A constant stays what it is.

    Raises
    ------
    ValueError
        If size is even or dilation below 1.
    """
    if size % 2 != 1 or dilation < 1:
        raise ValueError(f"size must be odd and dilation at least 1, got {size} and {dilation}")
    taps = np.zeros((size - 1) * dilation + 1, np.float32)
    taps[::dilation] = cv2.getGaussianKernel(size, sigma, cv2.CV_32F).ravel()
    plain = np.asarray(score, np.float32)
    return np.asarray(cv2.sepFilter2D(plain, -1, taps, taps, borderType=cv2.BORDER_REPLICATE))
