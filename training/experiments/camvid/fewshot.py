"""PLM, fine-tuning and the support frames of CamVid: the experiments that train something."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.camvid.measures import Outputs, incremental, run_head, run_model
from experiments.camvid.protocol import SEEDS, Setting
from owlabel.arrays import embedding_grid
from owlabel.classes import VOID
from owlabel.jobs.job import run_to_end
from owlabel.models.segmenter import Segmenter
from owlabel.novel import prototypes as fewshot
from owlabel_training.core.data import CropSampler, Frames
from owlabel_training.core.metric_losses import dce_loss
from owlabel_training.core.recipe import TrainingRecipe
from owlabel_training.fewshot.head_training import PlmRecipe, freeze_statistics, train_head
from owlabel_training.fewshot.job import loss_length
from owlabel_training.fewshot.shots import Shot, build_cache

Pixels = NDArray[np.uint8]
FINE_TUNING_STEPS = 60


def support_names(setting: Setting) -> list[str]:
    """Return every support frame of a setting once, in a fixed order."""
    names = [
        name
        for seed in SEEDS
        for index in range(len(setting.novel))
        for name in setting.shots(seed, index, 5)
    ]
    return sorted(set(names))


def read_shot(frames: Frames, name: str, setting: Setting, index: int) -> Shot:
    """Return a support frame with all pixels of the class; other novel classes are ignored."""
    i = frames.names.index(name)
    truth = setting.truth(frames.labels[i])
    class_id = setting.novel_ids[index]
    others = (truth >= setting.n) & (truth != class_id) & (truth != VOID)
    return Shot(frames.images[i], truth == class_id, others)


def plm_run(
    base: Segmenter, outputs: Outputs, support: Frames, setting: Setting, seed: int, count: int
) -> dict[str, Any]:
    """Add the novel classes one after another and measure after each (PLM_all)."""
    segmenter = copy.deepcopy(base)
    maps = [labels.copy() for labels in outputs.base_maps]
    stages: dict[str, Any] = {}
    seconds = []
    for index, class_id in enumerate(setting.novel_ids):
        shots = [read_shot(support, n, setting, index) for n in setting.shots(seed, index, count)]
        started = time.monotonic()
        train_new_head(segmenter, shots, class_id, PlmRecipe.for_shots(count, seed=seed))
        seconds.append(round(time.monotonic() - started, 1))
        heads = run_head(segmenter, outputs, index + 1)
        for i, found in enumerate(heads):
            maps[i][fewshot.newest_mask(found, outputs.shape(i))] = class_id
        stages[f"{setting.n}+{index + 1}"] = incremental(outputs, maps, setting, index + 1)
    return {"stages": stages, "seconds_per_head": seconds}


def train_new_head(
    segmenter: Segmenter, shots: Sequence[Shot], class_id: int, recipe: PlmRecipe
) -> None:
    """Train a complete new head for a class; everything else stays as it is."""
    torch.manual_seed(recipe.seed)
    head = segmenter.renew_head(class_id)
    cache = build_cache(segmenter, shots, class_id, recipe.plan, recipe.seed)
    run_to_end(train_head(head, cache, loss_length(segmenter), recipe))


def fine_tuning(
    base: Segmenter, test: Frames, support: Frames, setting: Setting, seed: int, count: int
) -> dict[str, Any]:
    """Train the whole network on the annotated pixels alone: the baseline that forgets.

    All novel classes at once; every pixel that nobody annotated is ignored.
    """
    segmenter = _widened(base, len(setting.novel))
    shots = _annotated(support, setting, seed, count)
    recipe = TrainingRecipe(
        iterations=FINE_TUNING_STEPS,
        batch_size=5,
        crop=(240, 240),
        scale=(0.75, 1.25),
        jitter=0.3,
        rare_share=0.0,
        seed=seed,
    )
    sampler = CropSampler(shots, recipe)
    optimiser = torch.optim.SGD(segmenter.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    segmenter.train()
    freeze_statistics(segmenter)
    for step in range(FINE_TUNING_STEPS):
        optimiser.param_groups[0]["lr"] = 0.01 * (1 - step / FINE_TUNING_STEPS) ** 0.9
        images, labels = sampler.batch(step)
        embedding = segmenter(images)
        loss = dce_loss(embedding, labels[:, 2::4, 2::4], segmenter.prototype_length)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    outputs = run_model(segmenter.eval(), test)
    return incremental(outputs, outputs.base_maps, setting)


def _widened(base: Segmenter, more: int) -> Segmenter:
    """Return a copy whose base head has outputs for the novel classes too."""
    torch.manual_seed(0)
    wide = Segmenter(
        base.architecture,
        base.settings,
        base.n_classes + more,
        kind=base.kind,
        prototype_length=base.prototype_length,
    )
    state, own = base.state_dict(), wide.state_dict()
    for key, value in own.items():
        if value.shape == state[key].shape:
            own[key] = state[key]
        elif "prototypes" not in key:
            own[key] = torch.cat([state[key], value[base.n_classes :]])
    wide.load_state_dict(own)
    return wide.to(memory_format=torch.channels_last)


def _annotated(support: Frames, setting: Setting, seed: int, count: int) -> Frames:
    """Return the support frames with only what was annotated in them."""
    images, labels, names = [], [], []
    for index, class_id in enumerate(setting.novel_ids):
        for name in setting.shots(seed, index, count):
            shot = read_shot(support, name, setting, index)
            images.append(shot.image)
            labels.append(np.where(shot.mask, np.uint8(class_id), np.uint8(VOID)))
            names.append(name)
    return Frames(tuple(names), tuple(images), tuple(labels), support.classes)


def upper_bound(
    segmenter: Segmenter, test: Frames, settings: Sequence[Setting], lookup: Callable[[str], int]
) -> dict[str, Any]:
    """Return what a model of all classes reaches in the terms of each setting."""
    outputs = run_model(segmenter, test)
    maps = [
        embedding_grid.argmax_upsampled(g, outputs.shape(i)) for i, g in enumerate(outputs.grids)
    ]
    result = {}
    for setting in settings:
        compact = np.full(256, VOID, np.uint8)
        for new_id, name in enumerate([*setting.known, *setting.novel]):
            compact[lookup(name)] = new_id
        result[setting.name] = incremental(outputs, [compact[m] for m in maps], setting)
    return result
