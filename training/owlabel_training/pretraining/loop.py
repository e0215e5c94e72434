"""Contrastive pre-training: backbone and decoder learn, the projector is dropped."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from owlabel.jobs.job import Progress
from owlabel.models.device import chosen_device
from owlabel.models.segmenter import Segmenter
from owlabel_training.core.base_loop import decay_groups, rate_factor, set_group_rates
from owlabel_training.core.infonce import info_nce
from owlabel_training.core.steps import Every, Numbers, RunState, run_steps
from owlabel_training.pretraining.batches import Labelled, ViewSampler
from owlabel_training.pretraining.recipe import PretrainingRecipe

LOG_EVERY = 50
"""Steps over which the logged loss is averaged."""
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


@dataclass
class PretrainingState(RunState):
    """Where a pre-training is, and the running mean of its loss."""

    counters = (*RunState.counters, "mean")

    mean: float = 0.0

    def progress(self, numbers: Numbers, row: Numbers) -> Progress:
        """Return what is reported after a step."""
        return replace(super().progress(numbers, row), message="contrastive pre-training")


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
    state = PretrainingState(
        {"module": module, "optimiser": optimiser},
        work / "state.safetensors",
        recipe.iterations,
        recipe.minutes,
        recipe.seed,
    )
    state.resume()

    def learn(batch: Batch) -> dict[str, float]:
        set_group_rates(optimiser, rate_factor(state.done, recipe.warmup, recipe.power))
        loss = _step(module, optimiser, batch, device, recipe)
        state.mean = 0.98 * state.mean + 0.02 * loss if state.step else loss
        return {"loss": loss}

    yield from run_steps(learn, ViewSampler(source, recipe).batch, state, Every(LOG_EVERY))
    segmenter.cpu().eval()
    return state.mean


def check_count(images: int, recipe: PretrainingRecipe) -> None:
    """Raise ValueError where there are fewer images than a batch holds."""
    if images < recipe.images_per_batch:
        raise ValueError(
            f"a batch holds {recipe.images_per_batch} different images, there "
            f"{'is' if images == 1 else 'are'} only {images}: add images, or lower "
            "images_per_batch (at least 2)"
        )


def _optimiser(module: Projected, recipe: PretrainingRecipe) -> torch.optim.Optimizer:
    """Return AdamW on everything but the layer that names classes."""
    named = {id(p) for p in module.segmenter.head(0).embedding.parameters()}
    learning = [p for p in module.parameters() if id(p) not in named]
    return torch.optim.AdamW(decay_groups(learning, recipe.lr, recipe.weight_decay), lr=recipe.lr)


def _step(
    module: Projected,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    device: torch.device,
    recipe: PretrainingRecipe,
) -> float:
    """One step of descent; return its loss."""
    images, places, labels = (tensor.to(device) for tensor in batch)
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
