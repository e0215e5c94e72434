"""Training of the residual block: RPL, and RPL with CoroCL.  The base model is never changed.

References
----------
.. [1] Y. Liu et al., "Residual Pattern Learning for Pixel-wise Out-of-Distribution Detection in
   Semantic Segmentation", ICCV 2023, eqs. (3) and (7), supplement A, and the authors' code.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from owlabel.classes import MAX_CLASSES, OOD_PROXY
from owlabel.models.backbones import Features
from owlabel.models.residual_block import ResidualBlock, block_for, logits_of
from owlabel.models.segmenter import Segmenter
from owlabel_training.core.base_loop import miou
from owlabel_training.ood.data import OodData, OodSampler, pasted_frames
from owlabel_training.ood.entropy_maximisation import at_stride, autocast, device_for
from owlabel_training.ood.loop import Batch
from owlabel_training.ood.losses import Samples, contrastive_loss, rpl_terms
from owlabel_training.ood.measures import Measured, base_score, measure_ood, residual_score
from owlabel_training.ood.recipe import ProxyRecipe, ResidualRecipe

LOWEST_RATE = 1e-8
POWER = 0.9
FEWEST_OBJECTS = 10
"""With fewer objects CoroCL is skipped: there is no context to speak of."""


class ResidualTraining:
    """The method as `owlabel_training.ood.loop.train_ood` drives it.

    Parameters
    ----------
    segmenter : Segmenter
        Frozen, in evaluation mode; its parameters and statistics do not change.
    data : OodData
    proxy : ProxyRecipe
    recipe : ResidualRecipe
    """

    def __init__(
        self, segmenter: Segmenter, data: OodData, proxy: ProxyRecipe, recipe: ResidualRecipe
    ) -> None:
        self.segmenter, self.recipe, self.data = segmenter.eval(), recipe, data
        for parameter in segmenter.parameters():
            parameter.requires_grad_(False)
        self.device = device_for(segmenter)
        torch.manual_seed(recipe.seed)
        self.block = block_for(segmenter)
        self.block.projector = projector(self.block, recipe.projector)
        self.module: nn.Module = self.block.to(self.device)
        self.sampler = OodSampler(data, proxy, recipe)
        self.contrasts = recipe.corocl and len(data.objects) >= FEWEST_OBJECTS
        self.optimiser: torch.optim.Optimizer = self._optimiser()
        self._frames = pasted_frames(data.val, data.val_objects, recipe.seed, proxy.scales)
        self._miou: float | None = None

    def _optimiser(self) -> torch.optim.Adam:
        """Return Adam without weight decay; the residual's last layer learns faster."""
        head = list(self.block.residual.parameters())
        fast = {id(parameter) for parameter in head}
        rest = [p for p in self.block.parameters() if id(p) not in fast]
        rate = self.recipe.lr
        groups: list[dict[str, Any]] = [
            {"params": rest, "highest": rate},
            {"params": head, "highest": rate * self.recipe.head_factor},
        ]
        return torch.optim.Adam(groups, lr=rate)

    @property
    def steps_per_epoch(self) -> int:
        """Steps between two measures: every frame once, always with an object."""
        frames, size = len(self.data.train), self.recipe.batch_size
        return self.recipe.steps_per_epoch or max(1, frames // size)

    def batch(self, step: int) -> Batch:
        """Return frames with pasted objects and, for CoroCL, proxies in their own surroundings."""
        pasted = self.sampler.pasted(step)
        return (*pasted, *self.sampler.context(step)) if self.contrasts else pasted

    def rate_factor(self, done: float) -> float:
        """Return (1 - t)^0.9, at least a floor."""
        return max(float((1 - done) ** POWER), LOWEST_RATE)

    def loss(self, batch: Batch) -> Tensor:
        """Return L_RPL, and L_CoroCL on top where there is a context."""
        images, labels = (torch.cat(parts).to(self.device) for parts in (batch[::2], batch[1::2]))
        features, c, frozen = self._frozen(images)
        self.block.train()
        with autocast(self.device, self.recipe.precision):
            rows, columns = features.low.shape[2:]
            context = self.block.context(features.high, (rows, columns))  # (B, width, h, w)
            city = len(batch[0])
            residual = self.block.residual(context[:city])
            logits = logits_of(self.segmenter, c[:city] + residual)
        logits, target = at_stride(logits.float(), labels[:city], self.recipe.loss_stride)
        frozen, _ = at_stride(frozen[:city], labels[:city], self.recipe.loss_stride)
        loss = rpl_terms(logits, frozen, target).total(self.recipe.beta)
        if not self.contrasts:
            return loss
        projection = self.block.projector(context.float())
        projection, on_grid = at_stride(projection, labels, 4)
        return loss + self._contrast(projection, on_grid, city)

    @torch.no_grad()
    def _frozen(self, images: Tensor) -> tuple[Features, Tensor, Tensor]:
        """Return backbone features, c, and the frozen logits in 32 bits."""
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.recipe.precision):
            features = self.segmenter.features(images)
            c = self.segmenter.head(0).decoder_input(features)
            logits = logits_of(self.segmenter, c)
        return features, c, logits.float()

    def _contrast(self, projection: Tensor, labels: Tensor, city: int) -> Tensor:
        """Return CoroCL on random pixels; 0 where a group is empty or one image holds all OoD."""
        with_ood = (labels == OOD_PROXY).flatten(1).any(dim=1)  # (B,)
        flat = projection.permute(0, 2, 3, 1)  # (B, h, w, R)
        groups = [
            flat[images][wanted[images]]
            for images in (slice(0, city), slice(city, None))
            for wanted in (labels == OOD_PROXY, labels < MAX_CLASSES)
        ]
        n = min(self.recipe.samples, *(len(group) for group in groups))
        if n == 0 or int(with_ood.sum()) < 2:
            return projection.sum() * 0
        drawn = [g[torch.randperm(len(g), device=g.device)[:n]] for g in groups]
        return contrastive_loss(Samples(*drawn), self.recipe.tau, self.recipe.contexts)

    def before(self) -> Measured:
        """Measure the plain energy of the frozen path."""
        ood = measure_ood(base_score(self.segmenter, "energy"), self._frames)
        return Measured(self._closed_set(), **ood)

    def measure(self) -> Measured:
        """Measure the energy of the residual path."""
        self.block.eval()
        ood = measure_ood(residual_score(self.segmenter, self.block), self._frames)
        return Measured(self._closed_set(), **ood)

    def _closed_set(self) -> float:
        """Return the mIoU of the frozen path, measured once: it does not change."""
        if self._miou is None:
            self._miou, _ = miou(self.segmenter, self.data.val)
        return self._miou


def projector(block: ResidualBlock, kind: str) -> nn.Module:
    """Return CoroCL's projector: one 1x1 layer (the method), two, or two with BatchNorm."""
    if kind == "one":
        return block.projector
    width = block.squeeze.out_channels
    channels = block.residual.out_channels
    middle = [nn.BatchNorm2d(width)] if kind == "two_bn" else []
    return nn.Sequential(
        nn.Conv2d(width, width, 1), *middle, nn.ReLU(), nn.Conv2d(width, channels, 1)
    )


def fingerprint(module: nn.Module) -> str:
    """Return a hash of all parameters and buffers, bit for bit."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
