"""Training of one PLM head on cached features: the newest head learns, all else is frozen."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from owlabel.checked_fields import CheckedFields, Seed, Steps
from owlabel.jobs.job import Progress
from owlabel.jobs.requests.plm import PLM_STEPS
from owlabel.models.backbones import Features
from owlabel.models.deeplab_head import DeepLabHead
from owlabel_training.core.metric_losses import dce_loss
from owlabel_training.core.recipe import NotNegative, Positive
from owlabel_training.core.steps import Every, Numbers, RunState, run_steps
from owlabel_training.fewshot.shots import Cache, CropPlan

SAVE_EVERY_S = 5.0
"""Seconds between two states on disk: what a crash can cost."""


class PlmRecipe(CheckedFields):
    """Pseudo-label method; the defaults are the 5-shot run of DMLNet, supplement B.1.

    Attributes
    ----------
    iterations : int
    batch_size : int
        With a single crop the head's BatchNorm stays in evaluation mode.
    lr : float
        Of SGD with momentum 0.9; falls as (1 - t)^0.9.
    weight_decay : float
    seed : int
    plan : CropPlan
        Crops of each shot.
    """

    iterations: Steps = PLM_STEPS
    batch_size: Annotated[int, Field(ge=1)] = 5
    lr: Positive = 1e-2
    weight_decay: NotNegative = 1e-4
    seed: Seed = 0
    plan: CropPlan = CropPlan()

    @classmethod
    def for_shots(cls, shots: int, *, lr: float | None = None, **changes: Any) -> PlmRecipe:
        """Return the recipe for a number of shots: batch 1 and rate 1e-3 for a single one."""
        usual = {"batch_size": 1, "lr": 1e-3} if shots == 1 else {}
        return cls(**(usual | ({} if lr is None else {"lr": lr}) | changes))


@dataclass
class HeadState(RunState):
    """Where the training of a head is, and the losses of its steps."""

    counters = (*RunState.counters, "losses")

    losses: list[float] = field(default_factory=list)

    def progress(self, numbers: Numbers, row: Numbers) -> Progress:
        """Return what is reported after a step."""
        return replace(super().progress(numbers, row), message="training the new head")


def train_head(
    head: DeepLabHead,
    cache: Cache,
    prototype_length: float,
    recipe: PlmRecipe,
    work: Path | None = None,
) -> Generator[Progress, None, float]:
    """Train a head; yield after every step; return the last losses' mean.

    Parameters
    ----------
    head : DeepLabHead
        Is changed; nothing else is.
    cache : Cache
    prototype_length : float
        2T scales the logits; a softmax head is divided by it outside, so its f is used as it is.
    recipe : PlmRecipe
    work : Path, optional
        Folder of the state to resume from.
    """
    optimiser = torch.optim.SGD(
        head.parameters(), recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay
    )
    state = HeadState(
        {"head": head, "optimiser": optimiser},
        None if work is None else work / "head.safetensors",
        recipe.iterations,
    )
    state.resume()
    if state.step == 0 and recipe.batch_size == 1:
        torch.manual_seed(recipe.seed)
        _settle_statistics(head, cache)

    def batch(step: int) -> tuple[int, Features, Tensor]:
        """Return the seed of a step's dropout and its crops."""
        rng = np.random.default_rng([recipe.seed, step])
        dropout_seed, size = int(rng.integers(2**31)), min(recipe.batch_size, len(cache))
        return dropout_seed, *cache.batch(rng.choice(len(cache), size, replace=False))

    def learn(batch: tuple[int, Features, Tensor]) -> dict[str, float]:
        dropout_seed, features, target = batch
        torch.manual_seed(dropout_seed)
        optimiser.param_groups[0]["lr"] = recipe.lr * (1 - state.done) ** 0.9
        loss = _loss(head, features, target, prototype_length)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        state.losses.append(float(loss.detach()))
        return {"loss": state.losses[-1]}

    yield from run_steps(learn, batch, state, Every(seconds=SAVE_EVERY_S))
    head.eval()
    return float(np.mean(state.losses[-20:]))


def _loss(head: DeepLabHead, features: Features, target: Tensor, prototype_length: float) -> Tensor:
    """Return the loss of some crops."""
    head.train()
    if len(target) == 1:
        freeze_statistics(head)
    device = target.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device != "cpu" or fast_bfloat16()):
        embedding = head(features)
    return dce_loss(embedding.float(), target, prototype_length)


def fast_bfloat16() -> bool:
    """Return whether this CPU multiplies 16-bit floats in hardware: half the time of a step."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def freeze_statistics(module: nn.Module) -> None:
    """Put every BatchNorm in evaluation mode: the pooled branch sees 1x1 maps."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


@torch.no_grad()
def _settle_statistics(head: DeepLabHead, cache: Cache) -> None:
    """Set the BatchNorm statistics of a fresh head to those of the cached features.

    With batches of one they would stay at 0 and 1, which no feature has.
    """
    norms = [layer for layer in head.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    head.train()
    size = min(8, len(cache))
    for first in range(0, len(cache) - size + 1, size):
        head(cache.batch(np.arange(first, first + size))[0])
    for norm in norms:
        norm.momentum = 0.1
