"""Hand-crafted pixel features for use without a trained model."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern

Floats = NDArray[np.float32]
STRIDE = 4
ORIENTATIONS = 8
PATTERNS = 10  # uniform patterns of eight neighbours: 0 .. 9
REACH = 9
"""Side in pixels of the square window for the histograms of orientations and patterns."""
POSITION = 0.5
"""Weight of the position in the image; the other groups have weight 1."""


def handmade_features(image: NDArray[np.uint8]) -> Floats:
    """Return colour, gradients, patterns and position on the stride-4 grid.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        RGB.

    Returns
    -------
    ndarray of float32, shape (24, h, w)
        CIE Lab (3, about [-1, 1]), gradient magnitude (1, in [0, 1]), histogram of gradient
        orientations weighted by magnitude (8, sum at most 1), histogram of local binary patterns
        (10, sum 1), row and column (2, in [-0.5, 0.5]).

    Raises
    ------
    ValueError
        If `image` is not an RGB image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lightness = np.ascontiguousarray(lab[..., 0] / 100, np.float32)
    groups = [
        _reduced(lab.transpose(2, 0, 1)) / np.array([50, 64, 64], np.float32)[:, None, None]
        - np.array([1, 0, 0], np.float32)[:, None, None],
        _gradients(lightness),
        _patterns(lightness),
    ]
    groups.append(_places(groups[0].shape[1:]))
    return np.concatenate(groups).astype(np.float32)


def _gradients(lightness: Floats) -> Floats:
    """Return mean magnitude and histogram of orientations, (1 + ORIENTATIONS, h, w)."""
    down = cv2.Sobel(lightness, cv2.CV_32F, 0, 1, ksize=3) / 4
    right = cv2.Sobel(lightness, cv2.CV_32F, 1, 0, ksize=3) / 4
    magnitude = np.minimum(np.hypot(down, right), 1)
    angle = np.arctan2(down, right) % np.pi  # opposite directions count as the same
    bins = np.minimum((angle / np.pi * ORIENTATIONS).astype(int), ORIENTATIONS - 1)
    by_bin = np.stack([_near(magnitude * (bins == b)) for b in range(ORIENTATIONS)])
    whole = by_bin.sum(axis=0, keepdims=True)
    return _reduced(np.concatenate([whole, by_bin / (whole + 0.02)]))


def _patterns(lightness: Floats) -> Floats:
    """Return the histogram of uniform local binary patterns, (PATTERNS, h, w)."""
    grey = (lightness * 255).round().clip(0, 255).astype(np.uint8)
    codes = local_binary_pattern(grey, 8, 1, "uniform")  # type: ignore[no-untyped-call]
    return _reduced(np.stack([_near((codes == c).astype(np.float32)) for c in range(PATTERNS)]))


def _places(shape: tuple[int, ...]) -> Floats:
    rows, cols = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5 for n in shape)
    return 2 * POSITION * np.stack(np.meshgrid(rows, cols, indexing="ij")).astype(np.float32)


def _near(values: Floats) -> Floats:
    """Return the mean over the square window of side `REACH` around each pixel."""
    return np.asarray(cv2.blur(values, (REACH, REACH), borderType=cv2.BORDER_REFLECT))


def _reduced(maps: NDArray[Any]) -> Floats:
    """Return the means of maps (C, H, W) over the cells of the grid, (C, h, w)."""
    h, w = (max(1, -(-side // STRIDE)) for side in maps.shape[1:])
    area = cv2.INTER_AREA
    return np.stack([cv2.resize(channel, (w, h), interpolation=area) for channel in maps])
