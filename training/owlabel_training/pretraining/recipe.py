"""Recipes of contrastive pre-training: which labels, which views, how long."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from owlabel.checked_fields import CheckedFields, Minutes, Seed, Steps
from owlabel.clusters.auxiliary_settings import AuxiliarySettings
from owlabel_training.core.recipe import (
    Crop,
    DataRecipe,
    ModelRecipe,
    Name,
    NotNegative,
    Positive,
    Precision,
    Scale,
    Section,
    Share,
)

Positives = Literal["pixel", "superpixel", "auxiliary"]
STEP = 16
"""Sides of crops are multiples of this: the backbone's stride."""


class PretrainingRecipe(CheckedFields):
    """How the backbone and decoder are pre-trained; the defaults are the CPU-sized ones.

    Attributes
    ----------
    positives : {"pixel", "superpixel", "auxiliary"}
        Conditions #1 (the same pixel in two views), #2 (the same superpixel) and #3 to #9 (the same
        auxiliary label, in any image) of the paper's Table 1.
    iterations : int
    minutes : float
        Wall time at most; 0 is no limit.
    images_per_batch : int
        At least 2: positives of other images are the point of the method.  Two views of each.
    crop : tuple of int
        Smallest and largest side of a view; [321, 361] in the paper.
    scale : tuple of float
        [0.4, 2.5] in the paper.
    rotation : float
        Degrees, to both sides; 60 in the paper.
    jitter, hue : float
        Of brightness, contrast and saturation; of the hue circle.
    grey : float
        Probability.
    cutout : int
        Side of the square that is blotted out, drawn from 0 up to this.
    anchors : int
        Pixels of a batch; 1,024 in public code.
    per_label : int
        Of one label in one image, at most.
    tau : float
        Temperature.
    projection : int
        Length of the projected embedding.
    lr, weight_decay, warmup, power : float
        AdamW; the rate rises, then falls as (1 - t)^power.
    precision : {"32-true", "bf16-mixed"}
    seed : int

    References
    ----------
    .. [1] "Looking Beyond Single Images", supplement, Table 8 (views).  Optimiser, rates, batch and
       steps are not given there: chosen here.
    """

    positives: Positives = "auxiliary"
    iterations: Steps = 1000
    minutes: Minutes = 0.0
    images_per_batch: Annotated[int, Field(ge=2)] = 4
    crop: Crop = (192, 224)
    scale: Scale = (0.5, 2.0)
    rotation: Annotated[float, Field(ge=0, le=180)] = 30.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    grey: Annotated[float, Field(ge=0, le=1)] = 0.2
    cutout: Annotated[int, Field(ge=0)] = 40
    anchors: int = 512
    per_label: Annotated[int, Field(ge=2)] = 50
    tau: Positive = 0.1
    projection: Annotated[int, Field(ge=1)] = 128
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.02
    warmup: Share = 0.05
    power: NotNegative = 0.9
    precision: Precision = "32-true"
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits_together(self) -> PretrainingRecipe:
        least = 4 * self.images_per_batch
        if self.anchors < least:
            raise ValueError(
                f"anchors must be at least 4 for each image of a batch ({least}), got "
                f"{self.anchors}"
            )
        if not self.sides:
            raise ValueError(
                f"crop must be two rising numbers with a multiple of {STEP} between them, got "
                f"{list(self.crop)}"
            )
        if self.cutout >= self.crop[0]:
            raise ValueError(f"cutout must be less than {self.crop[0]} (crop), got {self.cutout}")
        return self

    @property
    def sides(self) -> range:
        """The sides that a crop may have."""
        return range(-(-self.crop[0] // STEP) * STEP, self.crop[1] + 1, STEP)


class PretrainRecipe(CheckedFields):
    """One run: which network, which images, which auxiliary labels, how."""

    name: Name
    model: Annotated[ModelRecipe, Section] = ModelRecipe()
    data: Annotated[DataRecipe, Section] = DataRecipe()
    labels: Annotated[AuxiliarySettings, Section] = AuxiliarySettings()
    pretraining: Annotated[PretrainingRecipe, Section] = PretrainingRecipe()
