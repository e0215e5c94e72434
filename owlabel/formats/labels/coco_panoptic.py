"""COCO panoptic: a picture whose colours encode segment numbers, and a table of the segments.

Novel classes are things: one segment for each 8-connected region.  Base classes are stuff: one
segment for each class, because the model does not separate instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.classes import VOID, ClassTable, Labels
from owlabel.formats.atomic_folder import ExportError, checked_name, join_json
from owlabel.formats.labels import coco_common, run_lengths
from owlabel.formats.labels import stream as steps
from owlabel.formats.labels.coco_common import Content
from owlabel.formats.labels.provenance import LabelledImage, ReadImage
from owlabel.images.decoding import pixel_limit

FORMAT = "panoptic"
FILE = "panoptic.json"


def segments(labels: Labels, things: set[int]) -> NDArray[np.int32]:
    """Return the segment number of every pixel, (H, W): 0 for VOID, then 1, 2, ..."""
    regions = run_lengths.components(labels)
    stuff = ~np.isin(labels, [*things, VOID])
    first = int(regions.max(initial=0)) + 1
    regions[stuff] = first + labels[stuff].astype(np.int32)
    occurs = np.bincount(regions.ravel()) > 0
    occurs[0] = False  # VOID
    dense = np.cumsum(occurs, dtype=np.int32) * occurs
    return np.asarray(dense[regions], np.int32)


def to_color(numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return segment numbers (H, W) as colours (H, W, 3): R + 256 G + 65536 B."""
    return np.stack([numbers >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)


def from_color(picture: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return colours (H, W, 3) as segment numbers (H, W)."""
    wide = picture.astype(np.int32)
    return wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16


class PanopticWriter(coco_common.CocoWriter):
    """Writes ``panoptic/STEM.png`` and ``panoptic.json``."""

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        super().__init__(folder, classes)
        self.things = {c.id for c in classes.novel}

    def add(self, image: LabelledImage, stem: str) -> None:
        """Write the segments of one image."""
        numbers = segments(image.labels, self.things)
        if int(numbers.max(initial=0)) >= 1 << 24:
            raise ExportError(
                f"{image.name} has more segments than COCO panoptic can number (24 bits): "
                "choose another format"
            )
        path = self.folder / "panoptic" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_color(numbers)).save(path, format="PNG")
        sources = run_lengths.main_sources(image.source, numbers)
        rows = [
            {
                "id": number,
                "category_id": region.class_id + 1,
                "area": region.area,
                "bbox": list(region.box),
                "iscrowd": 0,
                "source": sources[number],
            }
            for number, region in enumerate(run_lengths.parts(image.labels, numbers), start=1)
        ]
        self.add_image(image)
        name = f"{stem}.png"
        self.annotations.add(
            [{"image_id": self.image_id, "file_name": name, "segments_info": rows}]
        )

    def finish(self) -> None:
        """Join images, annotations and categories into one file."""
        rows = [
            row | {"isthing": int(c.id in self.things)}
            for row, c in zip(
                coco_common.categories(self.classes), self.classes.classes, strict=True
            )
        ]
        arrays = {"images": self.images, "annotations": self.annotations}
        join_json(self.folder / FILE, arrays, {"categories": rows})


stream = partial(steps.stream, FORMAT, PanopticWriter)
"""``(folder, classes, images, provenance, overwrite=False)``; yields the name of each image."""
write = partial(steps.write, FORMAT, PanopticWriter)
"""Like `stream`, but runs to the end and returns all files."""


def _images(folder: Path, content: Content, known: set[int]) -> Iterator[ReadImage]:
    images = {int(row["id"]): row for row in content["images"]}
    for row in content["annotations"]:
        yield _read_image(folder, images[int(row["image_id"])], row, known)


def _read_image(folder: Path, image: Content, row: Content, known: set[int]) -> ReadImage:
    """Return one image, each pixel labelled with the class of its segment."""
    name, shape = coco_common.image_facts(image)
    numbers = _read_numbers(folder / "panoptic" / checked_name(str(row["file_name"])), shape)
    classes = {int(s["id"]): int(s["category_id"]) - 1 for s in row["segments_info"]}
    segment_numbers, dense = np.unique(numbers, return_inverse=True)
    table = np.full(segment_numbers.size, VOID, np.uint8)
    for index, number in enumerate(segment_numbers.tolist()):
        if number == 0:
            continue
        class_id = classes.get(number, -1)
        if class_id not in known:
            raise ExportError(f"{name}: segment {number} has no class of the class table")
        table[index] = class_id
    return ReadImage(name, table[dense].reshape(shape))


def _read_numbers(path: Path, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Read the segment numbers of a picture of `shape`; raises ExportError with the path."""
    try:
        with pixel_limit(), Image.open(path, formats=["PNG"]) as picture:
            if picture.mode != "RGB" or picture.size != (shape[1], shape[0]):
                raise ExportError(
                    f"{path} must be an RGB image of {shape[0]} x {shape[1]} pixels (H x W)"
                )
            return from_color(np.asarray(picture, np.uint8))
    except (
        OSError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError
    ) as error:  # fmt: skip
        raise ExportError(f"{path} cannot be read: {error}") from error


read = partial(coco_common.read, FORMAT, FILE, _images)
"""``(folder)``; yields the label maps of an export."""
