"""Tags as COCO annotations: each marks its category as present in its image.  Masks are ignored.

An annotation has a "category_id" or a list "tags" of class names.  One with only a "caption" is an
error, because a caption names no class.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from owlabel.formats.tags.statements import TagLine, state_of


def is_coco(value: Any) -> bool:
    """Return whether a JSON value has lists of images and annotations."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "annotations")
    )


def lines(path: Path, value: dict[str, Any]) -> Iterator[TagLine]:
    """Yield the statements of a parsed COCO file; raises ValueError if it is malformed."""
    images = _named(path, value["images"], "images", "file_name")
    categories = _named(path, value.get("categories", []), "categories", "name")
    for number, annotation in enumerate(value["annotations"], start=1):
        place = f"annotation {number}"
        if not isinstance(annotation, dict):
            raise ValueError(
                f"{path}, {place}: an annotation must be an object, got {annotation!r:.80}"
            )
        place += f" (id {annotation.get('id', 'none')})"
        image = images.get(_key(annotation.get("image_id")))
        if image is None:
            raise ValueError(
                f"{path}, {place}: no image has the id {annotation.get('image_id')!r}; "
                "add it to images or delete the annotation"
            )
        state = state_of(annotation.get("state", "present"), path, place)
        for name in _classes(path, place, annotation, categories):
            yield TagLine(image, name, state, place)


def _classes(
    path: Path, place: str, annotation: dict[str, Any], categories: dict[str, str]
) -> list[str]:
    names = annotation.get("tags")
    if isinstance(names, list) and all(isinstance(n, str) and n for n in names):
        return names
    if "category_id" not in annotation:
        note = " (a caption is not read)" if "caption" in annotation else ""
        raise ValueError(
            f"{path}, {place}: the annotation needs a category_id or a list tags{note}"
        )
    name = categories.get(_key(annotation["category_id"]))
    if name is None:
        raise ValueError(
            f"{path}, {place}: no category has the id {annotation['category_id']!r}; "
            "add it to categories"
        )
    return [name]


def _named(path: Path, rows: Any, key: str, name: str) -> dict[str, str]:
    """Return the names of images or categories by their ids."""
    names: dict[str, str] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        if not isinstance(row, dict) or "id" not in row or not isinstance(row.get(name), str):
            raise ValueError(f"{path}, {key} {number}: an entry needs id and {name}")
        if _key(row["id"]) in names:
            raise ValueError(f"{path}, {key} {number}: the id {row['id']!r} occurs twice")
        names[_key(row["id"])] = row[name]
    return names


def _key(value: Any) -> str:
    """Return an id as a dictionary key; 1 and "1" differ."""
    return repr(value)
