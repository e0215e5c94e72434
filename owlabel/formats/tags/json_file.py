"""Tags as JSON: image to its classes, or to what is present and what is absent.

``{"a.png": ["car", "person"]}``, ``{"a.png": {"present": ["car"], "absent": ["person"]}}``, or
either of them under the key "tags", beside whatever else the file tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from owlabel.formats.tags.statements import WORDS, Places, TagLine


def lines(path: Path, value: Any, text: str) -> Iterator[TagLine]:
    """Yield the statements of a JSON file that was read; raises ValueError where it is no tags."""
    tags = value.get("tags", value) if isinstance(value, dict) else value
    if not isinstance(tags, dict):
        raise ValueError(
            f"{path}, line 1: tags are an object, image to a list of classes, "
            f"got {type(tags).__name__}"
        )
    places = Places(text)
    for image, said in tags.items():
        place = f"line {places.of(image)} ({image!r})"
        by_state = {"present": said} if isinstance(said, list) else said
        if not isinstance(by_state, dict) or set(by_state) - set(WORDS):
            raise ValueError(
                f"{path}, {place}: write a list of classes, or lists under present and absent, "
                f"got {json.dumps(said, ensure_ascii=False)[:80]}"
            )
        for state, names in by_state.items():
            if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
                raise ValueError(
                    f"{path}, {place}: classes are a list of names, "
                    f"got {json.dumps(names, ensure_ascii=False)[:80]}"
                )
            yield from (TagLine(image, name, WORDS[state], place) for name in names)


def text_of(tags: Iterable[tuple[str, str, str]]) -> str:
    """Return the text of a JSON file for (image, class, state)."""
    found: dict[str, dict[str, list[str]]] = {}
    for image, name, state in tags:
        found.setdefault(image, {}).setdefault(state, []).append(name)
    return json.dumps({"tags": found}, ensure_ascii=False, indent=1) + "\n"
