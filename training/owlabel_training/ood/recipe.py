"""Recipes of OoD training: entropy maximisation and RPL, each with its own TOML section."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from owlabel_training.core.recipe import DataRecipe, parsed, section
from owlabel_training.ood.losses import Averaging

STREET = (
    "person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic light", "stop sign", "train"
)  # fmt: skip
"""COCO pictures with any of these are no proxy: they hold classes of the street."""
CONTEXTS = ("both", "city", "context", "all")
PROJECTORS = ("one", "two", "two_bn")


@dataclass(frozen=True)
class ProxyRecipe:
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
        Pictures that are read at most; the others are left out evenly.
    """

    source: str = "folder"
    path: str = ""
    images: str = ""
    train: str = ""
    val: str = ""
    use: str = "pasted"
    ratio: float = 0.1
    scales: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    ood_ids: tuple[int, ...] = (1, 254)
    exclude: tuple[str, ...] = STREET
    min_area: int = 400
    pieces: bool = True
    limit: int = 1500

    def __post_init__(self) -> None:
        if self.source not in ("folder", "coco", "project"):
            raise ValueError(f"proxy.source must be folder, coco or project, got {self.source!r}")
        if self.use not in ("pasted", "whole"):
            raise ValueError(f"proxy.use must be pasted or whole, got {self.use!r}")
        if not 0 < self.ratio <= 10:
            raise ValueError(f"proxy.ratio must lie in (0, 10], got {self.ratio}")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"proxy.scales must be positive numbers, got {self.scales}")
        if not self.ood_ids or any(not 0 < value < 255 for value in self.ood_ids):
            raise ValueError(f"proxy.ood_ids must lie in 1 .. 254, got {self.ood_ids}")
        if self.min_area < 1 or self.limit < 1:
            raise ValueError("proxy.min_area and proxy.limit must be at least 1")


@dataclass(frozen=True)
class CourseRecipe:
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

    epochs: int = 4
    steps_per_epoch: int = 0
    minutes: float = 0.0
    batch_size: int = 8
    crop: tuple[int, int] = (480, 480)
    scale: tuple[float, float] = (1.0, 1.0)
    lr: float = 1e-5
    loss_stride: int = 4
    patience: int = 0
    max_miou_drop: float = 0.02
    precision: str = "32-true"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.steps_per_epoch < 0 or self.lr <= 0:
            raise ValueError(
                "epochs and lr must be positive and steps_per_epoch not negative, got "
                f"{self.epochs}, {self.lr} and {self.steps_per_epoch}"
            )
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}")
        if len(self.crop) != 2 or min(self.crop) < 64:
            raise ValueError(f"crop must be two numbers from 64, got {self.crop}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two rising numbers, got {self.scale}")
        if self.loss_stride not in (1, 2, 4):
            raise ValueError(f"loss_stride must be 1, 2 or 4, got {self.loss_stride}")
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(f"precision must be 32-true or bf16-mixed, got {self.precision!r}")
        if not 0 <= self.max_miou_drop <= 1:
            raise ValueError(f"max_miou_drop must lie in [0, 1], got {self.max_miou_drop}")


@dataclass(frozen=True)
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

    lambda_ood: float = 0.9
    averaging: str = "joint"
    freeze_statistics: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lambda_ood <= 1:
            raise ValueError(f"lambda_ood must lie in [0, 1], got {self.lambda_ood}")
        if self.averaging not in ("joint", "separate"):
            raise ValueError(f"averaging must be joint or separate, got {self.averaging!r}")

    @property
    def mode(self) -> Averaging:
        """The averaging as its type."""
        return cast(Averaging, self.averaging)


@dataclass(frozen=True)
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

    epochs: int = 40
    lr: float = 7.5e-5
    crop: tuple[int, int] = (700, 700)
    beta: float = 0.05
    corocl: bool = True
    tau: float = 0.1
    samples: int = 512
    contexts: str = "both"
    projector: str = "one"
    head_factor: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tau", "head_factor", "samples"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.beta < 0:
            raise ValueError(f"beta must not be negative, got {self.beta}")
        if self.contexts not in CONTEXTS or self.projector not in PROJECTORS:
            raise ValueError(
                f"contexts must be one of {CONTEXTS} and projector one of {PROJECTORS}, got "
                f"{self.contexts!r} and {self.projector!r}"
            )


@dataclass(frozen=True)
class BaseRecipe:
    """The model to start from.

    Attributes
    ----------
    checkpoint : str
        Relative to the working folder; the command's option ``--base`` may name another.
    """

    checkpoint: str = ""


@dataclass(frozen=True)
class OodRecipe:
    """One run of OoD training; exactly one of `entropy` and `residual` is there."""

    name: str
    base: BaseRecipe = field(default_factory=BaseRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    proxy: ProxyRecipe = field(default_factory=ProxyRecipe)
    entropy: EntropyRecipe | None = None
    residual: ResidualRecipe | None = None

    def __post_init__(self) -> None:
        if (self.entropy is None) == (self.residual is None):
            raise ValueError("a recipe of OoD training has either [entropy] or [residual]")

    @property
    def course(self) -> CourseRecipe:
        """The part both methods share."""
        chosen = self.entropy or self.residual
        assert chosen is not None
        return chosen


def is_ood(path: Path) -> Literal["entropy", "residual"] | None:
    """Tell which method of OoD training a recipe file is for; None for base training."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # whoever reads it next says what is wrong
    if "entropy" in table:
        return "entropy"
    return "residual" if "residual" in table else None


def read(path: Path, changes: Sequence[str] = ()) -> OodRecipe:
    """Read a recipe file of OoD training; every fault is a ValueError that names the file."""
    try:
        text = path.read_text(encoding="utf-8")
        table = parsed(text, changes, ("base", "data", "proxy", "entropy", "residual"))
        return OodRecipe(
            table["name"],
            section(BaseRecipe, table, "base"),
            section(DataRecipe, table, "data"),
            section(ProxyRecipe, table, "proxy"),
            section(EntropyRecipe, table, "entropy") if "entropy" in table else None,
            section(ResidualRecipe, table, "residual") if "residual" in table else None,
        )
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
