"""The label formats by name, with their writers and readers.

A package adds a format through an entry point of the group ``owlabel.formats`` whose object is a
`Format`.  The window, ``owlabel export`` and the importers then offer it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from owlabel.classes import ClassTable
from owlabel.formats.atomic_folder import ExportError
from owlabel.formats.labels import coco_instances, coco_panoptic, indexed_png, stream
from owlabel.formats.labels.provenance import LabelledImage, Provenance, ReadImage
from owlabel.formats.labels.stream import Steps, Writer
from owlabel.registry import Registry, instance_of


@dataclass(frozen=True)
class LabelMaps:
    """Imported labels.

    Attributes
    ----------
    classes : ClassTable
        The classes of the label maps.
    images : iterable of ReadImage
        One label map per image, read one at a time: uint8 class ids of `classes`, 255 is void.
    """

    classes: ClassTable
    images: Iterable[ReadImage]


@dataclass(frozen=True)
class Format:
    """A label format that OWLabel can write, read, or both.

    Attributes
    ----------
    name : str
        Its key in `FORMATS` and in ``owlabel export --format``.
    title : str
        Its name in the window.
    writer : type of Writer, optional
        Writes one image at a time into a folder.  OWLabel adds class table and provenance.
    probe : callable, optional
        ``probe(path) -> bool``: whether a file or folder seems to have this format.  It should
        read only file names or a header.
    read : callable, optional
        ``read(path, classes=None) -> LabelMaps``.  `classes` is the table for files that name no
        classes.  Raises ValueError with the file and the remedy.

    Raises
    ------
    ValueError
        If it has neither a writer nor both of `probe` and `read`.
    """

    name: str
    title: str
    writer: Callable[[Path, ClassTable], Writer] | None = None
    probe: Callable[[Path], bool] | None = None
    read: Callable[..., LabelMaps] | None = None

    def __post_init__(self) -> None:
        if (self.probe is None) != (self.read is None) or not (self.writer or self.read):
            raise ValueError(f"the format {self.name!r} needs a writer, or both probe and read")

    def stream(
        self,
        folder: Path,
        classes: ClassTable,
        images: Iterable[LabelledImage],
        provenance: Provenance,
        overwrite: bool = False,
    ) -> Steps:
        """Write an export, see `owlabel.formats.labels.stream.stream`.

        Raises
        ------
        ValueError
            If the format has no writer.
        """
        if self.writer is None:
            raise ValueError(
                f"the format {self.name!r} can only be read; choose from {', '.join(exporters())}"
            )
        return stream.stream(self.name, self.writer, folder, classes, images, provenance, overwrite)


def _is_ours(name: str, folder: Path) -> bool:
    """Return whether a folder is an export of this format."""
    try:
        stream.expect(folder, name)
    except (ExportError, OSError):
        return False
    return True


def _read_ours(
    read: Callable[[Path], Iterable[ReadImage]], folder: Path, classes: ClassTable | None = None
) -> LabelMaps:
    """Return the labels of an OWLabel export, with the class table stored beside them."""
    return LabelMaps(stream.read_classes(folder), read(folder))


def _ours(
    name: str,
    title: str,
    writer: Callable[[Path, ClassTable], Writer],
    read: Callable[[Path], Iterable[ReadImage]],
) -> Format:
    return Format(name, title, writer, partial(_is_ours, name), partial(_read_ours, read))


_BUILTIN = (
    _ours(indexed_png.FORMAT, "PNG masks", indexed_png.MaskWriter, indexed_png.read),
    _ours(coco_instances.FORMAT, "COCO instances (RLE)", coco_instances.InstanceWriter,
          coco_instances.read),
    _ours(coco_panoptic.FORMAT, "COCO panoptic", coco_panoptic.PanopticWriter,
          coco_panoptic.read),
)  # fmt: skip
FORMATS: Registry[Format] = Registry(
    "owlabel.formats", "format", {item.name: item for item in _BUILTIN}, instance_of(Format)
)
"""Every format by its name, in the order in which the window offers them."""


def exporters() -> dict[str, Format]:
    """Return the formats that can be written."""
    return {name: item for name, item in FORMATS.items() if item.writer is not None}


def importers() -> dict[str, Format]:
    """Return the formats that can be read."""
    return {name: item for name, item in FORMATS.items() if item.read is not None}
