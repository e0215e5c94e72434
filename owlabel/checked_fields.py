"""The base of all requests, settings and recipes: typed fields with ranges, checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

BOUNDS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
"""Bound of a number, by pydantic's name, to its words."""
TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "string_too_short": "a text that is not empty",
    "tuple_type": "a list",
    "too_long": "a shorter list",
    "too_short": "a longer list",
    "mapping_type": "a table",
    "dict_type": "a table",
    "model_type": "a table",
}
"""Type error of pydantic to the type that was wanted."""
LONGEST_VALUE = 80
"""Characters of a refused value that a message shows."""

Steps = Annotated[int, Field(ge=1, le=1_000_000)]
"""Steps of a training."""
Minutes = Annotated[
    float,
    Field(
        ge=0, le=10_000, title="Minutes", description="Minutes of training at most; 0: no limit."
    ),
]
Seed = Annotated[
    int, Field(ge=0, lt=2**32, title="Seed", description="Seed of the random numbers.")
]


@dataclass(frozen=True)
class Shown:
    """How a form and the command line show a field, beyond its title, description and range.

    Attributes
    ----------
    step : float
        What one press of a spin box's arrow adds.
    words : mapping of str to str
        Each choice to its name for people.
    option : str
        The option on the command line, where it is not the field's name: ``--factor``.
    """

    step: float = 1
    words: Mapping[str, str] = field(default_factory=dict)
    option: str = ""


class CheckedFields(BaseModel):
    """Values that somebody chose: a request of a job, or a section of a recipe.

    One class gives the options of a command, the form in the window, the record in the event log,
    the keys of a recipe, and every check.  Types are strict: ``"3"``, ``3.0`` and ``True`` are
    not whole numbers.

    Raises
    ------
    ValueError
        One line that names each field that is wrong, its range and the value that came.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers read the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ValueError(in_words(error, type(self))) from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some values changed, checked again.

        Raises
        ------
        ValueError
            If a value does not fit.
        """
        return type(self)(**{**dict(self), **changes})


def bounds(info: FieldInfo) -> dict[str, float]:
    """Return the bounds of a number: some of ``ge``, ``gt``, ``le`` and ``lt``."""
    return {
        key: getattr(constraint, key)
        for constraint in info.metadata
        for key in BOUNDS
        if hasattr(constraint, key)
    }


def choices(info: FieldInfo) -> tuple[str, ...]:
    """Return the values that a Literal allows; for other types nothing."""
    if get_origin(info.annotation) is not Literal:
        return ()
    return tuple(map(str, get_args(info.annotation)))


def shown(info: FieldInfo) -> Shown:
    """Return how a form and the command line show a field."""
    return next((item for item in info.metadata if isinstance(item, Shown)), Shown())


def in_words(error: ValidationError, settings: type[BaseModel]) -> str:
    """Return pydantic's errors as one line of plain English."""
    details = error.errors(include_url=False)
    return "; ".join(_sentence(dict(detail), settings) for detail in details)


def _sentence(detail: Mapping[str, Any], settings: type[BaseModel]) -> str:
    name = ".".join(map(str, detail["loc"]))
    match detail["type"]:
        case "value_error":  # of a validator, or of settings inside these
            reason = str(detail["ctx"]["error"])
            return f"{name}: {reason}" if name else reason
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"unknown field {name!r}: choose from {', '.join(settings.model_fields)}"
    value = repr(detail["input"])
    if len(value) > LONGEST_VALUE:
        value = f"{value[:LONGEST_VALUE]} …"
    return f"{name} must be {_wanted(detail, settings)}, got {value}"


def _wanted(detail: Mapping[str, Any], settings: type[BaseModel]) -> str:
    info = settings.model_fields[str(detail["loc"][0])]
    if detail["type"] == "literal_error":
        return f"one of {', '.join(choices(info))}"
    limits = bounds(info)
    if limits.keys() & detail.get("ctx", {}).keys():
        return " and ".join(f"{BOUNDS[key]} {value:,}" for key, value in limits.items())
    return TYPES.get(detail["type"]) or str(detail["msg"]).removeprefix("Input should be ")
