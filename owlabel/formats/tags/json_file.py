"""Tags as JSON: each image with its classes, or with its present and absent classes.

``{"a.png": ["car", "person"]}``, ``{"a.png": {"present": ["car"], "absent": ["person"]}}``, or
either of them under the key "tags".  Other keys beside "tags" are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from owlabel.formats.tags.statements import WORDS, Places, TagLine


def lines(path: Path, value: Any, text: str) -> Iterator[TagLine]:
    """Yield the statements of a parsed JSON file; raises ValueError if it holds no tags."""
    tags = value.get("tags", value) if isinstance(value, dict) else value
    if not isinstance(tags, dict):
        raise ValueError(
            f"{path}, line 1: tags must be an object that maps each image to a list of classes, "
            f"got {type(tags).__name__}"
        )
    places = Places(text)
    for image, entry in tags.items():
        place = f"line {places.of(image)} ({image!r})"
        by_state = {"present": entry} if isinstance(entry, list) else entry
        if not isinstance(by_state, dict) or set(by_state) - set(WORDS):
            raise ValueError(
                f"{path}, {place}: write a list of classes, or lists under present and absent, "
                f"got {json.dumps(entry, ensure_ascii=False)[:80]}"
            )
        for state, names in by_state.items():
            if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
                raise ValueError(
                    f"{path}, {place}: classes must be a list of names, "
                    f"got {json.dumps(names, ensure_ascii=False)[:80]}"
                )
            yield from (TagLine(image, name, WORDS[state], place) for name in names)


def text_of(tags: Iterable[tuple[str, str, str]]) -> str:
    """Return the text of a JSON file for (image, class, state)."""
    by_image: dict[str, dict[str, list[str]]] = {}
    for image, name, state in tags:
        by_image.setdefault(image, {}).setdefault(state, []).append(name)
    return json.dumps({"tags": by_image}, ensure_ascii=False, indent=1) + "\n"
