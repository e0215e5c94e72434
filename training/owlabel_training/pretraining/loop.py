"""The loop of contrastive pre-training: backbone and decoder learn, the projector is dropped."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import torch
from torch import Tensor, nn

from owlabel.jobs.job import Progress
from owlabel.models.device import chosen_device
from owlabel.models.segmenter import Segmenter
from owlabel_training.core import run_state
from owlabel_training.core.infonce import info_nce
from owlabel_training.core.log import Log
from owlabel_training.core.loop import batches, rate_factor
from owlabel_training.ood.loop import set_group_rates
from owlabel_training.pretraining.batches import Labelled, ViewSampler
from owlabel_training.pretraining.recipe import PretrainingRecipe

SAVE_EVERY_S = 30.0
"""Seconds between two states on disk: what a crash can cost."""
LOG_EVERY = 50
Batch = tuple[Tensor, Tensor, Tensor]


class Projected(nn.Module):
    """A segmenter's backbone and decoder, and the projector into the space of the contrast."""

    def __init__(self, segmenter: Segmenter, size: int) -> None:
        super().__init__()
        width = int(segmenter.settings["width"])
        self.segmenter = segmenter
        self.projector = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size)
        )  # fmt: skip

    def forward(self, images: Tensor, places: Tensor) -> Tensor:
        """Return the projections of chosen pixels: (B, 3, s, s) and (A,) to (A, R)."""
        features = self.segmenter.features(images)
        decoded = self.segmenter.head(0).decode(features)  # (B, width, s / 4, s / 4)
        rows = decoded.permute(0, 2, 3, 1).reshape(-1, decoded.shape[1])[places]  # (A, width)
        projected: Tensor = self.projector(rows)
        return projected


def pretrain(
    segmenter: Segmenter, source: Labelled, recipe: PretrainingRecipe, work: Path
) -> Generator[Progress, None, float]:
    """Train backbone and decoder; yield after every step; return the mean loss of the last steps.

    Parameters
    ----------
    segmenter : Segmenter
        Is changed, but for the layer that names classes.
    source : Labelled
        At least `images_per_batch` images.
    recipe : PretrainingRecipe
    work : Path
        Gets ``state.safetensors`` (resume) and ``log.csv``.

    Raises
    ------
    ValueError
        If there are too few images.
    """
    check_count(len(source), recipe)
    work.mkdir(parents=True, exist_ok=True)
    device = chosen_device()
    torch.manual_seed(recipe.seed)
    segmenter.to(memory_format=torch.channels_last)
    module = Projected(segmenter, recipe.projection).to(device)
    optimiser = _optimiser(module, recipe)
    step, seconds, mean = _resume(module, optimiser, work / "state.safetensors")
    stream = batches(ViewSampler(source, recipe).batch, step)
    log, saved = Log(work), time.monotonic()
    while (done := _done(step, seconds, recipe)) < 1:
        started = time.monotonic()
        set_group_rates(optimiser, lambda t: rate_factor(t, recipe.warmup, recipe.power), done)
        torch.manual_seed(recipe.seed + 1_000_003 * step)  # dropout, the same after a resume
        loss = _step(module, optimiser, next(stream), device, recipe)
        step, seconds = step + 1, seconds + time.monotonic() - started
        mean = loss if step == 1 else 0.98 * mean + 0.02 * loss
        if step % LOG_EVERY == 0:
            log.write(step, {"loss": mean, "minutes": seconds / 60})
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(module, optimiser, (step, seconds, mean), work / "state.safetensors")
            saved = time.monotonic()
        yield Progress(step, recipe.iterations, "contrastive pre-training", {"loss": loss})
    _save(module, optimiser, (step, seconds, mean), work / "state.safetensors")
    segmenter.cpu().eval()
    return mean


def check_count(images: int, recipe: PretrainingRecipe) -> None:
    """Raise ValueError where there are fewer images than a batch holds."""
    if images < recipe.images_per_batch:
        raise ValueError(
            f"a batch holds {recipe.images_per_batch} different images, there "
            f"{'is' if images == 1 else 'are'} only {images}: add images, or lower "
            "images_per_batch (at least 2)"
        )


def _done(step: int, seconds: float, recipe: PretrainingRecipe) -> float:
    by_step = step / recipe.iterations
    return max(by_step, seconds / 60 / recipe.minutes) if recipe.minutes else by_step


def _optimiser(module: Projected, recipe: PretrainingRecipe) -> torch.optim.Optimizer:
    """Return AdamW; no decay of biases and normalisation."""
    module.segmenter.head(0).embedding.requires_grad_(False)
    groups = [
        {
            "params": [
                p for p in module.parameters() if p.requires_grad and (p.ndim > 1) == decayed
            ],
            "highest": recipe.lr,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    module.segmenter.head(0).embedding.requires_grad_(True)
    return torch.optim.AdamW(groups, lr=recipe.lr)


def _step(
    module: Projected,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    device: torch.device,
    recipe: PretrainingRecipe,
) -> float:
    """One step of descent; return its loss."""
    images, places, labels = (part.to(device) for part in batch)
    if not len(places):
        return 0.0  # nothing in these views belongs together
    module.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16-mixed"):
        projected = module(images.contiguous(memory_format=torch.channels_last), places)
    loss = info_nce(projected.float(), projected.float(), (labels, labels), recipe.tau)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), 10.0)
    optimiser.step()
    return float(loss.detach())


def _save(
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    counters: tuple[int, float, float],
    path: Path,
) -> None:
    tree = {
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "counters": list(counters),
    }
    run_state.write(tree, path)


def _resume(
    module: nn.Module, optimiser: torch.optim.Optimizer, path: Path
) -> tuple[int, float, float]:
    """Go on where an earlier run stopped; return its step, seconds and mean loss."""
    if not path.exists():
        return 0, 0.0, 0.0
    saved = run_state.read(path)
    module.load_state_dict(saved["module"])
    optimiser.load_state_dict(saved["optimiser"])
    step, seconds, mean = saved["counters"]
    return int(step), float(seconds), float(mean)
