"""The statements that every tag reader yields, each with its place in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = {
    "present": "present",
    "absent": "absent",
    "unknown": "unknown",
    "1": "present",
    "yes": "present",
    "true": "present",
    "0": "absent",
    "no": "absent",
    "false": "absent",
}
"""The words for each state in files, in lower case."""


@dataclass(frozen=True, slots=True)
class TagLine:
    """One statement of a file.

    Attributes
    ----------
    image : str
        Path below the image folder or file name, with or without suffix.
    name : str
        Name of the class.
    state : str
        "present", "absent" or "unknown".
    place : str
        Place in the file, e.g. "line 7".
    """

    image: str
    name: str
    state: str
    place: str


def state_of(word: Any, path: Path, place: str) -> str:
    """Return the state for a word in a file; raises ValueError if the word is unknown."""
    state = WORDS.get(str(word).strip().lower())
    if state is None:
        raise ValueError(
            f"{path}, {place}: unknown state {word!r}; write present, absent or unknown"
        )
    return state


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file; raises ValueError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises
    ------
    ValueError
        If it cannot be read or has another encoding; the message names the line.
    """
    raw = read_bytes(path)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: the byte 0x{raw[error.start]:02x} is not valid UTF-8; "
            "save the file as UTF-8"
        ) from error


def read_json(path: Path) -> tuple[Any, str]:
    """Return the value of a JSON file and its text.

    Raises
    ------
    ValueError
        If it is not valid JSON, or an object has the same key twice.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_unlike), text
    except _Twice as error:
        line = _second(text, error.key)
        raise ValueError(
            f"{path}, line {line}: {error.key!r} occurs twice in one object; merge both entries"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError(f"{path}, line 1: the JSON is nested too deeply for tags") from error


class _Twice(Exception):
    """A key that an object has twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise _Twice(key)
        values[key] = value
    return values


def _second(text: str, key: str) -> int:
    places = Places(text)
    places.of(key)
    return places.of(key)


class Places:
    """Finds the line numbers of the keys of a JSON text, in the order of the text.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def of(self, key: str) -> int:
        """Return the line, from 1, of the next occurrence of a key or string."""
        spellings = (json.dumps(key, ensure_ascii=False), json.dumps(key))
        matches = (self._text.find(spelling, self._at) for spelling in spellings)
        position = next((match for match in matches if match >= 0), None)
        if position is not None:
            self._line += self._text.count("\n", self._at, position)
            self._at = position + 1
        return self._line


def unlike(lines: Iterator[TagLine]) -> Iterator[TagLine]:
    """Yield each statement once, because an image may hold many objects of a class."""
    seen: set[tuple[str, str, str]] = set()
    for line in lines:
        key = (line.image, line.name, line.state)
        if key not in seen:
            seen.add(key)
            yield line
