"""Runs every export: image by image, into a folder that appears only when it is complete."""

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
    """Writes the files that are specific to one format.

    ``Writer(folder, classes)`` creates one for an export folder and a class table.
    """

    def add(self, image: LabelledImage, stem: str) -> None:
        """Write one image; `stem` is its path in the export, without suffix."""
        ...

    def finish(self) -> None:
        """Write the files that an export has only once."""
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
    """Write an export and yield the name of each image once it is written.

    Only one image is in memory at a time.  If the generator is closed early, no files remain.

    Returns
    -------
    list of Path
        All files of the export.

    Raises
    ------
    ExportError
        If the target must not be replaced, an image does not fit the class table, or writing
        fails.
    """
    with replacing(folder, overwrite) as temporary:
        format_writer, stems, count = writer(temporary, classes), Stems(), 0
        for image in images:
            sidecar.check(image, classes)
            stem = stems.take(image.name)
            format_writer.add(image, stem)
            sidecar.write(temporary, stem, image, classes, provenance)
            count += 1
            yield image.name
        format_writer.finish()
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
    """Write an export to its end and return its files; see `stream`."""
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
    """Read the class table of an export; raises ExportError if it is malformed."""
    rows = read_json(folder / "classes.json")
    try:
        return ClassTable.from_json(rows)
    except ValueError as error:
        raise ExportError(f"{folder / 'classes.json'}: {error}") from error


def expect(folder: Path, format_name: str) -> None:
    """Raise ExportError unless `folder` is an export of this format that we can read."""
    about = read_json(folder / MARKER)
    if not isinstance(about, dict) or about.get("format") != format_name:
        raise ExportError(f"{folder} is not an export of the format {format_name!r}")
    if about.get("version") != VERSION:
        raise ExportError(
            f"{folder} has version {about.get('version')!r}; this OWLabel reads version {VERSION}"
        )


def cards(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the stem and the data card of every image of an export, sorted by path."""
    root = folder / FOLDER
    for path in sorted(root.rglob("*.json")):
        stem = path.relative_to(root).as_posix().removesuffix(".json")
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("image"), str):
            raise ExportError(f"{path} is not a data card of an export")
        checked_name(content["image"])
        yield stem, content


def card_shape(stem: str, content: dict[str, Any]) -> tuple[int, int]:
    """Return height and width from a data card; raises ExportError if they are not valid."""
    height, width = content.get("height"), content.get("width")
    if not isinstance(height, int) or not isinstance(width, int):
        raise ExportError(f"{stem}: height and width must be whole numbers")
    if height < 1 or width < 1 or height * width > sidecar.MAX_PIXELS:
        raise ExportError(
            f"{stem}: the size must be 1 .. {sidecar.MAX_PIXELS} pixels, got {height} x {width}"
        )
    return height, width
