"""The training loop of base models: Fabric, running mean of weights, resume, early stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
from owlabel_training.core.log import Log
from owlabel_training.core.metric_losses import hybrid_loss
from owlabel_training.core.recipe import TrainingRecipe

B = TypeVar("B")
SAVE_EVERY_S = 30.0
"""Seconds between two states on disk: what a crash can cost."""


@dataclass
class State:
    """What a run must remember to go on: weights, optimiser, counters."""

    segmenter: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    worse: int = 0


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
    averaged = copy.deepcopy(segmenter).eval()
    network, optimiser = fabric.setup(segmenter, _optimiser(segmenter, recipe))
    state = State(network, fabric.to_device(averaged), optimiser)
    _resume(state, folder / "state.safetensors")
    stream = batches(CropSampler(frames[0], recipe).batch, state.step)
    weight = fabric.to_device(
        torch.from_numpy(class_weights(class_frequencies(frames[0]), recipe.class_weight_cap))
    )
    log = Log(folder)
    saved = time.monotonic()
    while (done := progress(state, recipe)) < 1:
        started = time.monotonic()
        set_rates(optimiser, recipe, done)
        loss = _step(fabric, state, next(stream), recipe, weight)
        state.step += 1
        _average(averaged, segmenter, recipe.ema, state.step)
        state.seconds += time.monotonic() - started
        metrics = {"loss": loss, "minutes": state.seconds / 60}
        if state.step % recipe.validate_every == 0 or progress(state, recipe) >= 1:
            metrics["miou"] = _validate(fabric, state, averaged, frames[1], folder)
            log.write(state.step, metrics)
        if time.monotonic() - saved > SAVE_EVERY_S:
            _save(state, folder / "state.safetensors")
            saved = time.monotonic()
        percent = round(100 * progress(state, recipe))
        yield Progress(state.step, recipe.iterations, f"training, {percent} %", metrics)
        if recipe.patience and state.worse >= recipe.patience:
            break
    _save(state, folder / "state.safetensors")
    segmenter.load_state_dict(run_state.read(folder / "best.safetensors"))
    return segmenter.eval()


def progress(state: State, recipe: TrainingRecipe) -> float:
    """Return how far the run is, 0 .. 1 and beyond: by steps or by minutes, what is further."""
    by_step = state.step / recipe.iterations
    return max(by_step, state.seconds / 60 / recipe.minutes) if recipe.minutes else by_step


def rate_factor(done: float, warmup: float, power: float) -> float:
    """Return the share of the highest learning rate: a linear rise, then (1 - t)^power."""
    if done < warmup:
        return max(done / warmup, 0.01)
    return float(max(1 - (done - warmup) / (1 - warmup), 0.0) ** power)


def set_rates(optimiser: torch.optim.Optimizer, recipe: TrainingRecipe, done: float) -> None:
    """Set every group's learning rate for this moment of the run."""
    factor = rate_factor(done, recipe.warmup, recipe.power)
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
    parts = ((segmenter.backbone, recipe.lr_backbone), (segmenter.heads, recipe.lr))
    for module, highest in parts:
        for decayed in (True, False):
            found = _parameters(module, decayed)
            decay = recipe.weight_decay if decayed else 0.0
            groups.append({"params": found, "highest": highest, "lr": 0.0, "weight_decay": decay})
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9)


def _parameters(module: nn.Module, decayed: bool) -> list[nn.Parameter]:
    return [p for p in module.parameters() if (p.ndim > 1) == decayed]


def batches(make: Callable[[int], B], step: int) -> Iterator[B]:
    """Yield the batches that `make` gives from this step on; a thread makes the next meanwhile."""
    with ThreadPoolExecutor(1) as executor:
        ready = executor.submit(make, step)
        while True:
            step += 1
            batch, ready = ready.result(), executor.submit(make, step)
            yield batch


def _step(
    fabric: Fabric,
    state: State,
    batch: tuple[Tensor, Tensor],
    recipe: TrainingRecipe,
    weight: Tensor,
) -> float:
    """One step of descent; return its loss."""
    images, labels = fabric.to_device(batch)
    torch.manual_seed(recipe.seed + 1_000_003 * state.step)  # dropout, the same after a resume
    state.segmenter.train()
    embedding = state.segmenter(images).float()  # (B, N, h, w)
    stride = recipe.loss_stride
    labels = labels[:, stride // 2 :: stride, stride // 2 :: stride]
    if embedding.shape[2:] != labels.shape[1:]:
        embedding = functional.interpolate(embedding, size=labels.shape[1:], mode="bilinear")
    segmenter = _bare(state.segmenter)
    metric = segmenter.kind == "metric"
    loss = hybrid_loss(
        embedding,
        labels,
        segmenter.prototype_length,
        recipe.variance_weight if metric else 0.0,
        weight if recipe.class_weight_cap > 1 else None,
    )
    state.optimiser.zero_grad()
    fabric.backward(loss)
    fabric.clip_gradients(state.segmenter, state.optimiser, max_norm=10.0)
    state.optimiser.step()
    return float(loss.detach())


def _bare(module: nn.Module) -> Segmenter:
    """Return the segmenter inside Fabric's wrapper."""
    inner = getattr(module, "module", module)
    if not isinstance(inner, Segmenter):
        raise TypeError(f"expected a Segmenter, got {type(inner).__name__}")
    return inner


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


def _validate(
    fabric: Fabric, state: State, averaged: nn.Module, frames: Frames, folder: Path
) -> float:
    """Measure the running mean; keep it where it is the best so far; return its mIoU."""
    with fabric.autocast():
        value, _ = miou(averaged, frames)
    if value > state.best:
        state.best, state.worse = value, 0
        run_state.write(averaged.state_dict(), folder / "best.safetensors")
    else:
        state.worse += 1
    return value


def _save(state: State, path: Path) -> None:
    """Write everything a resumed run needs."""
    run_state.write(
        {
            "segmenter": _bare(state.segmenter).state_dict(),
            "averaged": state.averaged.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "counters": [state.step, state.seconds, state.best, state.worse],
        },
        path,
    )


def _resume(state: State, path: Path) -> None:
    """Go on where an earlier run stopped, if it left a state."""
    if not path.exists():
        return
    saved = run_state.read(path)
    _bare(state.segmenter).load_state_dict(saved["segmenter"])
    state.averaged.load_state_dict(saved["averaged"])
    state.optimiser.load_state_dict(saved["optimiser"])
    state.step, state.seconds, state.best, state.worse = saved["counters"]
