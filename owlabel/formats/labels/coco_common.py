"""What the two formats of COCO share: entries of classes and images, and how their JSON is read.

The category id is the class id plus one, because readers of COCO take 0 for the background.
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
    """Return the categories of COCO for a class table."""
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
    """Images and annotations of an export, growing on disk."""

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
    """Return name and (H, W) of an image's entry; raises ExportError where they are absurd."""
    name, shape = str(row["file_name"]), (int(row["height"]), int(row["width"]))
    checked_name(name)
    if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
        raise ExportError(f"{name}: an image of {shape[0]} x {shape[1]} pixels cannot be read")
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
        What the folder must be, and its JSON file.
    images : callable
        Yields the images of (folder, content of the file, ids of known classes).
    folder : Path

    Raises
    ------
    ExportError
        If the folder is no such export, or an entry is malformed.
    """
    steps.expect(folder, format_name)
    known = set(steps.read_classes(folder).names)
    path = folder / file_name
    content = read_json(path)
    try:
        yield from images(folder, content, known)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ExportError(f"{path} is malformed: {error!r}") from error
