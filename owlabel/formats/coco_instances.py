"""COCO instances: every 8-connected region of a class, as run lengths.

The category id is the class id plus one, because readers of COCO take 0 for the background.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from owlabel.classes import VOID, ClassTable
from owlabel.formats import runs
from owlabel.formats import stream as steps
from owlabel.formats.provenance import MAX_PIXELS, LabelledImage, ReadImage
from owlabel.formats.target import ArrayFile, ExportError, checked_name, join_json, read_json

FORMAT = "coco"
FILE = "instances.json"


def categories(classes: ClassTable) -> list[dict[str, Any]]:
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


def image_row(image: LabelledImage, image_id: int) -> dict[str, Any]:
    """Return the entry of one image."""
    height, width = image.shape
    return {"id": image_id, "file_name": image.name, "height": height, "width": width}


class InstanceWriter:
    """Writes ``instances.json``, growing on disk."""

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self.folder, self.classes = folder, classes
        self.images = ArrayFile(folder / "images.part")
        self.annotations = ArrayFile(folder / "annotations.part")
        self.image_id, self.annotation_id = 0, 0

    def add(self, image: LabelledImage, stem: str) -> None:
        """Write the regions of one image."""
        self.image_id += 1
        self.images.add([image_row(image, self.image_id)])
        regions = runs.components(image.labels)
        total = np.bincount(regions.ravel())
        sure = np.bincount(regions.ravel(), image.confidence.ravel()) / np.maximum(total, 1) / 255
        sources = runs.main_sources(image.source, regions)
        rows = []
        for number, part in enumerate(runs.parts(image.labels, regions), start=1):
            self.annotation_id += 1
            row = {
                "id": self.annotation_id,
                "image_id": self.image_id,
                "category_id": part.class_id + 1,
                "segmentation": runs.encode(part, image.shape),
                "area": part.area,
                "bbox": list(part.box),
                "iscrowd": 0,
                "score": round(float(sure[number]), 4),
                "source": sources[number],
            }
            rows.append(row)
        self.annotations.add(rows)

    def finish(self) -> None:
        """Put the parts together."""
        arrays = {"images": self.images, "annotations": self.annotations}
        join_json(self.folder / FILE, arrays, {"categories": categories(self.classes)})


stream = partial(steps.stream, FORMAT, InstanceWriter)
"""``(folder, classes, images, provenance, overwrite=False)``; yields the name of each image."""
write = partial(steps.write, FORMAT, InstanceWriter)
"""The same at once; returns all files."""


def read(folder: Path) -> Iterator[ReadImage]:
    """Yield the label maps that the instances of an export add up to.

    Raises
    ------
    ExportError
        If the folder is no such export, or an entry is malformed.
    """
    steps.expect(folder, FORMAT)
    known = set(steps.read_classes(folder).names)
    path = folder / FILE
    content = read_json(path)
    try:
        by_image: dict[int, list[dict[str, Any]]] = {}
        for row in content["annotations"]:
            by_image.setdefault(int(row["image_id"]), []).append(row)
        for image in content["images"]:
            yield _read_image(image, by_image.get(int(image["id"]), []), known)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ExportError(f"{path} is malformed: {error!r}") from error


def _read_image(
    image: dict[str, Any], annotations: list[dict[str, Any]], known: set[int]
) -> ReadImage:
    """Return one image with its regions painted."""
    name, shape = str(image["file_name"]), (int(image["height"]), int(image["width"]))
    checked_name(name)
    if min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
        raise ExportError(f"{name}: an image of {shape[0]} x {shape[1]} pixels cannot be read")
    flat = np.full(shape[0] * shape[1], VOID, np.uint8)  # column after column
    for row in annotations:
        class_id = int(row["category_id"]) - 1
        if class_id not in known:
            raise ExportError(f"{name}: no class has the category id {class_id + 1}")
        runs.paint(flat, str(row["segmentation"]["counts"]), class_id)
    return ReadImage(name, np.ascontiguousarray(flat.reshape(shape, order="F")))
