"""A folder of images, a project or the samples, given to napari, open in the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from owlabel.view.open_project import can_open
from owlabel_napari.entry import windows
from owlabel_napari.entry.samples import URI, street_scenes


def napari_get_reader(
    path: str | list[str] | None = None,
) -> Callable[[str | list[str]], list[Any]] | None:
    """Return a reader for the samples or one folder with images or a project, else None.

    The command palette lists this, too, and names no path: then the annotator is asked.
    """
    if path is None:
        windows.choose_folder()
        return None
    if path == URI:
        return open_samples
    if not isinstance(path, str) or not can_open(Path(path)):
        return None
    return open_folder


def open_samples(_uri: str | list[str]) -> list[Any]:
    """Open the sample project; the panel makes the layers, so none are returned."""
    street_scenes()
    return [(None,)]


def open_folder(path: str | list[str]) -> list[Any]:
    """Open the folder as a project; the panel makes the layers, so none are returned."""
    windows.current_panel().open_later(path if isinstance(path, str) else path[0])
    return [(None,)]
