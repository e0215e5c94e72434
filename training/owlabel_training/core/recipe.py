"""A training recipe: one TOML file, read into frozen dataclasses and checked in words."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ModelRecipe:
    """What is built.

    Attributes
    ----------
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    kind : str
        "metric" (prototypes, DCE + VL) or "softmax" (plain cross entropy), same network.
    settings : mapping
        Settings of the head, see `owlabel.models.backbones.DEFAULTS`.
    prototype_length : float
        T.
    initial : str
        Checkpoint whose backbone and base head (all but its last layer) are the start; "" is
        random weights.  Relative to the recipe's folder or the working folder.
    max_side : int
        What is done with larger images says `large_images`.
    large_images : str
        "tile" looks at them in full detail, in tiles of at most `max_side`, in proportion to their
        pixels longer; "reduce" to `max_side` first is as fast as any image of that size.
    half : bool
        True stores the weights in 16 bits: half the file, a relative change of at most 5e-4.
    lambda_novel : float
        Squared distance of NPM that a sitting with this model begins with; 1.5 in the paper.
    """

    architecture: str = "mobilenet_v3_large"
    kind: str = "metric"
    settings: Mapping[str, Any] = field(default_factory=dict)
    prototype_length: float = 3.0
    initial: str = ""
    max_side: int = 2048
    large_images: str = "tile"
    half: bool = False
    lambda_novel: float = 1.5


@dataclass(frozen=True)
class DataRecipe:
    """What it is trained on: ``images/``, ``labels/``, ``classes.json`` and lists of names.

    Attributes
    ----------
    folder : str
        The data's folder; the command's option or the environment may name another.
    train, val : str
        Text files in that folder with one name a line, without suffix.  Where both are "", all
        labelled frames are used and every `held_out`-th one validates.
    held_out : int
        At least 2.
    left_out : tuple of str
        Classes that the base model shall not know; their pixels become 255.
    val_step : int
        Every val_step-th frame of `val` is measured while training.
    """

    folder: str = ""
    train: str = "train.txt"
    val: str = "val.txt"
    held_out: int = 10
    left_out: tuple[str, ...] = ()
    val_step: int = 1

    def __post_init__(self) -> None:
        if bool(self.train) != bool(self.val):
            raise ValueError("data.train and data.val must both be named, or neither")
        if self.held_out < 2 or self.val_step < 1:
            raise ValueError("data.held_out must be at least 2 and data.val_step at least 1")


@dataclass(frozen=True)
class TrainingRecipe:
    """How long and how; each number's source stands beside it in the recipe files.

    Attributes
    ----------
    iterations : int
        Steps at most.
    minutes : float
        Wall time at most; the learning rate falls with whichever is further on.  0 is no limit.
    batch_size : int
        Crops in a step, at least 2 (BatchNorm of the pooled branch).
    crop : tuple of int
        Rows, columns.
    scale : tuple of float
        Smallest and largest zoom of a crop.
    jitter : float
        Brightness, contrast and saturation are multiplied by 1 +- jitter.
    optimiser : str
        "sgd" or "adamw".
    lr, lr_backbone : float
        Highest rates of the head and of the backbone.
    weight_decay : float
        Not applied to biases and normalisation.
    warmup : float
        Share of the run in which the rate rises; afterwards it falls as (1 - t)^power.
    power : float
        Poly exponent.
    variance_weight : float
        lambda_VL; ignored for softmax models.
    class_weight_cap : float
        Cap of the weights sqrt(median frequency / frequency); 1 is no weighting.
    rare_share : float
        Share of crops that are centred on a pixel of a rare class.
    loss_stride : int
        1, 2 or 4: the embedding is upsampled to this stride before the loss.
    ema : float
        Decay of the running mean of the weights, which is what is kept; 0 keeps the last ones.
    validate_every : int
        Steps between two validations.
    patience : int
        Validations without a better mIoU before it stops; 0 never stops early.
    precision : str
        Fabric precision, "32-true" or "bf16-mixed".
    seed : int
        Of weights, crops and jitter.
    """

    iterations: int = 5000
    minutes: float = 0.0
    batch_size: int = 8
    crop: tuple[int, int] = (240, 240)
    scale: tuple[float, float] = (0.5, 1.25)
    jitter: float = 0.5
    optimiser: str = "sgd"
    lr: float = 0.1
    lr_backbone: float = 0.01
    weight_decay: float = 1e-4
    warmup: float = 0.05
    power: float = 0.9
    variance_weight: float = 0.01
    class_weight_cap: float = 1.0
    rare_share: float = 0.0
    loss_stride: int = 4
    ema: float = 0.0
    validate_every: int = 250
    patience: int = 0
    precision: str = "32-true"
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("iterations", "lr", "lr_backbone", "validate_every", "class_weight_cap")
        for name in positive:
            if getattr(self, name) <= 0:
                raise ValueError(f"training.{name} must be positive, got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ValueError(f"training.batch_size must be at least 2, got {self.batch_size}")
        if len(self.crop) != 2 or min(self.crop) < 64:
            raise ValueError(f"training.crop must be two numbers from 64, got {self.crop}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"training.scale must be two rising numbers, got {self.scale}")
        if self.optimiser not in ("sgd", "adamw"):
            raise ValueError(f"training.optimiser must be sgd or adamw, got {self.optimiser!r}")
        if self.loss_stride not in (1, 2, 4):
            raise ValueError(f"training.loss_stride must be 1, 2 or 4, got {self.loss_stride}")
        for name in ("jitter", "warmup", "rare_share", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"training.{name} must lie in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True)
class Recipe:
    """One training run: its name and what, on what, how."""

    name: str
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    training: TrainingRecipe = field(default_factory=TrainingRecipe)


def from_toml(text: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe; `changes` are lines like ``training.minutes = 9`` that come on top.

    Raises
    ------
    ValueError
        If it is no TOML, names something unknown, or a value has the wrong type or range.
    """
    table = parsed(text, changes, ("model", "data", "training"))
    return Recipe(
        table["name"],
        section(ModelRecipe, table, "model"),
        section(DataRecipe, table, "data"),
        section(TrainingRecipe, table, "training"),
    )


def parsed(text: str, changes: Sequence[str], parts: Sequence[str]) -> dict[str, Any]:
    """Return the table of a recipe that has a name and may have some parts; raises ValueError."""
    try:
        table = tomllib.loads(text)
        for change in changes:
            _merge(table, tomllib.loads(change))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the recipe is not valid TOML: {error}") from error
    unknown = sorted(set(table) - {"name", *parts})
    if unknown:
        raise ValueError(f"unknown parts {unknown}; expected name, {', '.join(parts)}")
    if not isinstance(table.get("name"), str) or not table["name"].strip():
        raise ValueError(f"the recipe needs a name, got {table.get('name')!r}")
    return {**table, "name": table["name"].strip()}


def read(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe file; every fault is a ValueError that names the file."""
    return from_file(path, lambda text: from_toml(text, changes))


def from_file(path: Path, make: Callable[[str], T]) -> T:
    """Return what `make` makes of a file's text; a fault is a ValueError that names the file."""
    try:
        return make(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _merge(table: dict[str, Any], change: Mapping[str, Any]) -> None:
    """Put a change's values into a table, in place."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def section(kind: type[T], table: Mapping[str, Any], name: str) -> T:
    """Build one dataclass from one table of the TOML file."""
    values = table.get(name, {})
    if not isinstance(values, dict):
        raise ValueError(f"[{name}] must be a table, got {values!r}")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"[{name}] has unknown keys {unknown}; there are {sorted(known)}")
    typical = kind()
    return kind(**{k: _like(f"{name}.{k}", getattr(typical, k), v) for k, v in values.items()})


def _like(name: str, typical: object, value: object) -> object:
    """Return the value in the type of the default, or refuse it."""
    if isinstance(typical, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(typical, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(typical, Mapping) and isinstance(value, dict):
        return value
    if type(value) is type(typical):
        return value
    raise ValueError(f"{name} must be of type {type(typical).__name__}, got {value!r}")
