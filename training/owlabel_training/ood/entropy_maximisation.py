"""Entropy maximisation: fine-tune a base model so that it is unsure of OoD objects, and only there.

References
----------
.. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
   Out-Of-Distribution Detection in Semantic Segmentation", 2020, sec. 3.1 and appendix A.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from owlabel.models.device import chosen_device
from owlabel.models.segmenter import Segmenter
from owlabel_training.core.base_loop import miou
from owlabel_training.fewshot.head_training import freeze_statistics
from owlabel_training.ood.data import OodData, OodSampler, pasted_frames
from owlabel_training.ood.loop import Batch
from owlabel_training.ood.losses import entropy_loss
from owlabel_training.ood.measures import Measured, base_score, measure_ood
from owlabel_training.ood.recipe import EntropyRecipe, ProxyRecipe

SCORE = "entropy"
SMALL_BATCH = 4
"""Below this batch size the statistics of BatchNorm are left as they are."""


class EntropyMaximisation:
    """The method as `owlabel_training.ood.loop.train_ood` drives it.

    Parameters
    ----------
    segmenter : Segmenter
        Is changed: nothing is frozen.
    data : OodData
    proxy : ProxyRecipe
    recipe : EntropyRecipe
    """

    def __init__(
        self, segmenter: Segmenter, data: OodData, proxy: ProxyRecipe, recipe: EntropyRecipe
    ) -> None:
        self.module: nn.Module = segmenter
        self.segmenter, self.recipe, self.data = segmenter, recipe, data
        self.sampler = OodSampler(data, proxy, recipe)
        self.device = device_for(segmenter)
        group: dict[str, Any] = {"params": list(segmenter.parameters()), "highest": recipe.lr}
        self.optimiser: torch.optim.Optimizer = torch.optim.Adam([group], lr=recipe.lr)
        self._frames = pasted_frames(data.val, data.val_objects, recipe.seed, proxy.scales)

    @property
    def steps_per_epoch(self) -> int:
        """Steps between two measures."""
        return self.sampler.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Return in-distribution crops and proxies in the recipe's ratio."""
        return self.sampler.mixed(step)

    def loss(self, batch: Batch) -> Tensor:
        """Return the weighted sum of both objectives on the logits z = 2T f."""
        images, labels = (tensor.to(self.device) for tensor in batch)
        self.segmenter.train()
        if self.recipe.freeze_statistics or self.recipe.batch_size < SMALL_BATCH:
            freeze_statistics(self.segmenter)
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.recipe.precision):
            embedding = self.segmenter(images)  # (B, q, h, w)
        logits = embedding.float() * (2 * self.segmenter.prototype_length)
        logits, target = at_stride(logits, labels, self.recipe.loss_stride)
        return entropy_loss(logits, target, self.recipe.lambda_ood, self.recipe.averaging)

    def rate_factor(self, done: float) -> float:
        """Return 1: the paper's Adam has no schedule."""
        del done
        return 1.0

    def before(self) -> Measured:
        """Measure the model before training."""
        return self.measure()

    def measure(self) -> Measured:
        """Measure mIoU on clean frames and the entropy on frames with pasted objects."""
        self.segmenter.eval()
        mean, _ = miou(self.segmenter, self.data.val)
        return Measured(mean, **measure_ood(base_score(self.segmenter, SCORE), self._frames))


def device_for(module: nn.Module) -> torch.device:
    """Move a module to where models are trained, and return where it is."""
    device = chosen_device()
    module.to(device)
    return device


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which convolutions run in 16 bits, if the recipe says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


def at_stride(logits: Tensor, labels: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return logits (B, q, h, w) and labels of every stride-th pixel (B, h, w), the same size."""
    target = labels[:, stride // 2 :: stride, stride // 2 :: stride]
    if logits.shape[2:] != target.shape[1:]:
        logits = functional.interpolate(logits, size=target.shape[1:], mode="bilinear")
    return logits, target
