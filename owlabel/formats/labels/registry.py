"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from owlabel.formats.labels import coco_instances, coco_panoptic, indexed_png
from owlabel.formats.labels.provenance import ReadImage
from owlabel.formats.labels.stream import Steps


@dataclass(frozen=True)
class Exporter:
    """One format.

    Attributes
    ----------
    label : str
        For people.
    stream : callable
        ``(folder, classes, images, provenance, overwrite)`` to a generator, one step an image.
    read : callable
        ``(folder)`` to the images that an export holds.
    """

    label: str
    stream: Callable[..., Steps]
    read: Callable[[Path], Iterator[ReadImage]]


EXPORTERS: dict[str, Exporter] = {
    indexed_png.FORMAT: Exporter("Indexed PNG masks", indexed_png.stream, indexed_png.read),
    coco_instances.FORMAT: Exporter("COCO instances", coco_instances.stream, coco_instances.read),
    coco_panoptic.FORMAT: Exporter("COCO panoptic", coco_panoptic.stream, coco_panoptic.read),
}
