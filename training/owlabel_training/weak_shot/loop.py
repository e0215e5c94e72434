"""The training of SimFormer: AdamW, poly, clipping, and its five losses."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from owlabel.classes import UNSET
from owlabel.jobs.job import Progress
from owlabel.models.device import chosen_device
from owlabel.models.mask.mask_former import MaskFormer, Proposals, semantic_scores
from owlabel_training.core.base_loop import decay_groups, rate_factor, set_group_rates
from owlabel_training.core.steps import Every, Numbers, RunState, run_steps
from owlabel_training.weak_shot.data import WeakFrames
from owlabel_training.weak_shot.losses import Targets, cls_loss, comp_loss, mask_loss, targets_of
from owlabel_training.weak_shot.matching import match
from owlabel_training.weak_shot.recipe import WeakShotSettings
from owlabel_training.weak_shot.sampler import PairBatch, PairSampler
from owlabel_training.weak_shot.similarity import (
    DistKind,
    SimNet,
    dist_loss,
    sample,
    sample_pairs,
    sim_loss,
)

LOG_EVERY = 20
"""Steps over which the logged losses are averaged."""


@dataclass
class WeakShotState(RunState):
    """Where a weak-shot training is."""

    def progress(self, numbers: Numbers, row: Numbers) -> Progress:
        """Return what is reported after a step: the means of the log, as single steps are noisy."""
        return replace(super().progress(numbers, row), metrics=row)


class Learner:
    """The networks in training, their optimiser, and where the run is.

    Parameters
    ----------
    model : MaskFormer
        Is changed.
    n_base : int
    recipe : WeakShotSettings
    work : Path, optional
        Folder of the state to resume from.
    """

    def __init__(
        self, model: MaskFormer, n_base: int, recipe: WeakShotSettings, work: Path | None = None
    ) -> None:
        self.device = chosen_device()
        self.model, self.n_base, self.recipe = model.to(self.device), n_base, recipe
        self.net = SimNet(model.settings.channels).to(self.device)
        self.optimiser = _optimiser(model, self.net, recipe)
        self.state = WeakShotState(
            {"model": self.model, "net": self.net, "optimiser": self.optimiser},
            None if work is None else work / "state.safetensors",
            recipe.iterations,
            recipe.minutes,
            recipe.seed,
        )

    def learn(self, batch: PairBatch) -> dict[str, float]:
        """Take one step of descent; return the losses by name, and "loss", their sum."""
        batch = PairBatch(*(tensor.to(self.device) for tensor in batch))
        set_group_rates(self.optimiser, rate_factor(self.state.done, 0.0, self.recipe.power))
        losses = self.losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [*self.model.parameters(), *self.net.parameters()]
        nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        self.optimiser.step()
        return {name: v.item() for name, v in (losses | {"loss": loss}).items()}

    def losses(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the weighted losses of a batch on the device at this moment of the run."""
        self.model.train()
        self.net.train()
        if self.recipe.freeze_statistics:
            self.model.backbone.eval()
        done, bf16 = self.state.done, self.recipe.precision == "bf16-mixed"
        proposals = forward(self.model, batch.images, done < self.recipe.freeze, bf16)
        return batch_losses(proposals, self.net, batch, self.n_base, self.recipe, done)


def train_weak_shot(
    model: MaskFormer, frames: WeakFrames, recipe: WeakShotSettings, work: Path
) -> Generator[Progress, None, float]:
    """Train the model in place; yield after every step; return the minutes that it took in all.

    Parameters
    ----------
    model : MaskFormer
    frames : WeakFrames
    recipe : WeakShotSettings
    work : Path
        Gets ``state.safetensors`` (resume) and ``log.csv``.

    Raises
    ------
    ValueError
        If the folder holds the state of another run.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    learner = Learner(model, frames.n_base, recipe, work)
    learner.state.resume()
    batch = PairSampler(frames, recipe).batch
    yield from run_steps(learner.learn, batch, learner.state, Every(LOG_EVERY))
    model.eval()
    return learner.state.seconds / 60


def _optimiser(model: MaskFormer, net: SimNet, recipe: WeakShotSettings) -> torch.optim.Optimizer:
    """Return AdamW: the backbone slower, no decay of biases and normalisation."""
    own = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    groups = [
        *decay_groups(
            model.backbone.parameters(), recipe.lr * recipe.backbone_factor, recipe.weight_decay
        ),
        *decay_groups([*own, *net.parameters()], recipe.lr, recipe.weight_decay),
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr)


def batch_losses(
    proposals: Proposals,
    net: SimNet,
    batch: PairBatch,
    n_base: int,
    recipe: WeakShotSettings,
    done: float,
) -> dict[str, Tensor]:
    """Return ClsLoss, MaskLoss, CompLoss, SimLoss and DistLoss, weighted; their sum is the loss.

    Parameters
    ----------
    proposals : Proposals
        Of the batch, in 32 bits.
    net : SimNet
    batch : PairBatch
    n_base : int
    recipe : WeakShotSettings
    done : float
        How far the run is, 0 .. 1.
    """  # fmt: skip
    targets = batch_targets(batch, n_base, recipe.loss_stride)
    losses = proposal_losses(proposals, targets, recipe.comp_weight)
    if recipe.similarity == "none":
        return losses
    b = len(batch.images)
    pairs = [(i, i) for i in range(b)] if recipe.similarity == "self" else _across(b)
    labels = _small(batch.labels, proposals.pixels)
    pixels = proposals.pixels.flatten(2).transpose(1, 2)  # (B, h w, C)
    sims, dists = [], []
    novel = batch.present[:, n_base:-1]  # (B, V)
    for i, j in pairs:
        places = sample_pairs((labels[i], labels[j]), n_base, recipe.points)
        if places is not None and recipe.sim_weight:
            pair = (pixels[i][places[0]], pixels[j][places[1]])
            sims.append(sim_loss(net, pair, (labels[i][places[0]], labels[j][places[1]]), n_base))
        if done >= recipe.dist_after and recipe.dist_weight and bool((novel[i] & novel[j]).any()):
            points, kind = recipe.points, recipe.dist_kind
            dist = _pair_dist(proposals, net, (labels, n_base), (i, j), (points, kind))
            dists += [] if dist is None else [dist]
    zero = proposals.class_logits.sum() * 0
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
    proposals: Proposals, targets: list[Targets], comp_weight: float
) -> dict[str, Tensor]:
    """Return ClsLoss, MaskLoss and CompLoss summed over decoder layers, each with its matching."""
    total: dict[str, list[Tensor]] = {"cls": [], "mask": [], "comp": []}
    for classes, masks in zip(proposals.class_logits, proposals.mask_logits, strict=True):
        matches = [match(*image) for image in zip(classes, masks, targets, strict=True)]
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
    proposals: Proposals,
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
        masks = proposals.mask_logits[-1, i].flatten(1)[:, places, None]  # (Q, J, 1)
        novel_scores = semantic_scores(proposals.class_logits[-1, i], masks)[n_base:, :, 0]
        scores.append(novel_scores.T)  # (J, V)
        pixels.append(proposals.pixels[i].flatten(1)[:, places].T.detach())  # (J, C)
    return dist_loss(net, (pixels[0], pixels[1]), (scores[0], scores[1]), kind)


def forward(model: MaskFormer, images: Tensor, frozen: bool, bf16: bool) -> Proposals:
    """Return the proposals in 32 bits; with a frozen backbone no gradient reaches it."""
    device = images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        with torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            stages = model.backbone.pyramid((images - model.mean) / model.std)
        proposals = model.decode(stages)
    return Proposals(*(value.float() for value in proposals))
