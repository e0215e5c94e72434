"""Reads labels of any registered format: detects the format, then reads one map at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from owlabel.classes import VOID, ClassTable
from owlabel.formats.atomic_folder import checked_name
from owlabel.formats.labels.provenance import ReadImage
from owlabel.formats.labels.registry import FORMATS, Format, LabelMaps, importers

_log = logging.getLogger("owlabel.plugins")


def format_of(path: Path) -> Format:
    """Return the format of a file or folder.

    Raises
    ------
    ValueError
        If no registered format fits, or several fit.
    """
    fitting = [item for item in importers().values() if _probe(item, path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(item.name for item in fitting)
        raise ValueError(f"{path} fits several formats; name one of {names}")
    raise ValueError(f"{path} has no known label format; OWLabel reads {', '.join(importers())}")


def read_labels(
    path: Path, format_name: str | None = None, classes: ClassTable | None = None
) -> LabelMaps:
    """Read labels from another tool; each label map is checked when it is read.

    Parameters
    ----------
    path : Path
        A file or a folder.
    format_name : str, optional
        A key of `importers`; detected by `format_of` if not given.
    classes : ClassTable, optional
        The table for files that name no classes.

    Raises
    ------
    ValueError
        If the format is unknown or cannot be read.  While reading: if a label map is not uint8 of
        shape (H, W), holds an id that is not in the class table, or has an unsafe image name.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    chosen = format_of(path) if format_name is None else FORMATS.pick([format_name])[0]
    if chosen.read is None:
        raise ValueError(
            f"the format {chosen.name!r} can only be written; choose from {', '.join(importers())}"
        )
    label_maps = chosen.read(path, classes)
    return LabelMaps(label_maps.classes, _checked(path, label_maps))


def _checked(path: Path, label_maps: LabelMaps) -> Iterator[ReadImage]:
    known = [VOID, *(c.id for c in label_maps.classes.classes)]
    for image in label_maps.images:
        checked_name(image.name)
        labels = image.labels
        if getattr(labels, "ndim", 0) != 2 or labels.dtype != np.uint8:
            raise ValueError(f"{path}: the labels of {image.name!r} must be uint8 of shape (H, W)")
        if strange := np.setdiff1d(labels, np.array(known, np.uint8)).tolist():
            raise ValueError(
                f"{path}: {image.name!r} holds ids that are not in the class table: {strange[:5]}"
            )
        yield image


def _probe(item: Format, path: Path) -> bool:
    """Return whether a path seems to have a format; False if its probe raises an error."""
    try:
        return item.probe is not None and item.probe(path) is True
    except Exception as error:  # noqa: BLE001 - a package may raise anything
        _log.warning("the format %s could not probe %r: %s", item.name, str(path), error)
        return False
