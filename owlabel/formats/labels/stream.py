"""How every export runs: image by image into a folder that appears when all is there."""

from __future__ import annotations

import csv
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from owlabel.classes import ClassTable
from owlabel.formats.atomic_folder import (
    MARKER,
    ExportError,
    Stems,
    checked_name,
    read_json,
    replacing,
    write_json,
)
from owlabel.formats.labels import provenance as sidecar
from owlabel.formats.labels.provenance import FOLDER, LabelledImage, Provenance

VERSION = 1


class Writer(Protocol):
    """The part that differs from format to format.

    ``Writer(folder, classes)`` makes one for the folder to fill and the class table.
    """

    def add(self, image: LabelledImage, stem: str) -> None:
        """Write one image; `stem` is its path in the export without suffix."""
        ...

    def finish(self) -> None:
        """Write what stands once in an export."""
        ...


Steps = Generator[str, None, list[Path]]


def stream(
    format_name: str,
    writer: Callable[[Path, ClassTable], Writer],
    folder: Path,
    classes: ClassTable,
    images: Iterable[LabelledImage],
    provenance: Provenance,
    overwrite: bool = False,
) -> Steps:
    """Write an export; yields the name of each image once it is written.

    One image is in memory at a time.  If the generator is closed early nothing is left.

    Returns
    -------
    list of Path
        All files of the export.

    Raises
    ------
    ExportError
        If the target is refused, an image does not fit the class table, or the disk refuses.
    """
    with replacing(folder, overwrite) as temporary:
        part, stems, count = writer(temporary, classes), Stems(), 0
        for image in images:
            sidecar.check(image, classes)
            stem = stems.take(image.name)
            part.add(image, stem)
            sidecar.write(temporary, stem, image, classes, provenance)
            count += 1
            yield image.name
        part.finish()
        write_classes(temporary, classes)
        about = {"format": format_name, "version": VERSION, "images": count}
        write_json(temporary / MARKER, about | provenance.to_json())
        inside = sorted(p.relative_to(temporary) for p in temporary.rglob("*") if p.is_file())
    return [Path(folder) / path for path in inside]


def run(steps: Steps) -> list[Path]:
    """Run an export to its end and return its files."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            files: list[Path] = end.value
            return files


def write(
    format_name: str,
    writer: Callable[[Path, ClassTable], Writer],
    folder: Path,
    classes: ClassTable,
    images: Iterable[LabelledImage],
    provenance: Provenance,
    overwrite: bool = False,
) -> list[Path]:
    """Write an export at once and return its files; see `stream`."""
    return run(stream(format_name, writer, folder, classes, images, provenance, overwrite))


def write_classes(folder: Path, classes: ClassTable) -> None:
    """Write the class table as ``classes.json`` and ``classes.csv``."""
    write_json(folder / "classes.json", classes.to_json())
    with (folder / "classes.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        rows.writerow(["id", "name", "red", "green", "blue", "novel"])
        for c in classes.classes:
            rows.writerow([c.id, c.name, *c.color, int(c.novel)])


def read_classes(folder: Path) -> ClassTable:
    """Read the class table of an export; raises ExportError where it is none."""
    rows = read_json(folder / "classes.json")
    try:
        return ClassTable.from_json(rows)
    except ValueError as error:
        raise ExportError(f"{folder / 'classes.json'}: {error}") from error


def expect(folder: Path, format_name: str) -> None:
    """Raise ExportError unless `folder` is an export of this format that we can read."""
    about = read_json(folder / MARKER)
    if not isinstance(about, dict) or about.get("format") != format_name:
        raise ExportError(f"{folder} is no export of the format {format_name!r}")
    if about.get("version") != VERSION:
        raise ExportError(f"{folder} has version {about.get('version')!r}, can be read: {VERSION}")


def cards(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the stem and the data card of every image of an export, in the order of the paths."""
    root = folder / FOLDER
    for path in sorted(root.rglob("*.json")):
        stem = path.relative_to(root).as_posix().removesuffix(".json")
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("image"), str):
            raise ExportError(f"{path} is no data card")
        checked_name(content["image"])
        yield stem, content


def card_shape(stem: str, content: dict[str, Any]) -> tuple[int, int]:
    """Return height and width that a data card claims; raises ExportError where they are absurd."""
    height, width = content.get("height"), content.get("width")
    if not isinstance(height, int) or not isinstance(width, int):
        raise ExportError(f"{stem}: height and width must be whole numbers")
    if height < 1 or width < 1 or height * width > sidecar.MAX_PIXELS:
        raise ExportError(f"{stem}: an image of {height} x {width} pixels cannot be read")
    return height, width
