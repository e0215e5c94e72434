"""The training loop of SimFormer: AdamW, poly, clipping, resume; one yield after every step."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from owlabel.classes import UNSET
from owlabel.jobs.job import Progress
from owlabel.models.device import chosen_device
from owlabel.models.mask.mask_former import MaskFormer, Proposals, semantic_scores
from owlabel_training.core import run_state
from owlabel_training.core.log import Log
from owlabel_training.core.loop import rate_factor
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

SAVE_EVERY_S = 30.0
"""Seconds between two states on disk: what a crash can cost."""
LOG_EVERY = 20
"""Steps over which the logged losses are averaged."""


class Learner:
    """The networks in training, their optimiser, and where the run is.

    Parameters
    ----------
    model : MaskFormer
        Is changed.
    n_base : int
    recipe : WeakShotSettings
    """

    def __init__(self, model: MaskFormer, n_base: int, recipe: WeakShotSettings) -> None:
        self.device = chosen_device()
        self.model, self.n_base, self.recipe = model.to(self.device), n_base, recipe
        self.net = SimNet(model.settings.channels).to(self.device)
        self.optimiser = _optimiser(model, self.net, recipe)
        self.step, self.seconds = 0, 0.0

    @property
    def done(self) -> float:
        """How far the run is: by steps or by minutes, what is further; from 1 on it is over."""
        by_step = self.step / self.recipe.iterations
        minutes = self.recipe.minutes
        return max(by_step, self.seconds / 60 / minutes) if minutes else by_step

    def learn(self, batch: PairBatch) -> dict[str, float]:
        """Take one step of descent; return the losses by name, and "loss", their sum."""
        started, recipe = time.monotonic(), self.recipe
        batch = PairBatch(*(part.to(self.device) for part in batch))
        torch.manual_seed(recipe.seed + 1_000_003 * self.step)  # the same after a resume
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * rate_factor(self.done, 0.0, recipe.power)
        losses = self.losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = [*self.model.parameters(), *self.net.parameters()]
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
        self.optimiser.step()
        self.step += 1
        self.seconds += time.monotonic() - started
        return {name: v.item() for name, v in (losses | {"loss": loss}).items()}

    def losses(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the weighted losses of a batch on the device at this moment of the run."""
        self.model.train()
        self.net.train()
        if self.recipe.freeze_statistics:
            self.model.backbone.eval()
        frozen = self.done < self.recipe.freeze
        found = forward(self.model, batch.images, frozen, self.recipe.precision == "bf16-mixed")
        return batch_losses(found, self.net, batch, self.n_base, self.recipe, self.done)

    def save(self, path: Path) -> None:
        """Write everything a resumed run needs."""
        tree = {
            "model": self.model.state_dict(),
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "counters": [self.step, self.seconds],
        }
        run_state.write(tree, path)

    def resume(self, path: Path) -> None:
        """Go on where an earlier run stopped, if it left a state."""
        if not path.exists():
            return
        saved: Any = run_state.read(path)
        try:
            self.model.load_state_dict(saved["model"])
            self.net.load_state_dict(saved["net"])
            self.optimiser.load_state_dict(saved["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} is the state of another run: begin anew") from error
        self.step, self.seconds = int(saved["counters"][0]), float(saved["counters"][1])


def train_weak_shot(
    model: MaskFormer, frames: WeakFrames, recipe: WeakShotSettings, work: Path
) -> Generator[Progress, None, float]:
    """Train the model in place; yield after every step; return the minutes of all parts of the run.

    Parameters
    ----------
    model : MaskFormer
    frames : WeakFrames
    recipe : WeakShotSettings
    work : Path
        Gets ``state.safetensors`` (resume) and ``log.csv``.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    learner, sampler, log = (
        Learner(model, frames.n_base, recipe),
        PairSampler(frames, recipe),
        Log(work),
    )
    learner.resume(work / "state.safetensors")
    saved, told = time.monotonic(), Means()
    with ThreadPoolExecutor(1) as executor:
        ready = executor.submit(sampler.batch, learner.step)
        while learner.done < 1:
            ready, batch = executor.submit(sampler.batch, learner.step + 1), ready.result()
            told.add(learner.learn(batch))
            metrics: dict[str, float] = {}
            if learner.step % LOG_EVERY == 0 or learner.done >= 1:
                metrics = {**told.take(), "minutes": learner.seconds / 60}
                log.write(learner.step, metrics)
            if time.monotonic() - saved > SAVE_EVERY_S:
                learner.save(work / "state.safetensors")
                saved = time.monotonic()
            message = f"training, {min(round(100 * learner.done), 100)} %"
            yield Progress(learner.step, recipe.iterations, message, metrics)
    learner.save(work / "state.safetensors")
    model.eval()
    return learner.seconds / 60


class Means:
    """Running means of numbers by name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, values: dict[str, float]) -> None:
        """Count one row."""
        self._count += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means since the last time."""
        means = {name: total / max(self._count, 1) for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means


def _optimiser(model: MaskFormer, net: SimNet, recipe: WeakShotSettings) -> torch.optim.Optimizer:
    """Return AdamW: the backbone slower, no decay of biases and normalisation."""
    own = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    groups: list[dict[str, Any]] = []
    for parameters, factor in (
        (list(model.backbone.parameters()), recipe.backbone_factor),
        ([*own, *net.parameters()], 1.0),
    ):
        for decayed in (True, False):
            found = [p for p in parameters if (p.ndim > 1) == decayed]
            decay = recipe.weight_decay if decayed else 0.0
            groups.append({"params": found, "highest": recipe.lr * factor, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=recipe.lr)


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
