"""Label classes: the table of base and novel classes, and the values that are no class."""

from __future__ import annotations

import colorsys
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

VOID = 255
"""Ignore: a human said that this pixel shall not count, or nothing is claimed (exports)."""
OOD_PROXY = 254
"""Pixel of an out-of-distribution proxy object.  Training only; never exported as a class."""
UNSET = 253
"""Human layer only: nobody has said anything about this pixel.  Never exported."""
MAX_CLASSES = 253
"""Class ids are 0 .. 252."""

Labels = NDArray[np.uint8]


def present(labels: Labels) -> list[int]:
    """Return the values that a label map of uint8 holds, ascending."""
    counts = cv2.calcHist([np.ascontiguousarray(labels)], [0], None, [256], [0, 256])
    return [int(value) for value in np.flatnonzero(counts)]


class Source(IntEnum):
    """Who says that a pixel has its label; the values stand in exported source maps."""

    NONE = 0
    HUMAN = 1
    BASE = 2
    NPM = 3
    PLM = 4


@dataclass(frozen=True)
class LabelClass:
    """One class.

    Attributes
    ----------
    id : int
        0 .. 252, stable for the life of a project; name and colour are only attributes.
    name : str
        Shown to the annotator; unique in its table, ignoring case.
    color : tuple of int
        Red, green, blue, each 0 .. 255.
    novel : bool
        True where the class was named by an annotator, not known to the base model.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    novel: bool = False


def clean_name(name: str) -> str:
    """Return the class name in Unicode NFC without outer blanks.

    Raises
    ------
    ValueError
        If nothing is left, it has a control character, or it is longer than 80 characters.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned or len(cleaned) > 80:
        raise ValueError(f"a class name must have 1 to 80 characters, got {name!r}")
    if any(unicodedata.category(letter).startswith("C") for letter in cleaned):
        raise ValueError(f"a class name must not hold control characters, got {name!r}")
    return cleaned


def distinct_color(index: int) -> tuple[int, int, int]:
    """Return the colour of the `index`-th class: golden-angle hues, so that neighbours differ."""
    hue = (index * 0.618033988749895 + 0.08) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if index % 2 else 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class ClassTable:
    """The classes of a model or a project, base classes first, in the order they were added.

    Raises
    ------
    ValueError
        If ids or names repeat, or an id is outside 0 .. 252.
    """

    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        names = [c.name.casefold() for c in self.classes]
        if len(set(ids)) != len(ids):
            raise ValueError(f"class ids must differ, got {ids}")
        if len(set(names)) != len(names):
            raise ValueError(f"class names must differ, got {[c.name for c in self.classes]}")
        if any(not 0 <= i < MAX_CLASSES for i in ids):
            raise ValueError(f"class ids must lie in 0 .. {MAX_CLASSES - 1}, got {ids}")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def base(self) -> tuple[LabelClass, ...]:
        """The classes the base model was trained on."""
        return tuple(c for c in self.classes if not c.novel)

    @property
    def novel(self) -> tuple[LabelClass, ...]:
        """The classes an annotator has named."""
        return tuple(c for c in self.classes if c.novel)

    @property
    def listed(self) -> tuple[LabelClass, ...]:
        """The classes as annotators see them: novel ones first, so that a new one moves none."""
        return (*self.novel, *self.base)

    @property
    def names(self) -> dict[int, str]:
        """Class id to name."""
        return {c.id: c.name for c in self.classes}

    def by_id(self, class_id: int) -> LabelClass:
        """Return the class with this id, or raise ValueError."""
        for c in self.classes:
            if c.id == class_id:
                return c
        raise ValueError(f"no class has the id {class_id}; there are {sorted(self.names)}")

    def find(self, name: str) -> LabelClass | None:
        """Return the class of this name (ignoring case), or None."""
        wanted = clean_name(name).casefold()
        return next((c for c in self.classes if c.name.casefold() == wanted), None)

    def palette(self) -> NDArray[np.uint8]:
        """Return an RGB palette, shape (256, 3); VOID is white, what is no class is black."""
        colors = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            colors[c.id] = c.color
        colors[VOID] = 255
        return colors

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain values for JSON."""
        return [
            {"id": c.id, "name": c.name, "color": list(c.color), "novel": c.novel}
            for c in self.classes
        ]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> ClassTable:
        """Read what `to_json` wrote; raises ValueError where a row is malformed."""
        try:
            return cls(
                tuple(
                    LabelClass(
                        int(row["id"]),
                        clean_name(str(row["name"])),
                        (int(row["color"][0]), int(row["color"][1]), int(row["color"][2])),
                        bool(row.get("novel", False)),
                    )
                    for row in rows
                )
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(
                f"a class table needs id, name and color in each row: {error}"
            ) from error
