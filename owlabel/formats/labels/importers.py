"""Reading labels of any registered format: which format it is, then one label map at a time."""

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
        If no registered format fits, or several do.
    """
    fitting = [item for item in importers().values() if _probe(item, path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(item.name for item in fitting)
        raise ValueError(f"{path} may be of several formats; name one of {names}")
    raise ValueError(f"{path} is of no known format of labels; there are {', '.join(importers())}")


def read_labels(
    path: Path, format_name: str | None = None, classes: ClassTable | None = None
) -> LabelMaps:
    """Read labels from elsewhere; each label map is checked when it comes.

    Parameters
    ----------
    path : Path
        A file or a folder.
    format_name : str, optional
        A key of `importers`; found by `format_of` if not given.
    classes : ClassTable, optional
        The table for files that name no classes.

    Raises
    ------
    ValueError
        If the format is unknown or cannot be read, or later, if a label map is not uint8 of shape
        (H, W), holds an id that is not in the class table, or bears a name that leads elsewhere.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    chosen = format_of(path) if format_name is None else FORMATS.pick([format_name])[0]
    if chosen.read is None:
        raise ValueError(f"the format {chosen.name!r} can be written only")
    found = chosen.read(path, classes)
    return LabelMaps(found.classes, _checked(path, found))


def _checked(path: Path, found: LabelMaps) -> Iterator[ReadImage]:
    known = [VOID, *(c.id for c in found.classes.classes)]
    for image in found.images:
        checked_name(image.name)
        labels = image.labels
        if getattr(labels, "ndim", 0) != 2 or labels.dtype != np.uint8:
            raise ValueError(f"{path}: the labels of {image.name!r} are no uint8 map (H, W)")
        if strange := np.setdiff1d(labels, np.array(known, np.uint8)).tolist():
            raise ValueError(f"{path}: {image.name!r} holds ids that name no class: {strange[:5]}")
        yield image


def _probe(item: Format, path: Path) -> bool:
    """Return whether a path seems to be of a format; a probe that fails says no."""
    try:
        return item.probe is not None and item.probe(path) is True
    except Exception as error:  # noqa: BLE001 - a package may raise anything
        _log.warning("the format %s could not look at %r: %s", item.name, str(path), error)
        return False
