"""Recipes of OoD training: entropy maximisation and RPL, each with its own TOML section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from owlabel.checked_fields import CheckedFields, Minutes, Seed
from owlabel.jobs.requests.ood import Averaging, Epochs, LambdaOod, Ratio, Source, Use
from owlabel_training.core.recipe import (
    Crop,
    DataRecipe,
    Name,
    Names,
    NotNegative,
    Positive,
    Precision,
    Scale,
    Section,
)

STREET = (
    "person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic light", "stop sign", "train"
)  # fmt: skip
"""COCO pictures with any of these are no proxy: they hold classes of the street."""


class ProxyRecipe(CheckedFields):
    """Where OoD objects come from and how often they are seen.

    Attributes
    ----------
    source : {"folder", "coco", "project"}
        ``images/`` with ``masks/``, a COCO JSON file, or what people annotated in the project.
    path : str
        The folder or the JSON file.
    images : str
        Folder of the pictures of a COCO file; "" is ``images`` beside it, or its own folder.
    train, val : str
        Lists of names in the folder, one a line; "" trains on all and holds every fourth out.
    use : {"pasted", "whole"}
        Objects are cut out and pasted into in-distribution frames, or pictures are used as they
        are, their unlabelled rest ignored.
    ratio : float
        Proxy images for each in-distribution image, drawn anew every epoch; 0.1 in the paper.
    scales : tuple of float
        Sizes of pasted objects, one of them drawn each time.
    ood_ids : tuple of int
        Values of a mask that are an OoD object; 0 and 255 never are.
    exclude : tuple of str
        COCO pictures with any of these categories are passed over.
    min_area : int
        Smaller objects (in pixels of their picture) are passed over.
    pieces : bool
        True pastes each connected piece of a mask alone, False the whole mask as the authors do.
    limit : int
        Pictures that are read at most, evenly spread over all.
    """

    source: Source = "folder"
    path: str = ""
    images: str = ""
    train: str = ""
    val: str = ""
    use: Use = "pasted"
    ratio: Ratio = 0.1
    scales: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] = (
        0.25, 0.5, 0.75, 1.0,
    )  # fmt: skip
    ood_ids: Annotated[
        tuple[Annotated[int, Field(ge=1, le=254)], ...], Field(strict=False, min_length=1)
    ] = (1, 254)
    exclude: Names = STREET
    min_area: Annotated[int, Field(ge=1)] = 400
    pieces: bool = True
    limit: Annotated[int, Field(ge=1)] = 1500


class CourseRecipe(CheckedFields):
    """How long and how, for both methods.

    Attributes
    ----------
    epochs : int
        After each one mIoU and AP are measured.
    steps_per_epoch : int
        0 is one pass over all frames.
    minutes : float
        Wall time at most; 0 is no limit.
    batch_size : int
        At least 2: BatchNorm of the pooled branch.
    crop, scale : tuple
        Rows and columns; smallest and largest zoom of a crop.
    lr : float
        Of Adam.
    loss_stride : int
        1, 2 or 4: the logits are upsampled to this stride before the loss.
    patience : int
        Epochs without a better AP before it stops; 0 never stops early.
    max_miou_drop : float
        A model whose closed-set mIoU fell by more (0.02 is two points) is not kept.
    precision : {"32-true", "bf16-mixed"}
    seed : int
    """

    epochs: Epochs = 4
    steps_per_epoch: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    minutes: Minutes = 0.0
    batch_size: Annotated[int, Field(ge=2)] = 8
    crop: Crop = (480, 480)
    scale: Scale = (1.0, 1.0)
    lr: Positive = 1e-5
    loss_stride: Literal[1, 2, 4] = 4
    patience: Annotated[int, Field(ge=0)] = 0
    max_miou_drop: Annotated[float, Field(ge=0, le=1)] = 0.02
    precision: Precision = "32-true"
    seed: Seed = 0


class EntropyRecipe(CourseRecipe):
    """Entropy maximisation; the defaults are the DeepLabv3+ run of the paper.

    Attributes
    ----------
    lambda_ood : float
        Weight of the OoD objective.
    averaging : {"joint", "separate"}
        See `owlabel_training.ood.losses.entropy_loss`.
    freeze_statistics : bool
        Leave the statistics of BatchNorm as they are; always so for batches below 4.
    """

    lambda_ood: LambdaOod = 0.9
    averaging: Averaging = "joint"
    freeze_statistics: bool = False


class ResidualRecipe(CourseRecipe):
    """RPL, with CoroCL or without; beta, tau and the rates are the authors'.

    Attributes
    ----------
    beta : float
        Weight of the positive energy of outliers.
    corocl : bool
        Add the contrast of contexts.
    tau : float
        Its temperature.
    samples : int
        Pixels of each of its four groups, at most.
    contexts : {"both", "city", "context", "all"}
        Anchors and contrast, see `owlabel_training.ood.losses.contrastive_loss`.
    projector : {"one", "two", "two_bn"}
        Layers of the projector.
    head_factor : float
        The residual's last layer learns this much faster.
    """

    epochs: Epochs = 40
    lr: Positive = 7.5e-5
    crop: Crop = (700, 700)
    beta: NotNegative = 0.05
    corocl: bool = True
    tau: Positive = 0.1
    samples: Annotated[int, Field(ge=1)] = 512
    contexts: Literal["both", "city", "context", "all"] = "both"
    projector: Literal["one", "two", "two_bn"] = "one"
    head_factor: Positive = 10.0


class BaseRecipe(CheckedFields):
    """The model to start from.

    Attributes
    ----------
    checkpoint : str
        Relative to the working folder; the command's option ``--base`` may name another.
    """

    checkpoint: str = ""


class OodRecipe(CheckedFields):
    """One run of OoD training; exactly one of `entropy` and `residual` is there."""

    name: Name
    base: Annotated[BaseRecipe, Section] = BaseRecipe()
    data: Annotated[DataRecipe, Section] = DataRecipe()
    proxy: Annotated[ProxyRecipe, Section] = ProxyRecipe()
    entropy: Annotated[EntropyRecipe | None, Section] = None
    residual: Annotated[ResidualRecipe | None, Section] = None

    @model_validator(mode="after")
    def _one_method(self) -> OodRecipe:
        if (self.entropy is None) == (self.residual is None):
            raise ValueError("a recipe of OoD training has either [entropy] or [residual]")
        return self

    @property
    def course(self) -> CourseRecipe:
        """How long and how, for the method of this recipe."""
        course = self.entropy or self.residual
        assert course is not None  # the validator has seen to it
        return course
