"""The recipe of weak-shot training (SimFormer): one TOML file, checked in words."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from owlabel.models.mask.mask_former import MaskFormerSettings
from owlabel_training.core.recipe import parsed, section
from owlabel_training.ood.recipe import BaseRecipe

SIMILARITIES = ("none", "self", "cross")
PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class MaskModelRecipe(MaskFormerSettings):
    """What is built: sizes as in `MaskFormerSettings`; the backbone where nothing is started from.

    Attributes
    ----------
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    output_stride : int
        8, 16 or 32.
    """

    architecture: str = "resnet18"
    output_stride: int = 16


@dataclass(frozen=True)
class WeakDataRecipe:
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
        Classes of which nothing is said: neither masks nor tags; their pixels become 255, too.
    tags : str
        JSON file in that folder, see `owlabel_training.weak_shot.data.read_tags`.
    """

    folder: str = ""
    train: str = "train.txt"
    val: str = ""
    novel: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    tags: str = "image_tags.json"


@dataclass(frozen=True)
class WeakShotSettings:
    """How it is trained; the defaults are the small profile for CPUs.

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

    iterations: int = 2000
    minutes: float = 0.0
    pairs: int = 1
    crop: tuple[int, int] = (256, 256)
    scale: tuple[float, float] = (0.5, 1.5)
    jitter: float = 0.4
    lr: float = 1e-4
    backbone_factor: float = 0.1
    weight_decay: float = 1e-4
    power: float = 0.9
    clip: float = 0.01
    freeze: float = 0.5
    freeze_statistics: bool = True
    comp_weight: float = 0.15
    sim_weight: float = 1.0
    dist_weight: float = 0.1
    dist_kind: str = "cce"
    dist_after: float = 0.2
    similarity: str = "cross"
    points: int = 50
    retrain: int = 0
    loss_stride: int = 1
    precision: str = "32-true"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "pairs", "lr", "clip", "points"):
            if getattr(self, name) <= 0:
                raise ValueError(f"weak_shot.{name} must be positive, got {getattr(self, name)}")
        for name in ("minutes", "comp_weight", "sim_weight", "dist_weight", "retrain"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"weak_shot.{name} must not be negative, got {getattr(self, name)}"
                )
        for name in ("jitter", "freeze", "dist_after", "backbone_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"weak_shot.{name} must lie in [0, 1], got {getattr(self, name)}")
        if len(self.crop) != 2 or min(self.crop) < 64:
            raise ValueError(f"weak_shot.crop must be two numbers from 64, got {self.crop}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"weak_shot.scale must be two rising numbers, got {self.scale}")
        if self.loss_stride not in (1, 2, 4):
            raise ValueError(f"weak_shot.loss_stride must be 1, 2 or 4, got {self.loss_stride}")
        _one_of("dist_kind", self.dist_kind, ("cce", "ce"))
        _one_of("similarity", self.similarity, SIMILARITIES)
        _one_of("precision", self.precision, PRECISIONS)


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"weak_shot.{name} must be one of {', '.join(known)}, got {value!r}")


@dataclass(frozen=True)
class WeakShotRecipe:
    """One training run: its name, what it starts from, what is built, on what, how."""

    name: str
    base: BaseRecipe = field(default_factory=BaseRecipe)
    model: MaskModelRecipe = field(default_factory=MaskModelRecipe)
    data: WeakDataRecipe = field(default_factory=WeakDataRecipe)
    weak_shot: WeakShotSettings = field(default_factory=WeakShotSettings)


def is_weak_shot(path: Path) -> bool:
    """Tell whether a recipe file is for weak-shot training."""
    try:
        return "weak_shot" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads it next says what is wrong


def read(path: Path, changes: Sequence[str] = ()) -> WeakShotRecipe:
    """Read a recipe file; every fault is a ValueError that names the file."""
    try:
        text = path.read_text(encoding="utf-8")
        table = parsed(text, changes, ("base", "model", "data", "weak_shot"))
        recipe = WeakShotRecipe(
            table["name"],
            section(BaseRecipe, table, "base"),
            section(MaskModelRecipe, table, "model"),
            section(WeakDataRecipe, table, "data"),
            section(WeakShotSettings, table, "weak_shot"),
        )
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not recipe.data.novel:
        raise ValueError(f"{path}: data.novel must name at least one class that has tags only")
    return recipe
