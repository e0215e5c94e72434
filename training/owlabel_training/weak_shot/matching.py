"""Which proposal stands for which class of an image: Hungarian matching, without gradient."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from owlabel_training.weak_shot.losses import (
    ALPHA,
    DICE_WEIGHT,
    FOCAL_WEIGHT,
    Matches,
    Targets,
    class_logits_of,
)


def matching_cost(class_logits: Tensor, mask_logits: Tensor, targets: Targets) -> Tensor:
    """Return what each proposal costs as each target; a novel class has no mask cost.

    Parameters
    ----------
    class_logits : Tensor, shape (Q, K + 1)
    mask_logits : Tensor, shape (Q, h, w)
    targets : Targets
        T base classes with masks and V novel ones.

    Returns
    -------
    Tensor, shape (Q, T + V)
        ``-softmax(s)[c]``, and for base classes ``+ 20 focal + dice``.
    """
    shares = class_logits_of(class_logits, targets).softmax(dim=1)
    cost = -shares[:, targets.classes]  # (Q, T + V)
    if not len(targets.base):
        return cost
    size = (mask_logits.shape[1], mask_logits.shape[2])
    known = ~_small(targets.nobody[None], size)[0]  # (h, w)
    masks = _small(targets.masks, size)[:, known].to(mask_logits.dtype)  # (T, N)
    cost[:, : len(targets.base)] += _mask_cost(mask_logits[:, known], masks)
    return cost


def _small(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks (T, H, W) at another size, nearest."""
    return functional.interpolate(masks[None].float(), size=size, mode="nearest")[0].bool()


def _mask_cost(logits: Tensor, masks: Tensor) -> Tensor:
    """Return 20 focal + dice of all pairs: (Q, N) and (T, N) to (Q, T)."""
    p = logits.sigmoid()
    inside = ALPHA * (1 - p).square() * functional.softplus(-logits)
    outside = (1 - ALPHA) * p.square() * functional.softplus(logits)
    focal = (inside @ masks.T + outside @ (1 - masks).T) / max(logits.shape[1], 1)
    sums = p.sum(dim=1)[:, None] + masks.sum(dim=1)[None]
    dice = 1 - (2 * p @ masks.T + 1) / (sums + 1)
    return FOCAL_WEIGHT * focal + DICE_WEIGHT * dice


@torch.no_grad()
def match(class_logits: Tensor, mask_logits: Tensor, targets: Targets) -> Matches:
    """Return min(Q, T + V) distinct pairs of least cost: proposals, and places in the targets."""
    cost = matching_cost(class_logits.float(), mask_logits.float(), targets)
    proposals, places = linear_sum_assignment(cost.cpu().numpy())
    device = class_logits.device
    return (
        torch.as_tensor(proposals, dtype=torch.int64, device=device),
        torch.as_tensor(places, dtype=torch.int64, device=device),
    )
