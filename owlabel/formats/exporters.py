"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from owlabel.formats import coco_instances, coco_panoptic, masks
from owlabel.formats.provenance import ReadImage
from owlabel.formats.stream import Steps


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
    masks.FORMAT: Exporter("Indexed PNG masks", masks.stream, masks.read),
    coco_instances.FORMAT: Exporter("COCO instances", coco_instances.stream, coco_instances.read),
    coco_panoptic.FORMAT: Exporter("COCO panoptic", coco_panoptic.stream, coco_panoptic.read),
}
