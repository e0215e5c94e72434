"""The embedding grid of an image: from grid to pixels and back, only where it is needed.

A grid of (h, w) points belongs to an image of (H, W) pixels by bilinear interpolation with
``align_corners=False``: pixel row r lies at grid row ``(r + 0.5) * h / H - 0.5``, clamped to
``[0, h - 1]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from owlabel.arrays.grid_cells import Cells, running_argmax

Floats = NDArray[np.float32]
Shape = tuple[int, int]
Window = tuple[int, int, int, int]


def to_grid(row: float, col: float, shape: Shape, grid_shape: Shape) -> tuple[float, float]:
    """Return the place of a pixel on the grid, clamped to the grid.

    Parameters
    ----------
    row, col : float
        Pixel of the image.
    shape, grid_shape : tuple of int
        (H, W) of the image and (h, w) of the grid.

    Returns
    -------
    tuple of float
        Row in [0, h - 1] and column in [0, w - 1].
    """
    at_row = (row + 0.5) * grid_shape[0] / shape[0] - 0.5
    at_col = (col + 0.5) * grid_shape[1] / shape[1] - 0.5
    return min(max(at_row, 0.0), grid_shape[0] - 1.0), min(max(at_col, 0.0), grid_shape[1] - 1.0)


def to_image(row: float, col: float, shape: Shape, grid_shape: Shape) -> tuple[float, float]:
    """Return the place of a grid point in the image: the inverse of `to_grid` away from the edge.

    Returns
    -------
    tuple of float
        Row in [0, H - 1] and column in [0, W - 1]; whole numbers are pixel centres.
    """
    at_row = (row + 0.5) * shape[0] / grid_shape[0] - 0.5
    at_col = (col + 0.5) * shape[1] / grid_shape[1] - 0.5
    return min(max(at_row, 0.0), shape[0] - 1.0), min(max(at_col, 0.0), shape[1] - 1.0)


def nearest_point(row: int, col: int, shape: Shape, grid_shape: Shape) -> tuple[int, int]:
    """Return the grid point next to a pixel."""
    at_row, at_col = to_grid(row, col, shape, grid_shape)
    return int(at_row + 0.5), int(at_col + 0.5)


def upsample(values: NDArray[Any], shape: Shape, window: Window | None = None) -> Floats:
    """Enlarge grid maps to the image, bilinear with ``align_corners=False``.

    Parameters
    ----------
    values : ndarray, shape (..., h, w)
        Any real numbers; half precision is widened first.
    shape : tuple of int
        (H, W) of the image.
    window : tuple of int, optional
        (row0, row1, col0, col1), end excluded: only this part of the image is computed.

    Returns
    -------
    ndarray of float32, shape (..., H, W) or (..., row1 - row0, col1 - col0)

    Raises
    ------
    ValueError
        If `values` has fewer than two axes or the window is empty or outside the image.
    """
    maps = _as_float32(values)
    row0, row1, col0, col1 = _checked_window(shape, window)
    rows = _aligned_part(row0, row1, shape[0], maps.shape[-2])
    cols = _aligned_part(col0, col1, shape[1], maps.shape[-1])
    part = maps[..., rows.grid, cols.grid].reshape(-1, rows.points, cols.points)
    enlarged = np.empty((len(part), row1 - row0, col1 - col0), np.float32)
    for source, target in zip(part, enlarged, strict=True):
        pixels = cv2.resize(source, (cols.pixels, rows.pixels), interpolation=cv2.INTER_LINEAR)
        target[...] = pixels[rows.wanted, cols.wanted]
    return enlarged.reshape(*maps.shape[:-2], row1 - row0, col1 - col0)


def argmax_upsampled(embedding: NDArray[Any], shape: Shape) -> NDArray[np.uint8]:
    """Return the channel that is largest at each pixel of the upsampled embedding.

    Where the four corners of a cell agree on the largest channel, it is the largest in the whole
    cell, because interpolated values are convex combinations.  Only the other cells are computed.

    Parameters
    ----------
    embedding : ndarray, shape (N, h, w)
        1 <= N <= 255.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        The first channel where several are equally large.

    Raises
    ------
    ValueError
        If `embedding` is not 3-D or has no channel or more than 255.
    """
    maps = _as_float32(embedding)
    if maps.ndim != 3 or not 1 <= len(maps) <= 255:
        raise ValueError(f"embedding must have shape (1 .. 255, h, w), got {maps.shape}")
    cells = Cells.of(shape, maps.shape[1:])
    largest, _ = running_argmax(maps)
    labels = cells.spread(cells.corners(largest)[0])
    for block in cells.blocks(maps, cells.differ(largest)):
        block.put(labels, running_argmax(block.values)[0])
    return labels


def adjoint_weights(
    mask: NDArray[np.bool_], shape: Shape, grid_shape: Shape, window: Window
) -> tuple[NDArray[np.float64], tuple[slice, slice]]:
    """Return how much each grid point contributes to the sum of an upsampled map over a mask.

    Upsampling is linear, so ``sum over mask of upsample(f) = sum over grid of weight * f``: a mean
    over pixels costs one small product per channel instead of upsampling the channel.

    Parameters
    ----------
    mask : ndarray of bool, shape (row1 - row0, col1 - col0)
        The part of the mask inside `window`.
    shape, grid_shape : tuple of int
        (H, W) of the image and (h, w) of the grid.
    window : tuple of int
        (row0, row1, col0, col1) in pixels, end excluded.

    Returns
    -------
    weights : ndarray of float64, shape (a, b)
        They sum to the number of pixels in the mask.
    where : tuple of slice
        The part of the grid the weights belong to.
    """
    row0, row1, col0, col1 = _checked_window(shape, window)
    rows, row_part = _interpolation_matrix(row0, row1, shape[0], grid_shape[0])
    cols, col_part = _interpolation_matrix(col0, col1, shape[1], grid_shape[1])
    by_row = rows.T @ mask.astype(np.float64)  # (a, W)
    return np.asarray((cols.T @ by_row.T).T), (row_part, col_part)


@dataclass(frozen=True)
class _Part:
    """A stretch of one axis: the grid points to enlarge, and what of the result is wanted."""

    grid: slice
    points: int
    pixels: int
    wanted: slice


def _aligned_part(start: int, stop: int, pixels: int, points: int) -> _Part:
    """Return the shortest stretch of grid points whose enlargement has [start, stop) exactly.

    A stretch can be enlarged alone only where it begins and ends at a pixel border.  That is so at
    every multiple of ``points / gcd``; one unit more on both sides keeps the clamping at the ends
    of the stretch out of the wanted part.
    """
    common = math.gcd(pixels, points)
    unit_points, unit_pixels = points // common, pixels // common
    first = max(start // unit_pixels - 1, 0)
    last = min(-(-stop // unit_pixels) + 1, common)
    offset = first * unit_pixels
    return _Part(
        grid=slice(first * unit_points, last * unit_points),
        points=(last - first) * unit_points,
        pixels=(last - first) * unit_pixels,
        wanted=slice(start - offset, stop - offset),
    )


def _interpolation_matrix(
    start: int, stop: int, pixels: int, points: int
) -> tuple[sparse.csr_array, slice]:
    """Return the sparse matrix (stop - start, points used) of one axis, and the points used."""
    source = np.clip((np.arange(start, stop) + 0.5) * points / pixels - 0.5, 0, points - 1)
    low = source.astype(np.intp)
    high = np.minimum(low + 1, points - 1)
    first, last = int(low[0]), int(high[-1]) + 1
    weights = np.stack([1 - (source - low), source - low], axis=1)
    columns = np.stack([low, high], axis=1) - first
    ends = np.arange(0, 2 * len(source) + 1, 2)
    data = (weights.ravel(), columns.ravel(), ends)
    return sparse.csr_array(data, shape=(len(source), last - first)), slice(first, last)


def _as_float32(values: NDArray[Any]) -> Floats:
    maps = np.ascontiguousarray(values, np.float32)
    if maps.ndim < 2 or 0 in maps.shape:
        raise ValueError(f"grid maps must have shape (..., h, w), got {values.shape}")
    return maps


def _checked_window(shape: Shape, window: Window | None) -> Window:
    if window is None:
        return 0, shape[0], 0, shape[1]
    row0, row1, col0, col1 = window
    if not (0 <= row0 < row1 <= shape[0] and 0 <= col0 < col1 <= shape[1]):
        raise ValueError(f"window {window} must be inside the image of {shape} and not empty")
    return window
