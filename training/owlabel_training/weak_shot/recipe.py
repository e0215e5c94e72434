"""The recipe of weak-shot training (SimFormer)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from owlabel.checked_fields import CheckedFields, Steps
from owlabel.jobs.requests.weak_shot import WeakShotRequest
from owlabel.models.mask.mask_former import MaskFormerSettings
from owlabel_training.core.recipe import (
    Crop,
    Name,
    Names,
    NotNegative,
    Positive,
    Precision,
    Scale,
    Section,
)
from owlabel_training.ood.recipe import BaseRecipe

SIZES = MaskFormerSettings()
Fraction = Annotated[float, Field(ge=0, le=1)]


class MaskModelRecipe(CheckedFields):
    """What is built: sizes as in `MaskFormerSettings`, and the backbone of a run without a base.

    Attributes
    ----------
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    output_stride : int
        8, 16 or 32.
    """

    channels: int = SIZES.channels
    queries: int = SIZES.queries
    layers: int = SIZES.layers
    heads: int = SIZES.heads
    feedforward: int = SIZES.feedforward
    dropout: float = SIZES.dropout
    short_side: int = SIZES.short_side
    architecture: str = "resnet18"
    output_stride: Literal[8, 16, 32] = 16

    @property
    def sizes(self) -> MaskFormerSettings:
        """The sizes of the decoders."""
        return MaskFormerSettings(**self.model_dump(exclude={"architecture", "output_stride"}))

    @model_validator(mode="after")
    def _sizes_fit(self) -> MaskModelRecipe:
        self.sizes  # noqa: B018 (refuses sizes that do not fit together)
        return self


class WeakDataRecipe(CheckedFields):
    """What it is trained on: ``images/``, ``labels/``, ``classes.json``, lists of names, tags.

    Attributes
    ----------
    folder : str
        The command's option or the environment may name another.
    train, val : str
        Lists in that folder, one name a line; without `val` nothing is measured in the end, and
        without `train` all labelled frames are used.
    novel : tuple of str
        Classes with tags only: their pixels become 255 before anything else.
    left_out : tuple of str
        Classes with neither masks nor tags; their pixels become 255, too.
    tags : str
        JSON file in that folder, see `owlabel_training.weak_shot.data.read_tags`.
    """

    folder: str = ""
    train: str = "train.txt"
    val: str = ""
    novel: Names = ()
    left_out: Names = ()
    tags: str = "image_tags.json"


class WeakShotSettings(WeakShotRequest):
    """How it is trained; the defaults are the small profile for CPUs.

    `minutes`, `retrain` and `seed` are those of `WeakShotRequest`.

    Attributes
    ----------
    iterations : int
    minutes : float
        Wall time at most; the rate falls with whichever is further on.  0 is no limit.
    pairs : int
        Pairs of an image and a reference in a batch.
    crop : tuple of int
        Rows, columns.
    scale : tuple of float
        Smallest and largest zoom of a crop.
    jitter : float
        Of brightness, contrast and saturation.
    lr : float
        AdamW's highest rate; it falls as (1 - t)^power, without warm-up.
    backbone_factor : float
        The backbone's rate is this much of it.
    weight_decay, power : float
    clip : float
        Largest norm of the whole model's gradient.
    freeze : float
        Share of the run in which the backbone stays as it is.
    freeze_statistics : bool
        Keep the backbone's BatchNorm statistics: batches are small.
    comp_weight, sim_weight, dist_weight : float
        w_c, SimLoss's weight, w_d; 0 leaves a loss out.
    dist_kind : {"cce", "ce"}
    dist_after : float
        Share of the run after which DistLoss begins.
    similarity : {"cross", "self", "none"}
        Pixel pairs across images, within an image, or none at all.
    points : int
        J, pixels of an image in pairs.
    retrain : int
        Iterations of the re-training on pseudo labels (the papers' *); 0 leaves it out.
    loss_stride : int
        1, 2 or 4: MaskLoss and CompLoss look at every so-many-th pixel of the labels.
    precision : {"32-true", "bf16-mixed"}
    seed : int
    """

    iterations: Steps = 2000
    pairs: Annotated[int, Field(ge=1)] = 1
    crop: Crop = (256, 256)
    scale: Scale = (0.5, 1.5)
    jitter: Fraction = 0.4
    lr: Positive = 1e-4
    backbone_factor: Fraction = 0.1
    weight_decay: NotNegative = 1e-4
    power: NotNegative = 0.9
    clip: Positive = 0.01
    freeze: Fraction = 0.5
    freeze_statistics: bool = True
    comp_weight: NotNegative = 0.15
    sim_weight: NotNegative = 1.0
    dist_weight: NotNegative = 0.1
    dist_kind: Literal["cce", "ce"] = "cce"
    dist_after: Fraction = 0.2
    similarity: Literal["cross", "self", "none"] = "cross"
    points: Annotated[int, Field(ge=1)] = 50
    loss_stride: Literal[1, 2, 4] = 1
    precision: Precision = "32-true"


class WeakShotRecipe(CheckedFields):
    """One training run: its name, what it starts from, what is built, on what, how."""

    name: Name
    base: Annotated[BaseRecipe, Section] = BaseRecipe()
    model: Annotated[MaskModelRecipe, Section] = MaskModelRecipe()
    data: Annotated[WeakDataRecipe, Section] = WeakDataRecipe()
    weak_shot: Annotated[WeakShotSettings, Section] = WeakShotSettings()

    @model_validator(mode="after")
    def _a_class_is_novel(self) -> WeakShotRecipe:
        if not self.data.novel:
            raise ValueError("data: novel must name at least one class that has tags only")
        return self
