"""Grow a region from clicks: all pixels that can be reached without crossing an edge.

A step from one grid point to the next costs the change of the embedding, plus a little for the
change of colour and for the distance.  The region holds the points whose cost from the positive
clicks is below a level and below their cost from the negative clicks.  So it is connected, and
single clicks extend or reduce it.  The level is chosen so that the region ends at an edge, differs
most from the rest of the image, and has a likely size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from owlabel.arrays.embedding_grid import Window, to_grid, upsample
from owlabel.arrays.grid_cells import Floats, Shape

Click = tuple[int, int]
Mask = NDArray[np.bool_]
Costs = NDArray[np.float64]

_REACH = 0.38
"""Largest distance of a region from its clicks, as a share of sqrt(h * w)."""
_POINTS = 96
"""Points per side of the searched patch; larger patches are searched at a lower resolution."""
_WAY = 20.0
"""Cost of a path of length sqrt(h * w) without any change, in embedding units."""
_SCORE_WEIGHT = 1.5
"""Cost of a change of the anomaly score by one, in embedding units."""
_USUAL_AREA = 0.007
"""Most likely size of an object, as a share of the image."""
_AREA_SPREAD = 1.6
"""Standard deviation of the logarithm of the size of objects."""
_USUAL_VARIANCE = 0.5
"""Typical variance of the embedding within an object."""
_EDGE_WIDTH = 1.15
"""The edge is measured between the size divided by this factor and the size times this factor."""
_LEAST_AREA, _LARGEST_AREA = 0.0007, 0.25
"""Smallest and largest region, as shares of the image."""
_SMOOTHING = 0.7
"""Standard deviation of the smoothing of embeddings, in grid points, so that texture is no edge."""
_COLOUR_WEIGHT = 0.015
"""Cost of a change of colour by one unit of CIE Lab, in embedding units."""
_COLOUR_ALONE_WEIGHT = 0.04
"""The same without an embedding."""
_COLOUR_STRIDE = 4


@dataclass(frozen=True)
class Region:
    """A mask within a box of an image.

    Attributes
    ----------
    mask_box : tuple of int
        (row0, col0, row1, col1) in image pixels, end excluded.
    mask : ndarray of bool, shape (row1 - row0, col1 - col0)
    """

    mask_box: tuple[int, int, int, int]
    mask: Mask

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    def full(self, shape: Shape) -> Mask:
        """Return the mask in the whole image, shape (H, W)."""
        whole = np.zeros(shape, bool)
        row0, col0, row1, col1 = self.mask_box
        whole[row0:row1, col0:col1] = self.mask
        return whole


def propose(
    embedding: NDArray[Any],
    shape: Shape,
    positives: Sequence[Click],
    negatives: Sequence[Click] = (),
    score: NDArray[Any] | None = None,
    image: NDArray[np.uint8] | None = None,
) -> Region:
    """Return the region that the clicks select.

    Parameters
    ----------
    embedding : ndarray, shape (N, h, w)
    shape : tuple of int
        (H, W) of the image.
    positives, negatives : sequence of (row, col)
        Pixels that belong to the region and pixels that do not; at least one positive.
    score : ndarray, shape (h, w), optional
        Anomaly score in [0, 1]; its edges count like edges of the embedding.
    image : ndarray of uint8, shape (H, W, 3), optional
        The RGB image; its edges have a small weight.

    Returns
    -------
    Region
        Contains every positive click; each connected part holds at least one.

    Raises
    ------
    ValueError
        If there is no positive click, a click lies outside the image, or the shapes do not match.
    """
    _check(embedding, shape, positives, negatives, score, image)
    layers = [np.asarray(embedding)]
    if score is not None:
        layers.append(_SCORE_WEIGHT * np.asarray(score, np.float32)[None])
    patch = _cut_patch(layers, shape, positives, image)
    margin = _search(patch, _points(patch, positives), _points(patch, negatives))
    return _at_full_size(patch, margin, positives, negatives)


def propose_from_colour(
    image: NDArray[np.uint8], positives: Sequence[Click], negatives: Sequence[Click] = ()
) -> Region:
    """Return the region that the clicks select, from colour alone, for images without embedding.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    positives, negatives : sequence of (row, col)
        As in `propose`.

    Returns
    -------
    Region

    Raises
    ------
    ValueError
        See `propose`; also if `image` is not an RGB image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    shape = (image.shape[0], image.shape[1])
    h, w = (max(1, side // _COLOUR_STRIDE) for side in shape)
    return propose(_COLOUR_ALONE_WEIGHT * _lab(image, w, h), shape, positives, negatives)


def prepare() -> None:
    """Let OpenCV build its colour tables in advance; this saves 0.1 s at the first click."""
    _lab(np.zeros((2, 2, 3), np.uint8), 1, 1)


def _lab(image: NDArray[np.uint8], columns: int, rows: int) -> Floats:
    """Return the CIE Lab values, (3, rows, columns), of an image reduced to this size."""
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return np.asarray(lab.transpose(2, 0, 1))


@dataclass(frozen=True)
class _Patch:
    """The grid around the clicks, at a lower resolution if it is large."""

    values: Floats  # (N, a, b)
    where: tuple[slice, slice]  # rows and columns of the grid
    shape: Shape  # of the image
    grid_shape: Shape

    @property
    def step(self) -> float:
        """Grid points per point of the patch."""
        return int(self.where[0].stop - self.where[0].start) / int(self.values.shape[1])

    def share(self, points: float) -> float:
        """Return the share of the image that a number of points of the patch covers."""
        rows, cols = (span.stop - span.start for span in self.where)
        covered = points / self.values[0].size * rows * cols  # grid points
        return float(covered) / (self.grid_shape[0] * self.grid_shape[1])


def _cut_patch(
    layers: Sequence[NDArray[Any]],
    shape: Shape,
    positives: Sequence[Click],
    image: NDArray[np.uint8] | None,
) -> _Patch:
    h, w = layers[0].shape[1:]
    reach = max(8, round(_REACH * float(h * w) ** 0.5))
    points = np.array([to_grid(*click, shape, (h, w)) for click in positives])
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + reach + 1, (h, w))
    where = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    step = max(1, -(-int((high - low).max()) // _POINTS))
    rows, cols = (max(1, round((span.stop - span.start) / step)) for span in where)
    cut = np.concatenate([layer[:, where[0], where[1]] for layer in layers]).astype(np.float32)
    if step > 1:
        area = cv2.INTER_AREA
        cut = np.stack([cv2.resize(layer, (cols, rows), interpolation=area) for layer in cut])
    cut = np.stack([cv2.GaussianBlur(layer, (0, 0), _SMOOTHING / step) for layer in cut])
    if image is not None:
        top, bottom = (at * shape[0] // h for at in (where[0].start, where[0].stop))
        left, right = (at * shape[1] // w for at in (where[1].start, where[1].stop))
        every = max(1, (bottom - top) // (3 * rows))  # three pixels per point are enough
        pixels = image[top : max(bottom, top + 1) : every, left : max(right, left + 1) : every]
        cut = np.concatenate([cut, _COLOUR_WEIGHT * _lab(pixels, cols, rows)])
    return _Patch(cut, where, shape, (h, w))


def _points(patch: _Patch, clicks: Sequence[Click]) -> NDArray[np.intp]:
    """Return the patch points nearest to the clicks as flat indices; skip clicks outside it."""
    rows, cols = patch.values.shape[1:]
    points = []
    for click in clicks:
        at = to_grid(*click, patch.shape, patch.grid_shape)
        row = int((at[0] - patch.where[0].start + 0.5) / patch.step)
        col = int((at[1] - patch.where[1].start + 0.5) / patch.step)
        if 0 <= row < rows and 0 <= col < cols:
            points.append(row * cols + col)
    return np.unique(np.array(points, np.intp))


def _search(patch: _Patch, positives: NDArray[np.intp], negatives: NDArray[np.intp]) -> Floats:
    """Return the margin of each point of the patch: above 0 inside the region, below 0 outside."""
    h, w = patch.grid_shape
    graph = _edges(patch.values, _WAY * patch.step / float(h * w) ** 0.5)
    cost, _, owner = csgraph.dijkstra(
        graph, directed=False, indices=positives, min_only=True, return_predecessors=True
    )
    level = max(_level(patch, cost), _bridge(graph, cost, owner))
    margin = level - cost
    if len(negatives):
        against = csgraph.dijkstra(graph, directed=False, indices=negatives, min_only=True)
        margin = np.minimum(margin, against - cost)
    margin = np.clip(margin, -level, level) / level
    return np.asarray(margin.reshape(patch.values.shape[1:]), np.float32)


def _edges(values: Floats, way: float) -> sparse.csr_array:
    """Return the graph of the points (N, a, b) with their eight neighbours, weighted by cost."""
    rows, cols = values.shape[1:]
    index = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)
    starts, ends, costs = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, rows - down), slice(max(-right, 0), cols - max(right, 0)))
        there = (slice(down, rows), slice(max(right, 0), cols - max(-right, 0)))
        change = values[:, here[0], here[1]] - values[:, there[0], there[1]]
        size = np.sqrt(np.einsum("nab,nab->ab", change, change))
        costs.append(size + way * float(np.hypot(down, right)))
        starts.append(index[here])
        ends.append(index[there])
    start, end, cost = (np.concatenate([p.ravel() for p in x]) for x in (starts, ends, costs))
    return sparse.coo_array((cost, (start, end)), shape=(rows * cols,) * 2).tocsr()


def _level(patch: _Patch, cost: Costs) -> float:
    """Return the cost of the best cut between region and background.

    A cut splits the points in the order of their cost.  Its merit is the product of three factors:
    how well it separates the embedding, how steeply the cost rises with the size there (both are
    large at the border of an object), and how likely objects of this size are.
    """
    order = np.argsort(cost, kind="stable")
    n, point = len(order), patch.share(1)
    least, largest = round(_LEAST_AREA / point), round(_LARGEST_AREA / point)
    sizes = np.arange(max(least, 2), min(largest, 7 * n // 10))
    if not len(sizes):
        return float(cost.max()) + 1e-6
    flat = patch.values.reshape(len(patch.values), -1)[:, order]
    merit = _separation(flat, sizes) * _edge(cost[order], sizes)
    unlikely = np.log(sizes * point / _USUAL_AREA) / _AREA_SPREAD
    best = int(sizes[(merit * np.exp(-np.square(unlikely) / 2)).argmax()])
    return float(cost[order[best - 1]] + cost[order[best]]) / 2 + 1e-9


def _separation(ordered: Floats, sizes: NDArray[np.intp]) -> Costs:
    """Return for each cut the variance between both sides divided by the variance inside.

    `ordered` is the embedding (N, n) in the order of the cost; the first points are inside.
    """
    n = ordered.shape[1]
    total = np.cumsum(ordered, axis=1, dtype=np.float64)  # (N, n)
    squares = np.cumsum(np.einsum("nk,nk->k", ordered, ordered), dtype=np.float64)[sizes - 1]
    inside, whole = total[:, sizes - 1], total[:, -1:]
    mean = inside / sizes
    apart = np.square(mean - (whole - inside) / (n - sizes)).sum(axis=0) + 1e-9
    within = np.maximum(squares / sizes - np.square(mean).sum(axis=0), 0)
    return np.asarray(sizes * (n - sizes) / n**2 * apart / (within + _USUAL_VARIANCE))


def _edge(ordered: Costs, sizes: NDArray[np.intp]) -> Costs:
    """Return the squared steepness of the cost around each cut; constant for a growing disc."""
    outer = np.minimum((sizes * _EDGE_WIDTH).astype(int) + 1, len(ordered) - 1)
    inner = (sizes / _EDGE_WIDTH).astype(int)
    return np.asarray(np.square(ordered[outer] - ordered[inner]) / sizes)


def _bridge(graph: sparse.csr_array, cost: Costs, owner: NDArray[np.int32]) -> float:
    """Return the level at which the region connects each positive click to its nearest other one.

    The cheapest path between two clicks crosses once from the points owned by one click to the
    points owned by the other.
    """
    edges = graph.tocoo()
    start, end = edges.coords
    meets = owner[start] != owner[end]
    if not meets.any():
        return 0.0
    start, end = start[meets], end[meets]
    way = cost[start] + edges.data[meets] + cost[end]
    nearest = np.full(len(cost), np.inf)
    np.minimum.at(nearest, owner[start], way)
    np.minimum.at(nearest, owner[end], way)
    return float(nearest[np.isfinite(nearest)].max()) / 2 * 1.001


def _at_full_size(
    patch: _Patch, margin: Floats, positives: Sequence[Click], negatives: Sequence[Click]
) -> Region:
    """Enlarge the region to image pixels and keep the parts that hold a positive click."""
    rows, cols = patch.where
    whole = np.full(patch.grid_shape, -1, np.float32)
    whole[rows, cols] = upsample(margin, (rows.stop - rows.start, cols.stop - cols.start))
    window = _pixel_window(patch, whole > 0, positives)
    inside = (upsample(whole, patch.shape, window) > 0).view(np.uint8)
    row0, row1, col0, col1 = window
    for value, clicks in ((0, negatives), (1, positives)):
        for row, col in clicks:
            if row0 <= row < row1 and col0 <= col < col1:
                inside[row - row0, col - col0] = value
    labels = cv2.connectedComponents(inside, connectivity=4)[1]
    wanted = np.zeros(int(labels.max()) + 1, bool)
    wanted[[labels[row - row0, col - col0] for row, col in positives]] = True
    return _trimmed(wanted[labels], row0, col0)


def _pixel_window(patch: _Patch, inside: Mask, positives: Sequence[Click]) -> Window:
    """Return the window of pixels that can be inside: around inner grid points and the clicks."""
    window = []
    for axis in (0, 1):
        scale = patch.shape[axis] / patch.grid_shape[axis]
        inner = np.flatnonzero(inside.any(axis=1 - axis))
        low = [click[axis] for click in positives]
        high = list(low)
        if len(inner):
            low.append(int((inner[0] - 1) * scale))
            high.append(int((inner[-1] + 2) * scale) + 1)
        window += [max(min(low), 0), min(max(high) + 1, patch.shape[axis])]
    return window[0], window[1], window[2], window[3]


def _trimmed(mask: Mask, row0: int, col0: int) -> Region:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1
    box = (row0 + top, col0 + left, row0 + bottom, col0 + right)
    return Region(box, mask[top:bottom, left:right].copy())


def _check(
    embedding: NDArray[Any],
    shape: Shape,
    positives: Sequence[Click],
    negatives: Sequence[Click],
    score: NDArray[Any] | None,
    image: NDArray[np.uint8] | None,
) -> None:
    if embedding.ndim != 3 or 0 in embedding.shape:
        raise ValueError(f"embedding must have shape (N, h, w), got {embedding.shape}")
    if score is not None and score.shape != embedding.shape[1:]:
        raise ValueError(f"score must have shape {embedding.shape[1:]}, got {score.shape}")
    if image is not None and (image.shape != (*shape, 3) or image.dtype != np.uint8):
        raise ValueError(f"image must be uint8 {(*shape, 3)}, got {image.dtype} {image.shape}")
    if not positives:
        raise ValueError("a region needs at least one positive click, got none")
    for row, col in (*positives, *negatives):
        if not (0 <= row < shape[0] and 0 <= col < shape[1]):
            raise ValueError(f"click ({row}, {col}) lies outside the image of shape {shape}")
