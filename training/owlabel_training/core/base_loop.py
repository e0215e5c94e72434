"""The training of base models: Fabric, running mean of weights, early stop."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from owlabel.jobs.job import Progress
from owlabel.models.device import chosen_device
from owlabel.models.segmenter import Segmenter
from owlabel_training.core import run_state
from owlabel_training.core.data import CropSampler, Frames, class_frequencies, class_weights
from owlabel_training.core.metric_losses import hybrid_loss
from owlabel_training.core.recipe import TrainingRecipe
from owlabel_training.core.steps import Every, Numbers, RunState, run_steps


@dataclass
class BaseState(RunState):
    """Where base training is, the best mIoU, and how many validations in a row were no better."""

    counters = (*RunState.counters, "best", "worse")

    patience: int = 0
    best: float = -1.0
    worse: int = 0

    @property
    def over(self) -> bool:
        """True at the end, or where the mIoU has stopped rising."""
        return super().over or (self.patience > 0 and self.worse >= self.patience)

    def progress(self, numbers: Numbers, row: Numbers) -> Progress:
        """Return what is reported after a step, with the minutes."""
        return super().progress({**numbers, "minutes": self.seconds / 60}, row)


def train(
    segmenter: Segmenter, frames: tuple[Frames, Frames], recipe: TrainingRecipe, folder: Path
) -> Generator[Progress, None, Segmenter]:
    """Train; yield after every step; return the weights that did best on the validation frames.

    Parameters
    ----------
    segmenter : Segmenter
        Is changed.
    frames : tuple of Frames
        To train on and to validate on.
    recipe : TrainingRecipe
    folder : Path
        Gets ``state.safetensors`` (resume), ``best.safetensors`` and ``log.csv``.
    """
    device = chosen_device()
    places = 1 if device.index is None else [device.index]
    fabric = Fabric(accelerator=device.type, devices=places, precision=recipe.precision)  # type: ignore[arg-type]
    segmenter.to(memory_format=torch.channels_last)
    averaged = fabric.to_device(copy.deepcopy(segmenter).eval())
    network, optimiser = fabric.setup(segmenter, _optimiser(segmenter, recipe))
    state = BaseState(
        {"segmenter": segmenter, "averaged": averaged, "optimiser": optimiser},
        folder / "state.safetensors",
        recipe.iterations,
        recipe.minutes,
        recipe.seed,
        patience=recipe.patience,
    )
    state.resume()
    weight = fabric.to_device(
        torch.from_numpy(class_weights(class_frequencies(frames[0]), recipe.class_weight_cap))
    )

    def learn(batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        factor = rate_factor(state.done, recipe.warmup, recipe.power)
        set_group_rates(optimiser, factor)
        network.train()
        loss = _loss(segmenter, network, fabric.to_device(batch), recipe, weight)
        optimiser.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(network, optimiser, max_norm=10.0)
        optimiser.step()
        _average(averaged, segmenter, recipe.ema, state.step + 1)
        return {"loss": float(loss.detach())}

    def validate() -> dict[str, float]:
        with fabric.autocast():
            value, _ = miou(averaged, frames[1])
        if value > state.best:
            state.best, state.worse = value, 0
            run_state.write(averaged.state_dict(), folder / "best.safetensors")
        else:
            state.worse += 1
        return {"miou": value}

    every = Every(recipe.validate_every)
    yield from run_steps(learn, CropSampler(frames[0], recipe).batch, state, every, validate)
    segmenter.load_state_dict(run_state.read(folder / "best.safetensors"))
    return segmenter.eval()


def rate_factor(done: float, warmup: float, power: float) -> float:
    """Return the share of the highest learning rate: a linear rise, then (1 - t)^power."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return float(max(1 - (done - warmup) / (1 - warmup), 0.0) ** power)


def set_group_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to this share of its highest."""
    for group in optimiser.param_groups:
        group["lr"] = group["highest"] * factor


def miou(segmenter: nn.Module, frames: Frames) -> tuple[float, NDArray[np.float64]]:
    """Return the mean IoU of whole frames, pixels pooled, and the IoU per class (NaN: absent).

    Without a labelled pixel the mean is NaN, too.
    """
    n = len(frames.classes)
    counts = np.zeros((n, n), np.int64)
    for image, label in zip(frames.images, frames.labels, strict=True):
        predicted = predict(segmenter, image).numpy()
        valid = label < n
        pair = label[valid].astype(np.int64) * n + predicted[valid]
        counts += np.bincount(pair, minlength=n * n).reshape(n, n)
    hit = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - hit
    with np.errstate(invalid="ignore"):
        iou = np.where(counts.sum(1) > 0, hit / union, np.nan)
    return (float(np.nanmean(iou)) if counts.any() else math.nan), iou


@torch.inference_mode()
def predict(segmenter: nn.Module, image: NDArray[np.uint8]) -> Tensor:
    """Return the base class map of one whole image: (H, W, 3) to int64 (H, W)."""
    device = next(segmenter.parameters()).device
    batch = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
    embedding = segmenter(batch.contiguous(memory_format=torch.channels_last))
    full = functional.interpolate(embedding, size=image.shape[:2], mode="bilinear")
    return full[0].argmax(dim=0).cpu()


def _optimiser(segmenter: Segmenter, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    """Return the optimiser: backbone and heads apart, no decay of biases and normalisation."""
    groups: list[dict[str, Any]] = []
    modules = ((segmenter.backbone, recipe.lr_backbone), (segmenter.heads, recipe.lr))
    for module, highest in modules:
        groups += decay_groups(module.parameters(), highest, recipe.weight_decay)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9)


def decay_groups(
    parameters: Iterable[nn.Parameter], highest: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return two groups of an optimiser: with weight decay; biases and normalisation without."""
    known = list(parameters)
    return [
        {
            "params": [p for p in known if (p.ndim > 1) == decayed],
            "highest": highest,
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]


def _loss(
    segmenter: Segmenter,
    network: nn.Module,
    batch: tuple[Tensor, Tensor],
    recipe: TrainingRecipe,
    weight: Tensor,
) -> Tensor:
    """Return the loss of a batch; `network` is the segmenter inside Fabric's wrapper."""
    images, labels = batch
    embedding = network(images).float()  # (B, N, h, w)
    stride = recipe.loss_stride
    labels = labels[:, stride // 2 :: stride, stride // 2 :: stride]
    if embedding.shape[2:] != labels.shape[1:]:
        embedding = functional.interpolate(embedding, size=labels.shape[1:], mode="bilinear")
    return hybrid_loss(
        embedding,
        labels,
        segmenter.prototype_length,
        recipe.variance_weight if segmenter.kind == "metric" else 0.0,
        weight if recipe.class_weight_cap > 1 else None,
    )


@torch.no_grad()
def _average(averaged: nn.Module, segmenter: nn.Module, decay: float, step: int) -> None:
    """Move the running mean of weights and statistics towards the network."""
    decay = min(decay, (1 + step) / (10 + step))  # a short memory while weights move fast
    means, values = list(averaged.state_dict().values()), list(segmenter.state_dict().values())
    floating = [mean.dtype.is_floating_point for mean in means]
    smooth = [mean for mean, is_float in zip(means, floating, strict=True) if is_float]
    torch._foreach_lerp_(
        smooth, [v for v, is_float in zip(values, floating, strict=True) if is_float], 1 - decay
    )
    for mean, value, is_float in zip(means, values, floating, strict=True):
        if not is_float:
            mean.copy_(value)
