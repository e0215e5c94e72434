"""Shared code of the two COCO formats: entries of classes and images, and reading the JSON.

The category id is the class id plus one, because COCO readers treat 0 as background.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from owlabel.classes import ClassTable
from owlabel.formats.atomic_folder import ArrayFile, ExportError, checked_name, read_json
from owlabel.formats.labels import stream as steps
from owlabel.formats.labels.provenance import MAX_PIXELS, LabelledImage, ReadImage

Content = dict[str, Any]


def categories(classes: ClassTable) -> list[Content]:
    """Return the COCO categories of a class table."""
    return [
        {
            "id": c.id + 1,
            "name": c.name,
            "supercategory": "novel" if c.novel else "base",
            "color": list(c.color),
        }
        for c in classes.classes
    ]


class CocoWriter:
    """Writes images and annotations of an export to disk, entry by entry."""

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self.folder, self.classes = folder, classes
        self.images = ArrayFile(folder / "images.part")
        self.annotations = ArrayFile(folder / "annotations.part")
        self.image_id = 0

    def add_image(self, image: LabelledImage) -> None:
        """Write the entry of the next image."""
        self.image_id += 1
        height, width = image.shape
        facts = {"id": self.image_id, "file_name": image.name, "height": height, "width": width}
        self.images.add([facts])


def image_facts(row: Content) -> tuple[str, tuple[int, int]]:
    """Return name and (H, W) of an image's entry; raises ExportError if they are not valid."""
    name, shape = str(row["file_name"]), (int(row["height"]), int(row["width"]))
    checked_name(name)
    if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
        raise ExportError(
            f"{name}: the size must be 1 .. {MAX_PIXELS} pixels, got {shape[0]} x {shape[1]}"
        )
    return name, shape


def read(
    format_name: str,
    file_name: str,
    images: Callable[[Path, Content, set[int]], Iterator[ReadImage]],
    folder: Path,
) -> Iterator[ReadImage]:
    """Yield the label maps of an export.

    Parameters
    ----------
    format_name, file_name : str
        The format of the folder, and the name of its JSON file.
    images : callable
        ``images(folder, content, known)`` yields the images; `content` is the parsed JSON, `known`
        holds the ids of the class table.
    folder : Path

    Raises
    ------
    ExportError
        If the folder is not such an export, or an entry is malformed.
    """
    steps.expect(folder, format_name)
    known = set(steps.read_classes(folder).names)
    path = folder / file_name
    content = read_json(path)
    try:
        yield from images(folder, content, known)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ExportError(f"{path} is malformed: {error!r}") from error
