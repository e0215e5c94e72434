"""Recipes of contrastive pre-training: which labels, which views, how long."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from owlabel.clusters.settings import AuxiliarySettings
from owlabel_training.core.recipe import DataRecipe, ModelRecipe, from_file, parsed, section

POSITIVES = ("pixel", "superpixel", "auxiliary")
STEP = 16
"""Sides of crops are multiples of this: the backbone's stride."""


@dataclass(frozen=True)
class PretrainingRecipe:
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

    positives: str = "auxiliary"
    iterations: int = 1000
    minutes: float = 0.0
    images_per_batch: int = 4
    crop: tuple[int, int] = (192, 224)
    scale: tuple[float, float] = (0.5, 2.0)
    rotation: float = 30.0
    jitter: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    cutout: int = 40
    anchors: int = 512
    per_label: int = 50
    tau: float = 0.1
    projection: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.05
    power: float = 0.9
    precision: str = "32-true"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.positives not in POSITIVES:
            raise ValueError(f"positives must be one of {POSITIVES}, got {self.positives!r}")
        for name in ("iterations", "tau", "projection", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.images_per_batch < 2:
            raise ValueError(
                "images_per_batch must be at least 2 (with one image there are no positives of "
                f"other images), got {self.images_per_batch}"
            )
        if self.anchors < 4 * self.images_per_batch or self.per_label < 2:
            raise ValueError(
                f"anchors must be at least 4 for each image and per_label 2, got {self.anchors} "
                f"and {self.per_label}"
            )
        if len(self.crop) != 2 or not 64 <= self.crop[0] <= self.crop[1] or not self.sides:
            raise ValueError(
                f"crop must be two rising numbers from 64 with a multiple of {STEP} between them, "
                f"got {self.crop}"
            )
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two rising numbers, got {self.scale}")
        for name, top in (("rotation", 180), ("jitter", 1), ("hue", 0.5), ("grey", 1)):
            if not 0 <= getattr(self, name) <= top:
                raise ValueError(f"{name} must lie in [0, {top}], got {getattr(self, name)}")
        if not 0 <= self.cutout < self.crop[0] or not 0 <= self.warmup < 1:
            raise ValueError(
                f"cutout must lie in [0, crop) and warmup in [0, 1), got {self.cutout} and "
                f"{self.warmup}"
            )
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(f"precision must be 32-true or bf16-mixed, got {self.precision!r}")

    @property
    def sides(self) -> range:
        """The sides that a crop may have."""
        return range(-(-self.crop[0] // STEP) * STEP, self.crop[1] + 1, STEP)


@dataclass(frozen=True)
class PretrainRecipe:
    """One run: which network, which images, which auxiliary labels, how."""

    name: str
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    labels: AuxiliarySettings = field(default_factory=AuxiliarySettings)
    pretraining: PretrainingRecipe = field(default_factory=PretrainingRecipe)


def is_pretraining(path: Path) -> bool:
    """Tell whether a recipe file is for pre-training; whoever reads it says what is wrong."""
    try:
        return "pretraining" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def read(path: Path, changes: Sequence[str] = ()) -> PretrainRecipe:
    """Read a recipe file; every fault is a ValueError that names the file."""
    return from_file(path, lambda text: from_toml(text, changes))


def from_toml(text: str, changes: Sequence[str] = ()) -> PretrainRecipe:
    """Read a recipe; raises ValueError as `owlabel_training.core.recipe.from_toml`."""
    table = parsed(text, changes, ("model", "data", "labels", "pretraining"))
    return PretrainRecipe(
        table["name"],
        section(ModelRecipe, table, "model"),
        section(DataRecipe, table, "data"),
        section(AuxiliarySettings, table, "labels"),
        section(PretrainingRecipe, table, "pretraining"),
    )
