"""What every reader of tags gives: one statement a line, and where it stands in the file."""

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
"""What stands for a state in files, in small letters."""


@dataclass(frozen=True, slots=True)
class TagLine:
    """One statement of a file.

    Attributes
    ----------
    image : str
        Its path below the images' folder, its file name, or that without suffix.
    name : str
        Of the class.
    state : str
        "present", "absent" or "unknown".
    place : str
        Where it stands, e.g. "line 7".
    """

    image: str
    name: str
    state: str
    place: str


def state_of(word: Any, path: Path, place: str) -> str:
    """Return the state that a word of a file means; raises ValueError."""
    state = WORDS.get(str(word).strip().lower())
    if state is None:
        raise ValueError(f"{path}, {place}: {word!r} is no state: write present, absent or unknown")
    return state


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file; raises ValueError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises
    ------
    ValueError
        If it cannot be read or is in another encoding; names the line.
    """
    raw = read_bytes(path)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path}, line 1: this is UTF-16; save the file as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: the byte 0x{raw[error.start]:02x} is no UTF-8; "
            "save the file as UTF-8"
        ) from error


def read_json(path: Path) -> tuple[Any, str]:
    """Return the value of a JSON file and its text.

    Raises
    ------
    ValueError
        If it is no JSON, or an object has a key twice.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_unlike), text
    except _Twice as error:
        line = _second(text, error.key)
        raise ValueError(
            f"{path}, line {line}: {error.key!r} stands twice in one object; join both entries"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: no JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError(f"{path}, line 1: this JSON is nested too deeply to be tags") from error


class _Twice(Exception):
    """A key that an object has twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Twice(key)
        found[key] = value
    return found


def _second(text: str, key: str) -> int:
    places = Places(text)
    places.of(key)
    return places.of(key)


class Places:
    """Find on which line the keys of a JSON text stand, asked for in their order.

    Parameters
    ----------
    text : str
    """

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1

    def of(self, key: str) -> int:
        """Return the line, from 1, of the next place where a key or string stands."""
        spelt = (json.dumps(key, ensure_ascii=False), json.dumps(key))
        found = next((at for s in spelt if (at := self._text.find(s, self._at)) >= 0), None)
        if found is not None:
            self._line += self._text.count("\n", self._at, found)
            self._at = found + 1
        return self._line


def unlike(lines: Iterator[TagLine]) -> Iterator[TagLine]:
    """Yield each statement once: an image may hold many objects of a class."""
    seen: set[tuple[str, str, str]] = set()
    for line in lines:
        key = (line.image, line.name, line.state)
        if key not in seen:
            seen.add(key)
            yield line
