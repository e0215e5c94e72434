"""The training loop of SimFormer: AdamW, poly, clipping, resume; one yield after every step."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from owlabel.jobs.job import Progress
from owlabel.models.device import chosen_device
from owlabel.models.mask_former import MaskFormer
from owlabel_training import states
from owlabel_training.log import Log
from owlabel_training.loop import rate_factor
from owlabel_training.weak_shot_data import WeakFrames
from owlabel_training.weak_shot_recipe import WeakShotSettings
from owlabel_training.weak_shot_sampler import PairBatch, PairSampler
from owlabel_training.weak_shot_similarity import SimNet
from owlabel_training.weak_shot_step import batch_losses, forward

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
        states.write(tree, path)

    def resume(self, path: Path) -> None:
        """Go on where an earlier run stopped, if it left a state."""
        if not path.exists():
            return
        saved: Any = states.read(path)
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
