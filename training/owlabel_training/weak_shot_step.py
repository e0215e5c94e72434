"""All losses of one batch of SimFormer, by name and already weighted."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from owlabel.classes import UNSET
from owlabel.models.mask_former import MaskFormer, Proposals, semantic_scores
from owlabel_training.weak_shot_loss import Targets, cls_loss, comp_loss, mask_loss, targets_of
from owlabel_training.weak_shot_matching import match
from owlabel_training.weak_shot_recipe import WeakShotSettings
from owlabel_training.weak_shot_sampler import PairBatch
from owlabel_training.weak_shot_similarity import (
    DistKind,
    SimNet,
    dist_loss,
    sample,
    sample_pairs,
    sim_loss,
)


def batch_losses(
    found: Proposals,
    net: SimNet,
    batch: PairBatch,
    n_base: int,
    recipe: WeakShotSettings,
    done: float,
) -> dict[str, Tensor]:
    """Return ClsLoss, MaskLoss, CompLoss, SimLoss and DistLoss, weighted; their sum is the loss.

    Parameters
    ----------
    found : Proposals
        Of the batch, in 32 bits.
    net : SimNet
    batch : PairBatch
    n_base : int
    recipe : WeakShotSettings
    done : float
        How far the run is, 0 .. 1.
    """  # fmt: skip
    targets = batch_targets(batch, n_base, recipe.loss_stride)
    losses = proposal_losses(found, targets, recipe.comp_weight)
    if recipe.similarity == "none":
        return losses
    b = len(batch.images)
    pairs = [(i, i) for i in range(b)] if recipe.similarity == "self" else _across(b)
    labels = _small(batch.labels, found.pixels)
    pixels = found.pixels.flatten(2).transpose(1, 2)  # (B, h w, C)
    sims, dists = [], []
    novel = batch.present[:, n_base:-1]  # (B, V)
    for i, j in pairs:
        places = sample_pairs((labels[i], labels[j]), n_base, recipe.points)
        if places is not None and recipe.sim_weight:
            looked = (pixels[i][places[0]], pixels[j][places[1]])
            sims.append(sim_loss(net, looked, (labels[i][places[0]], labels[j][places[1]]), n_base))
        if done >= recipe.dist_after and recipe.dist_weight and bool((novel[i] & novel[j]).any()):
            kind = cast(DistKind, recipe.dist_kind)
            one = _pair_dist(found, net, (labels, n_base), (i, j), (recipe.points, kind))
            dists += [] if one is None else [one]
    zero = found.class_logits.sum() * 0
    losses["sim"] = recipe.sim_weight * (torch.stack(sims).mean() if sims else zero)
    losses["dist"] = recipe.dist_weight * (torch.stack(dists).mean() if dists else zero)
    return losses


def batch_targets(batch: PairBatch, n_base: int, stride: int = 1) -> list[Targets]:
    """Return the targets of each image of a batch, the masks at every `stride`-th pixel."""
    labels = batch.labels[:, stride // 2 :: stride, stride // 2 :: stride]
    return [
        targets_of(label, n_base, present.nonzero()[:, 0], unknown)
        for label, present, unknown in zip(labels, batch.present, batch.unknown, strict=True)
    ]


def proposal_losses(
    found: Proposals, targets: list[Targets], comp_weight: float
) -> dict[str, Tensor]:
    """Return ClsLoss, MaskLoss and CompLoss summed over decoder layers, each with its matching."""
    total: dict[str, list[Tensor]] = {"cls": [], "mask": [], "comp": []}
    for classes, masks in zip(found.class_logits, found.mask_logits, strict=True):
        matches = [match(*one) for one in zip(classes, masks, targets, strict=True)]
        total["cls"].append(cls_loss(classes, targets, matches))
        total["mask"].append(mask_loss(masks, targets, matches))
        if comp_weight:
            total["comp"].append(comp_weight * comp_loss(masks, targets, matches))
    return {name: torch.stack(values).sum() for name, values in total.items() if values}


def _across(count: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(0, count, 2)]


def _small(labels: Tensor, pixels: Tensor) -> Tensor:
    """Return the labels (B, H, W) on the grid of F, nearest and flat: (B, h w)."""
    size = (pixels.shape[2], pixels.shape[3])
    small = torch.nn.functional.interpolate(labels[:, None].float(), size=size, mode="nearest")
    return small.flatten(1).long()


def _pair_dist(
    found: Proposals,
    net: SimNet,
    known: tuple[Tensor, int],
    pair: tuple[int, int],
    how: tuple[int, DistKind],
) -> Tensor | None:
    """Return DistLoss of an image and its reference; None where nothing but base is known."""
    (labels, n_base), (points, kind) = known, how
    pixels, scores = [], []
    for i in pair:
        outside = (labels[i] >= n_base) & (labels[i] != UNSET)
        if not bool(outside.any()):
            return None
        places = sample(outside, points)
        masks = found.mask_logits[-1, i].flatten(1)[:, places, None]  # (Q, J, 1)
        told = semantic_scores(found.class_logits[-1, i], masks)[n_base:, :, 0]  # (V, J)
        scores.append(told.T)
        pixels.append(found.pixels[i].flatten(1)[:, places].T.detach())  # (J, C)
    return dist_loss(net, (pixels[0], pixels[1]), (scores[0], scores[1]), kind)


def forward(model: MaskFormer, images: Tensor, frozen: bool, bf16: bool) -> Proposals:
    """Return the proposals in 32 bits; with a frozen backbone no gradient reaches it."""
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            stages = model.backbone.pyramid((images - model.mean) / model.std)
        found = model.decode(stages)
    return Proposals(*(value.float() for value in found))
