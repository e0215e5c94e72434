"""Novel classes from a few shots: the novel prototype method (NPM) and targets for PLM.

Distances are defined on the base embedding f upsampled to the full image (feature-first), as in the
published results of NPM.  They are computed only where the corners of a grid cell do not decide.

References
----------
.. [1] J. Cen, P. Yun, J. Cai, M. Y. Wang, M. Liu, "Deep Metric Learning for Open World Semantic
   Segmentation", ICCV 2021, eq. (12) and supplement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays.embedding_grid import adjoint_weights, argmax_upsampled
from owlabel.arrays.grid_cells import CellBlock, Cells, Floats, Shape, running_argmax
from owlabel.classes import MAX_CLASSES, VOID, Labels

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

LAMBDA_NOVEL = 1.5
"""Threshold on the squared distance to a novel prototype; best in table c of the supplement."""
PROTOTYPE_LENGTH = 3.0
"""T, the length of the base prototypes; table b of the supplement."""

_UNSURE = 255
_LEAST_SLACK = 1e-4
"""Relative slack of a bound on squared distances, against rounding in single precision."""


@dataclass(frozen=True)
class NovelPrototype:
    """The prototype of a novel class in the base embedding.

    Attributes
    ----------
    class_id : int
        0 .. 252; the label of claimed pixels.
    vector : ndarray, shape (N,)
        Mean of the image means.
    shots : int
        Number of images that contribute.
    """

    class_id: int
    vector: NDArray[Any]
    shots: int


def image_mean(embedding: NDArray[Any], mask: Mask) -> Vector:
    """Return the mean embedding of the annotated pixels of one shot.

    Parameters
    ----------
    embedding : ndarray, shape (N, h, w)
    mask : ndarray of bool, shape (H, W)
        Annotated pixels of the novel object.

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    ValueError
        If the mask is empty or an array has the wrong number of axes.
    """
    if embedding.ndim != 3 or mask.ndim != 2:
        raise ValueError(
            f"embedding must have shape (N, h, w) and mask (H, W), "
            f"got {embedding.shape} and {mask.shape}"
        )
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("a shot must have at least one annotated pixel, got an empty mask")
    window = (int(rows[0]), int(rows[-1]) + 1, int(cols[0]), int(cols[-1]) + 1)
    inside = mask[window[0] : window[1], window[2] : window[3]]
    shape, grid_shape = (mask.shape[0], mask.shape[1]), (embedding.shape[1], embedding.shape[2])
    weights, (grid_rows, grid_cols) = adjoint_weights(inside, shape, grid_shape, window)
    values = embedding[:, grid_rows, grid_cols].astype(np.float64)
    total = values.reshape(len(values), -1) @ weights.ravel()  # (N,)
    return np.asarray(total / weights.sum())


def novel_prototype(means: Sequence[NDArray[Any]]) -> Vector:
    """Return the mean of image means: each image counts once, however large its object.

    Parameters
    ----------
    means : sequence of ndarray, each of shape (N,)

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    ValueError
        If `means` is empty or their lengths differ.
    """
    lengths = {np.shape(mean) for mean in means}
    if len(lengths) != 1:
        raise ValueError(
            f"a prototype needs at least one image mean, all of one length, got shapes {lengths}"
        )
    return np.asarray(np.mean(np.stack(means), axis=0, dtype=np.float64))


def claim_novel(
    embedding: NDArray[Any],
    base_map: Labels,
    prototypes: Sequence[NovelPrototype],
    lambda_novel: float = LAMBDA_NOVEL,
    length: float = PROTOTYPE_LENGTH,
) -> Labels:
    """Overwrite the base prediction where a novel class is near enough and nearer than all others.

    Let k be the nearest novel class, ``d_k = |f - mu_k|^2`` and ``d_t = |f - T e_t|^2``.  A pixel
    becomes k where ``d_k < lambda_novel`` and ``d_k < min_t d_t``, both strict ([1]_, eq. 12).
    All other pixels keep their value.

    Parameters
    ----------
    embedding : ndarray, shape (N, h, w)
    base_map : ndarray of uint8, shape (H, W)
        Base prediction, including the heads of PLM.
    prototypes : sequence of NovelPrototype
        Their order does not matter.
    lambda_novel : float
        Threshold on the squared distance; 0 claims no pixel, ``inf`` turns this condition off.
    length : float
        T, the length of the base prototypes.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        A new array.

    Raises
    ------
    ValueError
        If the shapes do not match, a class id repeats or is outside 0 .. 252, or `lambda_novel` is
        negative.
    """
    _check_claim(embedding, prototypes, lambda_novel)
    if not prototypes or lambda_novel == 0:
        return base_map.copy()
    rule = _Rule.of(prototypes, lambda_novel, length)
    maps = np.ascontiguousarray(embedding, np.float32)
    cells = Cells.of((base_map.shape[0], base_map.shape[1]), maps.shape[1:])
    states = rule.states(maps)
    differ = cells.differ(states)
    first = cells.corners(states)[0]
    whole = ~differ & (first < len(prototypes))  # the cell belongs to one novel class
    claims = np.where(whole, rule.class_ids[np.where(whole, first, 0)], np.uint8(_UNSURE))
    pixels = cells.spread(claims)
    claimed = np.where(pixels == _UNSURE, base_map, pixels)
    undecided = _within_reach(maps, cells, differ | (first == _UNSURE), rule)
    for block in cells.blocks(maps, undecided):
        labels, won = rule.decide(block)
        block.put_where(claimed, labels, won)
    return claimed


@dataclass(frozen=True)
class _Rule:
    """The decision rule of NPM for some novel classes, in the order of their ids."""

    class_ids: NDArray[np.uint8]  # (K,)
    vectors: Floats  # (K, N)
    squares: Floats  # (K,) squared lengths
    lambda_novel: float
    length: float

    @classmethod
    def of(cls, prototypes: Sequence[NovelPrototype], lambda_novel: float, length: float) -> _Rule:
        ordered = sorted(prototypes, key=lambda p: p.class_id)
        vectors = np.stack([p.vector for p in ordered]).astype(np.float64)
        class_ids = np.array([p.class_id for p in ordered], np.uint8)
        squares = np.square(vectors).sum(axis=1).astype(np.float32)
        return cls(class_ids, vectors.astype(np.float32), squares, lambda_novel, length)

    def measure(self, maps: Floats) -> tuple[NDArray[np.uint8], Mask, Mask, NDArray[np.uint8]]:
        """Evaluate the rule at each point of maps (N, ...).

        Returns the index of the nearest novel class, whether it is near enough, whether it is
        nearer than every old class, and the nearest old class.
        """
        shape = maps.shape[1:]
        flat = maps.reshape(len(maps), -1)
        # |f - m|^2 without |f|^2, which is the same for all classes
        novel = self.squares[:, None] - 2 * (self.vectors @ flat)  # (K, points)
        nearest, negative = running_argmax(-novel)
        old, top = running_argmax(flat)
        relative = -negative
        nearer = relative < self.length**2 - (2 * self.length) * top
        near = np.einsum("np,np->p", flat, flat) + relative < self.lambda_novel
        return (
            nearest.reshape(shape),
            near.reshape(shape),
            nearer.reshape(shape),
            old.reshape(shape),
        )

    def states(self, maps: Floats) -> NDArray[np.uint8]:
        """Return the state of each grid point; equal states at all corners decide a cell.

        The conditions "nearest novel class is k" and "an old class is nearer" are linear in f, and
        the ball around a prototype is convex.  So a condition holds in a whole cell if it holds at
        all its corners.  0 .. K - 1: claimed by this novel class; K + t: old class t is nearer;
        255: undecided.
        """
        nearest, near, nearer, old = self.measure(maps)
        count = np.uint8(len(self.class_ids))
        states = np.where(near, nearest, np.uint8(_UNSURE))
        np.copyto(states, old + count, where=~nearer)
        return states

    def decide(self, block: CellBlock) -> tuple[Labels, Mask]:
        """Return the novel class of each pixel of a block, and whether it claims the pixel."""
        nearest, near, nearer, _ = self.measure(block.values)
        return self.class_ids[nearest], near & nearer


def _within_reach(maps: Floats, cells: Cells, chosen: Mask, rule: _Rule) -> Mask:
    """Drop the cells in which every pixel is too far from every novel prototype.

    A squared distance is convex, so it lies above its tangent plane at the centre c of a cell:
    ``d(f) >= d(c) + 2 (c - mu) . (f - c)``.  The plane has its minimum at one of the corners.
    """
    if rule.lambda_novel == np.inf:
        return chosen
    row, col = cells.indices(chosen)
    kept = np.zeros(chosen.shape, bool)
    corners = cells.corner_values(maps, row, col)  # (4, N, m)
    center = corners.mean(axis=0)
    along = np.einsum("nm,inm->im", center, corners)  # (4, m)
    square = np.einsum("nm,nm->m", center, center)
    near = np.zeros(len(row), bool)
    for vector, length in zip(rule.vectors, rule.squares, strict=True):
        towards = vector @ corners  # (4, m)
        lowest = (along - towards).min(axis=0)
        bound = 2 * lowest - square + length  # the tangent plane, expanded
        near |= bound < rule.lambda_novel + _LEAST_SLACK * (1 + square + length)
    kept[row[near], col[near]] = True
    return kept


def _check_claim(
    embedding: NDArray[Any], prototypes: Sequence[NovelPrototype], lambda_novel: float
) -> None:
    if not lambda_novel >= 0:
        raise ValueError(f"lambda_novel must not be negative, got {lambda_novel}")
    ids = [p.class_id for p in prototypes]
    if len(set(ids)) != len(ids) or any(not 0 <= i < MAX_CLASSES for i in ids):
        raise ValueError(f"novel class ids must differ and lie in 0 .. 252, got {ids}")
    if embedding.ndim != 3 or len(embedding) + len(ids) > _UNSURE:
        raise ValueError(
            f"embedding must have shape (N <= {_UNSURE - len(ids)}, h, w), got {embedding.shape}"
        )
    for p in prototypes:
        if np.shape(p.vector) != (len(embedding),):
            raise ValueError(
                f"prototype of class {p.class_id} must have shape "
                f"({len(embedding)},), got {np.shape(p.vector)}"
            )


def plm_targets(
    base_map: Labels,
    head_maps: Sequence[tuple[int, Mask]],
    shot_mask: Mask,
    class_id: int,
    void_mask: Mask | None = None,
) -> Labels:
    """Return the pseudo labels that a new head is trained on.

    Parameters
    ----------
    base_map : ndarray of uint8, shape (H, W)
        Prediction of the base head.
    head_maps : sequence of (class id, ndarray of bool of shape (H, W))
        For each earlier head, in the order they were added, where it predicts its newest class.
    shot_mask : ndarray of bool, shape (H, W)
        Annotated pixels of the new class; they win over everything.
    class_id : int
        The new class.
    void_mask : ndarray of bool, shape (H, W), optional
        Pixels that the annotator marked as "ignore".

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Class ids; VOID only where `void_mask` is True.

    Raises
    ------
    ValueError
        If `base_map` holds a value that is not a class id, or `class_id` is not one.
    """
    if not 0 <= class_id < MAX_CLASSES or base_map.max() >= MAX_CLASSES:
        raise ValueError(
            f"labels must be class ids below {MAX_CLASSES}, "
            f"got class {class_id} and base labels up to {base_map.max()}"
        )
    targets = base_map.copy()
    for head_class, newest in head_maps:
        targets[newest] = head_class
    if void_mask is not None:
        targets[void_mask] = VOID
    targets[shot_mask] = class_id
    return targets


def newest_mask(embedding: NDArray[Any], shape: Shape) -> Mask:
    """Return the pixels where a head predicts its newest class, its last channel.

    Parameters
    ----------
    embedding : ndarray, shape (N + i, h, w)
        Embedding by the head of the i-th novel class.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    ndarray of bool, shape (H, W)
    """
    return np.asarray(argmax_upsampled(embedding, shape) == len(embedding) - 1)


def overwrite_with_heads(
    base_map: Labels, heads: Sequence[tuple[int, NDArray[Any]]], shape: Shape
) -> Labels:
    """Return the class map of all heads together (PLM_all).

    Parameters
    ----------
    base_map : ndarray of uint8, shape (H, W)
        Prediction of the base head.
    heads : sequence of (class id, ndarray of shape (N + i, h, w))
        Novel class and embedding of each head, in the order they were added.
    shape : tuple of int
        (H, W) of the image.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        A new array: `base_map`, overwritten by each head where it predicts its newest class.
    """
    labels = base_map.copy()
    for class_id, embedding in heads:
        labels[newest_mask(embedding, shape)] = class_id
    return labels
