"""A training recipe: one TOML file, whose sections are checked as they are read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from owlabel.checked_fields import CheckedFields, Minutes, Seed, Steps

R = TypeVar("R", bound=CheckedFields)


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError(f"the two numbers must be positive and rising, got {list(pair)}")
    return pair


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Section = Field(strict=False)
"""Of a section: the table of a TOML file becomes its class."""
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["32-true", "bf16-mixed"]
Side = Annotated[int, Field(ge=64)]
Crop = Annotated[tuple[Side, Side], Field(strict=False)]
"""Rows and columns of a crop in pixels.  A list will do: TOML and JSON have no tuples."""
Scale = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_rising)]
"""Smallest and largest zoom of a crop."""


class ModelRecipe(CheckedFields):
    """What is built.

    Attributes
    ----------
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    kind : {"metric", "softmax"}
        Prototypes with DCE + VL, or plain cross entropy, on the same network.
    settings : mapping
        CheckedFields of the head, see `owlabel.models.backbones.DEFAULTS`.
    prototype_length : float
        T.
    initial : str
        Checkpoint whose backbone and base head (all but its last layer) are the start; "" is
        random weights.  Relative to the recipe's folder or the working folder.
    max_side : int
        Longest side of an image that is seen at once; see `large_images`.
    large_images : {"tile", "reduce"}
        "tile" sees larger images in full detail, in tiles of at most `max_side`: the time grows
        with the pixels.  "reduce" makes them smaller first.
    half : bool
        True stores the weights in 16 bits: half the file, a relative change of at most 5e-4.
    lambda_novel : float
        Squared distance of NPM that a session with this model begins with; 1.5 in the paper.
    """

    architecture: str = "mobilenet_v3_large"
    kind: Literal["metric", "softmax"] = "metric"
    settings: Mapping[str, Any] = {}
    prototype_length: Positive = 3.0
    initial: str = ""
    max_side: Annotated[int, Field(ge=1)] = 2048
    large_images: Literal["reduce", "tile"] = "tile"
    half: bool = False
    lambda_novel: NotNegative = 1.5


class DataRecipe(CheckedFields):
    """What it is trained on: ``images/``, ``labels/``, ``classes.json`` and lists of names.

    Attributes
    ----------
    folder : str
        The data's folder; the command's option or the environment may name another.
    train, val : str
        Text files in that folder with one name a line, without suffix.  Where both are "", all
        labelled frames are used and every `held_out`-th one validates.
    held_out : int
    left_out : tuple of str
        Classes that the base model shall not know; their pixels become 255.
    val_step : int
        Every val_step-th frame of `val` is measured while training.
    """

    folder: str = ""
    train: str = "train.txt"
    val: str = "val.txt"
    held_out: Annotated[int, Field(ge=2)] = 10
    left_out: Names = ()
    val_step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _lists_come_together(self) -> DataRecipe:
        if bool(self.train) != bool(self.val):
            raise ValueError("train and val must both be named, or neither")
        return self


class TrainingRecipe(CheckedFields):
    """How long and how; each number's source stands beside it in the recipe files.

    Attributes
    ----------
    iterations : int
        Steps at most.
    minutes : float
        Time at most; the learning rate falls with whichever is further on.  0 is no limit.
    batch_size : int
        Crops in a step, at least 2 (BatchNorm of the pooled branch).
    crop : tuple of int
        Rows, columns.
    scale : tuple of float
        Smallest and largest zoom of a crop.
    jitter : float
        Brightness, contrast and saturation are multiplied by 1 +- jitter.
    optimiser : {"sgd", "adamw"}
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
    loss_stride : {1, 2, 4}
        The embedding is upsampled to this stride before the loss.
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

    iterations: Steps = 5000
    minutes: Minutes = 0.0
    batch_size: Annotated[int, Field(ge=2)] = 8
    crop: Crop = (240, 240)
    scale: Scale = (0.5, 1.25)
    jitter: Share = 0.5
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1
    lr_backbone: Positive = 0.01
    weight_decay: NotNegative = 1e-4
    warmup: Share = 0.05
    power: NotNegative = 0.9
    variance_weight: NotNegative = 0.01
    class_weight_cap: Positive = 1.0
    rare_share: Share = 0.0
    loss_stride: Literal[1, 2, 4] = 4
    ema: Share = 0.0
    validate_every: Steps = 250
    patience: Annotated[int, Field(ge=0)] = 0
    precision: str = "32-true"
    seed: Seed = 0


class Recipe(CheckedFields):
    """One training run: its name and what, on what, how."""

    name: Name
    model: Annotated[ModelRecipe, Section] = ModelRecipe()
    data: Annotated[DataRecipe, Section] = DataRecipe()
    training: Annotated[TrainingRecipe, Section] = TrainingRecipe()


def from_toml(kind: type[R], text: str, changes: Sequence[str] = ()) -> R:
    """Read a recipe of some kind.

    Parameters
    ----------
    kind : type
        `Recipe`, or the recipe of another training.
    text : str
    changes : sequence of str
        Lines like ``training.minutes = 9`` that replace values of the text.

    Raises
    ------
    ValueError
        One line that names section and key of what is no TOML, unknown, or out of range.
    """
    try:
        table = tomllib.loads(text)
        for change in changes:
            _merge(table, tomllib.loads(change))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the recipe is not valid TOML: {error}") from error
    return kind(**table)


def read(kind: type[R], path: Path, changes: Sequence[str] = ()) -> R:
    """Read a recipe file of some kind; every fault is a ValueError that names the file."""
    try:
        return from_toml(kind, path.read_text(encoding="utf-8"), changes)
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def sections(path: Path) -> set[str]:
    """Return the top-level names of a recipe file; none where `read` will refuse the file."""
    try:
        return set(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()


def _merge(table: dict[str, Any], change: Mapping[str, Any]) -> None:
    """Put a change's values into a table, in place."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value
