"""Indexed PNG masks: the index is the class id, 255 is no claim, the palette only paints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from owlabel.classes import ClassTable
from owlabel.formats import stream as steps
from owlabel.formats.provenance import (
    LabelledImage,
    Provenance,
    ReadImage,
    labels_hash,
    read_indexed,
    write_indexed,
)
from owlabel.formats.target import ExportError

FORMAT = "masks"


class MaskWriter:
    """Writes ``masks/STEM.png``."""

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self.folder = folder / "masks"
        self.palette = classes.palette()

    def add(self, image: LabelledImage, stem: str) -> None:
        """Write the mask of one image."""
        write_indexed(self.folder / f"{stem}.png", image.labels, self.palette)

    def finish(self) -> None:
        """There is nothing that stands once only."""


def stream(
    folder: Path,
    classes: ClassTable,
    images: Iterable[LabelledImage],
    provenance: Provenance,
    overwrite: bool = False,
) -> steps.Steps:
    """Write masks; yields the name of each image.  See `owlabel.formats.stream.stream`."""
    return steps.stream(FORMAT, MaskWriter, folder, classes, images, provenance, overwrite)


def write(
    folder: Path,
    classes: ClassTable,
    images: Iterable[LabelledImage],
    provenance: Provenance,
    overwrite: bool = False,
) -> list[Path]:
    """Write masks and return all files."""
    return steps.run(stream(folder, classes, images, provenance, overwrite))


def read(folder: Path) -> Iterator[ReadImage]:
    """Yield the masks of an export, each checked against the hash in its data card.

    Raises
    ------
    ExportError
        If the folder is no such export, or a mask is not the one that was written.
    """
    steps.expect(folder, FORMAT)
    for stem, card in steps.cards(folder):
        path = folder / "masks" / f"{stem}.png"
        labels = read_indexed(path, steps.card_shape(stem, card))
        if labels_hash(labels) != card.get("labels_sha256"):
            raise ExportError(f"{path} is not the mask that was exported: its hash differs")
        yield ReadImage(card["image"], labels)
