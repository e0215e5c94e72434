"""Training of one PLM head on cached features: the newest head learns, all else is frozen."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from owlabel.jobs.job import Progress
from owlabel.models.deeplab_head import DeepLabHead
from owlabel_training.core import run_state
from owlabel_training.core.metric_losses import dce_loss
from owlabel_training.fewshot.shots import Cache, CropPlan

SAVE_EVERY_S = 5.0
"""Seconds between two states on disk: what a crash can cost."""


@dataclass(frozen=True)
class PlmRecipe:
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

    iterations: int = 500
    batch_size: int = 5
    lr: float = 1e-2
    weight_decay: float = 1e-4
    seed: int = 0
    plan: CropPlan = field(default_factory=CropPlan)

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch_size < 1 or self.lr <= 0:
            raise ValueError(
                "iterations, batch_size and lr must be positive, got "
                f"{self.iterations}, {self.batch_size} and {self.lr}"
            )

    @classmethod
    def for_shots(
        cls, shots: int, *, iterations: int = 500, lr: float | None = None, seed: int = 0
    ) -> PlmRecipe:
        """Return the recipe for a number of shots: batch 1 and rate 1e-3 for a single one."""
        rate = lr if lr is not None else (1e-3 if shots == 1 else 1e-2)
        return cls(iterations, 1 if shots == 1 else 5, rate, seed=seed)


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
    path = None if work is None else work / "head.safetensors"
    step, losses = _resume(head, optimiser, path)
    if step == 0 and recipe.batch_size == 1:
        torch.manual_seed(recipe.seed)
        _settle_statistics(head, cache)
    saved = time.monotonic()
    while step < recipe.iterations:
        optimiser.param_groups[0]["lr"] = recipe.lr * (1 - step / recipe.iterations) ** 0.9
        losses.append(_step(head, cache, optimiser, prototype_length, recipe, step))
        step += 1
        yield Progress(step, recipe.iterations, "training the new head", {"loss": losses[-1]})
        if path is not None and (
            time.monotonic() - saved > SAVE_EVERY_S or step == recipe.iterations
        ):
            _save(head, optimiser, step, losses, path)
            saved = time.monotonic()
    head.eval()
    return float(np.mean(losses[-20:]))


def _step(
    head: DeepLabHead,
    cache: Cache,
    optimiser: torch.optim.Optimizer,
    prototype_length: float,
    recipe: PlmRecipe,
    step: int,
) -> float:
    """One step; its crops and its dropout depend on the seed and the step alone."""
    rng = np.random.default_rng([recipe.seed, step])
    torch.manual_seed(int(rng.integers(2**31)))
    size = min(recipe.batch_size, len(cache))
    features, target = cache.batch(rng.choice(len(cache), size, replace=False))
    head.train()
    if size == 1:
        freeze_statistics(head)
    device = target.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device != "cpu" or fast_bfloat16()):
        embedding = head(features)
    loss = dce_loss(embedding.float(), target, prototype_length)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


def fast_bfloat16() -> bool:
    """Return whether this CPU multiplies 16-bit floats in hardware: half the time of a step."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def freeze_statistics(module: nn.Module) -> None:
    """Put every BatchNorm in evaluation mode: the pooled branch sees 1x1 maps."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


@torch.no_grad()
def _settle_statistics(head: DeepLabHead, cache: Cache) -> None:
    """Set the BatchNorm statistics of a fresh head to those of the cached features.

    With batches of one they would stay at 0 and 1, which no feature has.
    """
    norms = [part for part in head.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all that comes
    head.train()
    size = min(8, len(cache))
    for first in range(0, len(cache) - size + 1, size):
        head(cache.batch(np.arange(first, first + size))[0])
    for norm in norms:
        norm.momentum = 0.1


def _save(
    head: DeepLabHead,
    optimiser: torch.optim.Optimizer,
    step: int,
    losses: list[float],
    path: Path,
) -> None:
    tree = {
        "step": step,
        "losses": losses,
        "head": head.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    run_state.write(tree, path)


def _resume(
    head: DeepLabHead, optimiser: torch.optim.Optimizer, path: Path | None
) -> tuple[int, list[float]]:
    """Go on where an earlier run stopped; return its step and losses."""
    if path is None or not path.exists():
        return 0, []
    saved = run_state.read(path)
    head.load_state_dict(saved["head"])
    optimiser.load_state_dict(saved["optimiser"])
    return int(saved["step"]), [float(loss) for loss in saved["losses"]]
