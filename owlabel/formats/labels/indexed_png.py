"""Indexed PNG masks: the index is the class id, 255 is void, the palette is only for display."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from owlabel.classes import ClassTable
from owlabel.formats.atomic_folder import ExportError
from owlabel.formats.labels import stream as steps
from owlabel.formats.labels.provenance import (
    LabelledImage,
    ReadImage,
    labels_hash,
    read_indexed,
    write_indexed,
)

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
        """Do nothing: this format has no file for the whole export."""


stream = partial(steps.stream, FORMAT, MaskWriter)
"""``(folder, classes, images, provenance, overwrite=False)``; yields the name of each image."""
write = partial(steps.write, FORMAT, MaskWriter)
"""Like `stream`, but runs to the end and returns all files."""


def read(folder: Path) -> Iterator[ReadImage]:
    """Yield the masks of an export, each checked against the hash in its data card.

    Raises
    ------
    ExportError
        If the folder is not such an export, or a mask has changed since the export.
    """
    steps.expect(folder, FORMAT)
    for stem, card in steps.cards(folder):
        path = folder / "masks" / f"{stem}.png"
        labels = read_indexed(path, steps.card_shape(stem, card))
        if labels_hash(labels) != card.get("labels_sha256"):
            raise ExportError(f"{path} is not the mask that was exported: its hash differs")
        yield ReadImage(card["image"], labels)
