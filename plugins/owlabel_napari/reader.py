"""Dropping a folder of images, or a project, on napari opens it in the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def napari_get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Any]] | None:
    """Return a reader for one folder that is a project or holds images, else None."""
    if not isinstance(path, str) or not _is_ours(Path(path)):
        return None
    return open_folder


def open_folder(path: str | list[str]) -> list[Any]:
    """Open the folder as a project; the panel makes the layers, so none are returned."""
    from owlabel_napari.main import current_panel

    current_panel().open_later(path if isinstance(path, str) else path[0])
    return [(None,)]


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if (folder / "project.db").is_file():
        return True
    from owlabel import images

    return bool(images.scan(folder))
