"""The losses of SimFormer (ClsLoss, MaskLoss, CompLoss) on each decoder layer; see `matching`.

Targets of an image are the base classes that it holds, with masks, and its tagged novel classes,
without.  A novel class has no mask here at all: there is none that a loss could read.

References
----------
.. [1] J. Chen, L. Niu et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer",
   NeurIPS 2022; formulas from the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from owlabel.classes import UNSET
from owlabel.models.mask.mask_former import NEVER

ALPHA = 0.25
"""Weight of foreground in the focal loss; background has 1 - ALPHA."""
FOCAL_WEIGHT = 20.0
DICE_WEIGHT = 1.0
NO_OBJECT_WEIGHT = 0.1
IGNORE_LOGIT = -2.9444
"""sigma(IGNORE_LOGIT) = 0.05: what true ignore pixels are taken for in CompLoss."""

Matches = tuple[Tensor, Tensor]
"""Proposals and targets that belong together, int64, equal lengths."""


@dataclass(frozen=True)
class Targets:
    """What is known of one image.

    Attributes
    ----------
    base : Tensor of int64, shape (T,)
        Base classes with masks.
    masks : Tensor of bool, shape (T, H, W)
    novel : Tensor of int64, shape (V,)
        Tagged novel classes; they have no masks.
    padding : Tensor of bool, shape (H, W)
        Where a crop lies outside its image.
    nobody : Tensor of bool, shape (H, W)
        Where nobody knows what is there: no loss looks at these pixels.
    unknown : Tensor of bool, shape (K + 1,), or None
        Classes of which nobody has said whether they are there: no loss says that they are not.
    """

    base: Tensor
    masks: Tensor
    novel: Tensor
    padding: Tensor
    nobody: Tensor
    unknown: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """Base classes, then novel classes, (T + V,)."""
        return torch.cat([self.base, self.novel])


def targets_of(
    labels: Tensor, n_base: int, novel: Tensor, unknown: Tensor | None = None
) -> Targets:
    """Return the targets of one image without padding.

    Parameters
    ----------
    labels : Tensor of int64, shape (H, W)
        Base classes 0 .. n_base - 1, UNSET where nobody knows; whatever else is none of them.
    n_base : int
    novel : Tensor of int64, shape (V,)
    unknown : Tensor of bool, shape (K + 1,), optional
    """
    base = labels[labels < n_base].unique()  # type: ignore[no-untyped-call]
    masks, nobody = labels == base[:, None, None], labels == UNSET
    return Targets(base, masks, novel, torch.zeros_like(nobody), nobody, unknown)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``alpha_t (1 - p_t)^2 BCE`` of every pixel, of the logits' shape.

    Parameters
    ----------
    logits, target : Tensor, equal shapes
        `target` is 0 or 1.
    """
    wrong = logits * (1 - 2 * target)  # its sigmoid is 1 - p_t, its softplus the cross entropy
    weight = (1 - ALPHA) + (2 * ALPHA - 1) * target
    return weight * wrong.sigmoid().square() * functional.softplus(wrong)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean focal loss of each mask: (T, ...) twice to (T,)."""
    return focal(logits, target).flatten(1).mean(dim=1)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``1 - (2 sum p g + 1) / (sum p + sum g + 1)`` of each mask, (T, ...) to (T,)."""
    p, g = logits.sigmoid().flatten(1), target.flatten(1)
    return 1 - (2 * (p * g).sum(dim=1) + 1) / (p.sum(dim=1) + g.sum(dim=1) + 1)


def class_logits_of(class_logits: Tensor, targets: Targets) -> Tensor:
    """Return the logits (Q, K + 1) without the classes of which nothing is known."""
    if targets.unknown is None:
        return class_logits
    return class_logits.masked_fill(targets.unknown, NEVER)


def cls_loss(
    class_logits: Tensor, targets: Sequence[Targets], matches: Sequence[Matches]
) -> Tensor:
    """ClsLoss: cross entropy of all proposals, "no object" where nothing is matched.

    Parameters
    ----------
    class_logits : Tensor, shape (B, Q, K + 1)
    targets, matches : sequences of length B

    Returns
    -------
    Tensor, shape ()
        The mean weighted by 1 for classes and 0.1 for "no object".
    """
    nothing = class_logits.shape[2] - 1
    wanted = torch.full(class_logits.shape[:2], nothing, device=class_logits.device)  # (B, Q)
    for row, target, (proposals, places) in zip(wanted, targets, matches, strict=True):
        row[proposals] = target.classes[places]
    weight = torch.ones(nothing + 1, device=class_logits.device, dtype=class_logits.dtype)
    weight[nothing] = NO_OBJECT_WEIGHT
    logits = torch.stack(
        [class_logits_of(image, t) for image, t in zip(class_logits, targets, strict=True)]
    )
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)


def mask_loss(
    mask_logits: Tensor, targets: Sequence[Targets], matches: Sequence[Matches]
) -> Tensor:
    """MaskLoss: 20 focal + dice of proposals matched to base classes, at full resolution.

    Parameters
    ----------
    mask_logits : Tensor, shape (B, Q, h, w)
    targets, matches : sequences of length B

    Returns
    -------
    Tensor, shape ()
        Summed over masks, divided by the number of *base* masks in the batch, at least 1.
    """
    total = mask_logits.sum() * 0
    for masks, target, (proposals, places) in zip(mask_logits, targets, matches, strict=True):
        base = places < len(target.base)
        if bool(base.any()):
            wanted = target.masks[places[base]].to(masks.dtype)  # (T, H, W)
            logits = enlarged(masks[proposals[base]], wanted.shape[-2:])
            logits, wanted = logits[:, ~target.nobody], wanted[:, ~target.nobody]  # (T, N)
            total = total + FOCAL_WEIGHT * focal_loss(logits, wanted).sum()
            total = total + DICE_WEIGHT * dice_loss(logits, wanted).sum()
    return total / max(sum(len(target.base) for target in targets), 1)


def comp_loss(
    mask_logits: Tensor, targets: Sequence[Targets], matches: Sequence[Matches]
) -> Tensor:
    """CompLoss: the novel proposals together cover what no base mask covers.

    Parameters
    ----------
    mask_logits : Tensor, shape (B, Q, h, w)
    targets, matches : sequences of length B

    Returns
    -------
    Tensor, shape ()
        Mean of 20 focal + dice over the images with a tagged novel class; 0 without any.
    """
    losses = []
    for masks, target, (proposals, places) in zip(mask_logits, targets, matches, strict=True):
        if not len(target.novel) or bool(target.nobody.all()):
            continue
        novel = proposals[places >= len(target.base)]
        logits = enlarged(masks[novel], target.padding.shape)
        pred, wanted = (mask[:, ~target.nobody] for mask in complement(logits, target))
        focal, dice = focal_loss(pred, wanted), dice_loss(pred, wanted)
        losses.append((FOCAL_WEIGHT * focal + DICE_WEIGHT * dice)[0])
    return torch.stack(losses).mean() if losses else mask_logits.sum() * 0


def complement(logits: Tensor, target: Targets) -> tuple[Tensor, Tensor]:
    """Return what CompLoss compares, both of shape (1, H, W).

    Parameters
    ----------
    logits : Tensor, shape (V, H, W)
        Of the proposals matched to novel classes.
    target : Targets

    Returns
    -------
    pred : Tensor
        The largest logit, at least `IGNORE_LOGIT`, so that no proposal has to explain ignored
        pixels completely.
    wanted : Tensor
        1 outside the base masks and the padding.
    """
    floor = torch.full_like(logits[:1], IGNORE_LOGIT)
    if not len(logits):
        floor = torch.full_like(target.padding[None], IGNORE_LOGIT, dtype=logits.dtype)
    pred = torch.cat([logits, floor]).amax(dim=0, keepdim=True)
    wanted = ~(target.masks.any(dim=0) | target.padding)
    return pred, wanted[None].to(logits.dtype)


def enlarged(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return mask logits (T, h, w) bilinearly at another size."""
    if not len(logits):
        return logits.new_zeros(0, *size)
    grown = functional.interpolate(
        logits[None], size=tuple(size), mode="bilinear", align_corners=False
    )
    return grown[0]
