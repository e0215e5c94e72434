"""What a model file says of itself: a JSON header inside safetensors, read without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from safetensors import SafetensorError, safe_open

from owlabel.classes import ClassTable

FORMAT = 1
"""Version of the header; a reader refuses what is newer."""
KEY = "owlabel"
"""Name of our JSON text in the safetensors metadata."""
MAX_HEADER_BYTES = 8 << 20
KINDS = ("metric", "softmax")
LARGE_IMAGES = ("reduce", "tile")
Header = TypeVar("Header")


class CheckpointError(ValueError):
    """A model file cannot be used; the message says which, why and what helps."""


@dataclass(frozen=True)
class HeadInfo:
    """One head of a model.

    Attributes
    ----------
    class_id : int or None
        The novel class it was trained for; None is the base head.
    outputs : int
        N for the base head, N + i for the head of the i-th novel class.
    hash : str
        16 hex digits over the backbone's weights, this head's weights and the preprocessing:
        the key of its cached embeddings.
    """

    class_id: int | None
    outputs: int
    hash: str


@dataclass(frozen=True)
class CheckpointHeader:
    """Everything about a model but its weights.

    Attributes
    ----------
    format : int
        Version of this header.
    name : str
        Shown to the annotator.
    architecture : str
        Backbone, a key of `owlabel.models.backbones.MODELS`.
    settings : dict
        Settings of the heads and of the backbone's stride.
    classes : ClassTable
        Base classes in channel order, ids 0 .. N-1, then the novel ones that have heads.
    prototype_length : float
        T.
    kind : {"metric", "softmax"}
        What the base head was trained as; its embedding obeys z = 2T f either way.
    mean, std : tuple of float
        Normalisation of RGB in [0, 1].
    max_side : int
        What is done with images that are larger says `large_images`.
    large_images : {"reduce", "tile"}
        Reduced to `max_side`, or looked at in overlapping tiles of at most that side.
    heads : tuple of HeadInfo
        The base head first.
    recipe : dict
        How it was trained, for people.
    """

    format: int
    name: str
    architecture: str
    settings: dict[str, Any]
    classes: ClassTable
    prototype_length: float
    kind: Literal["metric", "softmax"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_side: int
    heads: tuple[HeadInfo, ...]
    recipe: dict[str, Any] = field(default_factory=dict)
    large_images: Literal["reduce", "tile"] = "reduce"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CheckpointError(f"kind must be one of {KINDS}, got {self.kind!r}")
        if not 0 < self.prototype_length < 1000:
            raise CheckpointError(f"prototype_length must be positive, got {self.prototype_length}")
        if min(self.std) <= 0:
            raise CheckpointError(f"std must be positive, got {self.std}")
        if self.large_images not in LARGE_IMAGES:
            raise CheckpointError(
                f"large_images must be one of {LARGE_IMAGES}, got {self.large_images!r}"
            )
        if not 64 <= self.max_side <= 65536:
            raise CheckpointError(f"max_side must lie in 64 .. 65536, got {self.max_side}")
        _check_heads(self.heads, self.classes)

    @property
    def lambda_novel(self) -> float | None:
        """The squared distance of NPM that its recipe names, None where it names none."""
        model = self.recipe.get("model")
        value = model.get("lambda_novel") if isinstance(model, dict) else None
        return float(value) if isinstance(value, int | float) and value >= 0 else None

    def to_json(self) -> str:
        """Return the header as JSON text."""
        values = {
            **vars(self),
            "classes": self.classes.to_json(),
            "heads": [vars(head) for head in self.heads],
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CheckpointHeader:
        """Read what `to_json` wrote.

        Raises
        ------
        CheckpointError
            If it is newer than this program, or a value is missing or malformed.
        """
        return header_from_json(text, FORMAT, _header)


def read_header(path: Path | str) -> CheckpointHeader:
    """Return a model file's header without reading its weights.

    Raises
    ------
    CheckpointError
        If it is missing, no safetensors file, no OWLabel model, truncated, or newer.
    """
    return read_stored(Path(path), KEY, "an OWLabel model", CheckpointHeader.from_json)


def header_from_json(text: str, newest: int, build: Callable[[dict[str, Any]], Header]) -> Header:
    """Return what `build` makes of the values of a header.

    Parameters
    ----------
    text : str
        JSON of an object with an integer ``format``.
    newest : int
        The newest format that `build` knows.
    build : callable

    Raises
    ------
    CheckpointError
        If the text is newer than this program, or a value is missing or malformed.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"the header is not JSON: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise CheckpointError("the header names no format version")
    if values["format"] > newest:
        raise CheckpointError(
            f"it was written by a newer OWLabel (format {values['format']}, this one reads "
            f"up to {newest}); update OWLabel to open it"
        )
    try:
        return build(values)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"the header is incomplete or malformed: {error!r}") from error


def read_stored(path: Path, key: str, what: str, parse: Callable[[str], Header]) -> Header:
    """Return what `parse` makes of our text under a key of a safetensors file's metadata.

    Parameters
    ----------
    path : Path
    key : str
    what : str
        What the file is then, for the message where it is not.
    parse : callable

    Raises
    ------
    CheckpointError
        If the file is missing, no safetensors file, truncated or without the key, or as `parse`;
        with the file's name.
    """
    metadata = read_metadata(path)
    if key not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but not {what}")
    try:
        return parse(str(metadata[key]))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the metadata of a safetensors file without reading its weights.

    Raises
    ------
    CheckpointError
        If it is missing, no safetensors file, or cut off.
    """
    try:
        _check_header_length(path)
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"cannot read the model {path}: {reason}") from error
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or cut off; copy or download it again ({error})"
        ) from error


def _check_header_length(path: Path) -> None:
    """Refuse a header that would need much memory; safetensors itself allows 100 MB."""
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or int.from_bytes(start, "little") > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path} is no model file: expected safetensors")


def _header(values: Mapping[str, Any]) -> CheckpointHeader:
    return CheckpointHeader(
        format=int(values["format"]),
        name=str(values["name"]),
        architecture=str(values["architecture"]),
        settings=dict(values["settings"]),
        classes=ClassTable.from_json(values["classes"]),
        prototype_length=float(values["prototype_length"]),
        kind=values["kind"],
        mean=_triple(values["mean"]),
        std=_triple(values["std"]),
        max_side=int(values["max_side"]),
        heads=tuple(_head(row) for row in values["heads"]),
        recipe=dict(values.get("recipe", {})),
        large_images=values.get("large_images", "reduce"),  # files from before had no choice
    )


def _head(row: Mapping[str, Any]) -> HeadInfo:
    class_id = None if row["class_id"] is None else int(row["class_id"])
    return HeadInfo(class_id, int(row["outputs"]), str(row["hash"]))


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _check_heads(heads: tuple[HeadInfo, ...], classes: ClassTable) -> None:
    """Refuse heads that do not fit the class table."""
    base = classes.base
    if [c.id for c in base] != list(range(len(base))):
        raise CheckpointError(
            f"base classes must have the ids 0 .. N-1, got {[c.id for c in base]}"
        )
    if not heads or heads[0].class_id is not None:
        raise CheckpointError("the first head must be the base head")
    for index, head in enumerate(heads):
        if head.outputs != len(base) + index:
            raise CheckpointError(
                f"head {index} must have {len(base) + index} outputs, got {head.outputs}"
            )
        if index and head.class_id not in {c.id for c in classes.novel}:
            raise CheckpointError(f"head {index} is for class {head.class_id}, which is not named")
    if len({head.class_id for head in heads}) != len(heads):
        raise CheckpointError("two heads are for the same class")
