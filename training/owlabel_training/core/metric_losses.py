"""The losses of the metric space: distance cross entropy, variance, and their hybrid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from owlabel.classes import VOID

IGNORED_FROM = 253
"""Label values from here on (unset, proxy, void) are no class and never reach a loss."""


def dce_loss(
    embedding: Tensor, target: Tensor, prototype_length: float, weight: Tensor | None = None
) -> Tensor:
    """Distance-based cross entropy: mean over valid pixels of -log softmax(-d)_y.

    Computed from logits 2T f, which differ from -d by a constant of each pixel only.

    Parameters
    ----------
    embedding : Tensor, shape (B, N, h, w)
        f.
    target : Tensor of int64, shape (B, h, w)
        Class of each pixel; values from 253 on are ignored.
    prototype_length : float
        T.
    weight : Tensor, shape (N,), optional
        Weight of each class in the mean.

    Returns
    -------
    Tensor, shape ()
        0 where no pixel is valid.

    References
    ----------
    .. [1] J. Cen et al., "Deep Metric Learning for Open World Semantic Segmentation", 2021.
    """
    _check(embedding, target)
    target = torch.where(target >= IGNORED_FROM, VOID, target)
    if not bool((target != VOID).any()):
        return embedding.sum() * 0
    logits = 2 * prototype_length * embedding
    return functional.cross_entropy(logits, target, weight, ignore_index=VOID)


def variance_loss(embedding: Tensor, target: Tensor, prototype_length: float) -> Tensor:
    """Variance loss: mean over valid pixels of |f - m_y|^2; arguments as in `dce_loss`."""
    _check(embedding, target)
    valid = target < IGNORED_FROM  # (B, h, w)
    if not bool(valid.any()):
        return embedding.sum() * 0
    own = embedding.gather(1, target.where(valid, 0).unsqueeze(1)).squeeze(1)  # (B, h, w)
    square = embedding.square().sum(dim=1)
    distance = square - 2 * prototype_length * own + prototype_length**2  # (B, h, w)
    return (distance * valid).sum() / valid.sum()


def hybrid_loss(
    embedding: Tensor,
    target: Tensor,
    prototype_length: float,
    variance_weight: float = 0.01,
    weight: Tensor | None = None,
) -> Tensor:
    """DCE + lambda_VL * VL, averaged over valid pixels each; arguments as in `dce_loss`."""
    loss = dce_loss(embedding, target, prototype_length, weight)
    if variance_weight == 0:
        return loss
    return loss + variance_weight * variance_loss(embedding, target, prototype_length)


def _check(embedding: Tensor, target: Tensor) -> None:
    expected = (embedding.shape[0], *embedding.shape[2:])
    if embedding.ndim != 4 or tuple(target.shape) != expected:
        raise ValueError(
            f"embedding (B, N, h, w) and target (B, h, w) must agree, "
            f"got {tuple(embedding.shape)} and {tuple(target.shape)}"
        )
