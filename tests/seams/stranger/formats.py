from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from owlabel.classes import ClassTable
from owlabel.formats.labels.provenance import LabelledImage, ReadImage
from owlabel.formats.labels.registry import Format, LabelMaps


class Writer:
    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self.folder, self.names = folder, {}

    def add(self, image: LabelledImage, stem: str) -> None:
        (self.folder / f"{stem}.txt").parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(self.folder / f"{stem}.txt", image.labels, fmt="%d")
        self.names[stem] = image.name

    def finish(self) -> None:
        (self.folder / "names.json").write_text(json.dumps(self.names))


def _read(path: Path, classes: ClassTable | None = None) -> LabelMaps:
    names = json.loads((path / "names.json").read_text())
    images = (
        ReadImage(name, np.loadtxt(path / f"{stem}.txt").astype(np.uint8))
        for stem, name in names.items()
    )
    return LabelMaps(ClassTable.from_json(json.loads((path / "classes.json").read_text())), images)


NUMBERS = Format(
    "numbers", "Text files of numbers", Writer, lambda path: (path / "names.json").is_file(), _read
)
