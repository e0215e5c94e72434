"""COCO instances: one annotation with run lengths per 8-connected region of a class."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from owlabel.classes import VOID, ClassTable
from owlabel.formats.atomic_folder import ExportError, join_json
from owlabel.formats.labels import coco_common, run_lengths
from owlabel.formats.labels import stream as steps
from owlabel.formats.labels.coco_common import Content
from owlabel.formats.labels.provenance import LabelledImage, ReadImage

FORMAT = "coco"
FILE = "instances.json"


class InstanceWriter(coco_common.CocoWriter):
    """Writes ``instances.json``."""

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        super().__init__(folder, classes)
        self.annotation_id = 0

    def add(self, image: LabelledImage, stem: str) -> None:
        """Write the regions of one image."""
        self.add_image(image)
        regions = run_lengths.components(image.labels)
        total = np.bincount(regions.ravel())
        sums = np.bincount(regions.ravel(), image.confidence.ravel())
        confidence = sums / np.maximum(total, 1) / 255  # mean over each region, 0 .. 1
        sources = run_lengths.main_sources(image.source, regions)
        rows = []
        for number, region in enumerate(run_lengths.parts(image.labels, regions), start=1):
            self.annotation_id += 1
            row = {
                "id": self.annotation_id,
                "image_id": self.image_id,
                "category_id": region.class_id + 1,
                "segmentation": run_lengths.encode(region, image.shape),
                "area": region.area,
                "bbox": list(region.box),
                "iscrowd": 0,
                "score": round(float(confidence[number]), 4),
                "source": sources[number],
            }
            rows.append(row)
        self.annotations.add(rows)

    def finish(self) -> None:
        """Join images, annotations and categories into one file."""
        arrays = {"images": self.images, "annotations": self.annotations}
        join_json(self.folder / FILE, arrays, {"categories": coco_common.categories(self.classes)})


stream = partial(steps.stream, FORMAT, InstanceWriter)
"""``(folder, classes, images, provenance, overwrite=False)``; yields the name of each image."""
write = partial(steps.write, FORMAT, InstanceWriter)
"""Like `stream`, but runs to the end and returns all files."""


def _images(_folder: Path, content: Content, known: set[int]) -> Iterator[ReadImage]:
    by_image: dict[int, list[Content]] = {}
    for row in content["annotations"]:
        by_image.setdefault(int(row["image_id"]), []).append(row)
    for image in content["images"]:
        yield _read_image(image, by_image.get(int(image["id"]), []), known)


def _read_image(image: Content, annotations: list[Content], known: set[int]) -> ReadImage:
    """Return one image with its regions painted into the label map."""
    name, shape = coco_common.image_facts(image)
    flat = np.full(shape[0] * shape[1], VOID, np.uint8)  # column by column
    for row in annotations:
        class_id = int(row["category_id"]) - 1
        if class_id not in known:
            raise ExportError(f"{name}: no class has the category id {class_id + 1}")
        run_lengths.paint(flat, str(row["segmentation"]["counts"]), class_id)
    return ReadImage(name, np.ascontiguousarray(flat.reshape(shape, order="F")))


read = partial(coco_common.read, FORMAT, FILE, _images)
"""``(folder)``; yields one label map per image, painted from its instances."""
