"""The JSON header of a model file, stored in the safetensors metadata and read without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from safetensors import SafetensorError, safe_open

from owlabel.classes import ClassTable

FORMAT = 1
"""Version of the header; a reader rejects newer versions."""
KEY = "owlabel"
"""Key of the JSON text in the safetensors metadata."""
MAX_HEADER_BYTES = 8 << 20
KINDS = ("metric", "softmax")
LARGE_IMAGES = ("reduce", "tile")
Header = TypeVar("Header")


class CheckpointError(ValueError):
    """A model file cannot be used; the message names the file, the reason and the remedy."""


@dataclass(frozen=True)
class HeadInfo:
    """One head of a model.

    Attributes
    ----------
    class_id : int or None
        The novel class of the head; None for the base head.
    outputs : int
        N for the base head, N + i for the head of the i-th novel class.
    hash : str
        16 hex digits: a hash of the backbone's weights, this head's weights and the preprocessing.
        It is the key of the head's cached embeddings.
    """

    class_id: int | None
    outputs: int
    hash: str


@dataclass(frozen=True)
class CheckpointHeader:
    """Everything about a model except its weights.

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
        Base classes in channel order, ids 0 .. N-1, then the novel classes that have heads.
    prototype_length : float
        T.
    kind : {"metric", "softmax"}
        How the base head was trained; z = 2T f holds for its embedding in both cases.
    mean, std : tuple of float
        Normalisation of RGB in [0, 1].
    max_side : int
        Longest side in pixels that the model sees at once.
    large_images : {"reduce", "tile"}
        Larger images are reduced to `max_side`, or cut into overlapping tiles of at most that side.
    heads : tuple of HeadInfo
        The base head first.
    recipe : dict
        Training settings, for information only.
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
            raise CheckpointError(
                f"prototype_length must lie between 0 and 1000, got {self.prototype_length}"
            )
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
        """The squared distance threshold of NPM in the recipe, or None if the recipe has none."""
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
        """Read a header that `to_json` wrote.

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
        If the file is missing, truncated, newer than this program, not safetensors, or not an
        OWLabel model.
    """
    return read_stored(Path(path), KEY, "an OWLabel model", CheckpointHeader.from_json)


def header_from_json(text: str, newest: int, build: Callable[[dict[str, Any]], Header]) -> Header:
    """Parse the JSON of a header and return ``build(values)``.

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
        raise CheckpointError("the header has no format version")
    if values["format"] > newest:
        raise CheckpointError(
            f"the file was written by a newer OWLabel (format {values['format']}, this version "
            f"reads up to {newest}); update OWLabel to open it"
        )
    try:
        return build(values)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"the header is incomplete or malformed: {error!r}") from error


def read_stored(path: Path, key: str, what: str, parse: Callable[[str], Header]) -> Header:
    """Parse the text under a key of a safetensors file's metadata.

    Parameters
    ----------
    path : Path
    key : str
    what : str
        The word for such a file in the error message.
    parse : callable
        Turns the text into a header; may raise CheckpointError.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, not safetensors or without the key, or if `parse` raises
        it.  The message names the file.
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
        If the file is missing, truncated or not safetensors.
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
            f"{path} is damaged or truncated; copy or download it again ({error})"
        ) from error


def _check_header_length(path: Path) -> None:
    """Reject a header that would need much memory; safetensors itself allows 100 MB."""
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or int.from_bytes(start, "little") > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path} is not a model file: expected safetensors")


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
        large_images=values.get("large_images", "reduce"),  # older files do not have it
    )


def _head(row: Mapping[str, Any]) -> HeadInfo:
    class_id = None if row["class_id"] is None else int(row["class_id"])
    return HeadInfo(class_id, int(row["outputs"]), str(row["hash"]))


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _check_heads(heads: tuple[HeadInfo, ...], classes: ClassTable) -> None:
    """Raise CheckpointError if the heads do not fit the class table."""
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
            raise CheckpointError(
                f"head {index} is for class {head.class_id}, which is not a novel class"
            )
    if len({head.class_id for head in heads}) != len(heads):
        raise CheckpointError("two heads are for the same class")
