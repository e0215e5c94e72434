"""Image files to pixels: orientation, depth and colour are settled here, once.

The content of a file decides what it is, not its suffix.  Files are only ever read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from owlabel.images.decoding import (
    MAX_PIXELS,
    ImageError,
    Pixels,
    decoded,
    errors_named,
    pixel_limit,
    regular_file,
    shape_of,
)

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "ImageError",
    "content_hash",
    "read",
    "scan",
    "size",
    "thumbnail",
]

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
     ".tif", ".tiff", ".webp")
)  # fmt: skip
"""What `scan` takes for an image."""
PROJECT_SUFFIX = ".owlabel"


def read(path: str | os.PathLike[str]) -> Pixels:
    """Read an image as it is meant to be seen.

    EXIF orientation is applied, palettes and CMYK become RGB, grey is repeated, alpha is dropped,
    the first frame of an animation or stack is taken.  Integers beyond 8 bits are scaled from the
    smallest of the 8-, 10-, 12- and 16-bit ranges that holds their largest value; floats from
    0 .. 1, or from 0 .. 255 where one exceeds 1.  Colour profiles are not applied.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Red, green, blue; contiguous and writable.

    Raises
    ------
    ImageError
        If the file is missing, empty, cut, no image, above 400 megapixels, or holds numbers that
        are no brightness.
    """
    with errors_named(path), pixel_limit():
        return decoded(regular_file(path))


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (H, W) as `read` would, from the header alone; raises ImageError like it."""
    with errors_named(path), pixel_limit():
        return shape_of(regular_file(path))


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return the first 32 hex digits of the SHA-256 of the file's bytes; raises ImageError."""
    with errors_named(path), regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def scan(folder: str | os.PathLike[str]) -> list[Path]:
    """Find the image files in a folder and below it, in natural order (image2 before image10).

    Hidden files and folders, project folders (``*.owlabel``), linked folders, and links to files
    outside `folder` are skipped.

    Parameters
    ----------
    folder : path-like
        Where to look.

    Returns
    -------
    list of Path
        Below `folder` as given; chosen by suffix, not opened.

    Raises
    ------
    ImageError
        If `folder` is not a folder or cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageError(root, "this is not a folder; choose the folder that holds the images")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ImageError(root, "this folder may not be read; change its permissions")
    return [root / relative for relative in relative_paths(root)]


def relative_paths(root: Path) -> list[str]:
    """Return what `scan` finds, as paths below the folder with ``/``: quick for many files."""
    return sorted(_walk(root), key=_natural_key)


def holds_images(folder: str | os.PathLike[str]) -> bool:
    """Tell whether `scan` finds anything; looks no further than the first image."""
    root = Path(folder)
    return root.is_dir() and next(_walk(root), None) is not None


def _walk(root: Path) -> Iterator[str]:
    """Yield the paths of images below a folder, with ``/``; what cannot be read is passed over."""
    real_root, waiting = root.resolve(), [""]
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(root / below))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.endswith(PROJECT_SUFFIX):
                    waiting.append(f"{below}{entry.name}/")
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                regular = entry.is_file(follow_symlinks=False)
                if regular or (entry.is_symlink() and _stays_inside(Path(entry.path), real_root)):
                    yield below + entry.name


def thumbnail(image: Pixels, box: tuple[int, int, int, int], side: int) -> Pixels:
    """Cut out a box with a margin around it and fit it into a square.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Red, green, blue.
    box : tuple of int
        (row0, col0, row1, col1), ends excluded; it may reach over the border.
    side : int
        Pixels of the square.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        A square part of the image: the box with a quarter of its longer side around it, at least 32
        pixels.  What lies outside the image is dark grey.

    Raises
    ------
    ValueError
        If the box is empty or misses the image, or `side` is below 1.
    """
    row0, col0, row1, col1 = box
    height, width = image.shape[:2]
    if side < 1:
        raise ValueError(f"side must be at least 1, got {side}")
    if max(row0, 0) >= min(row1, height) or max(col0, 0) >= min(col1, width):
        raise ValueError(f"box {box} holds no pixel of an image of {height} x {width}")
    extent = max(32, round(1.5 * max(row1 - row0, col1 - col0)))
    top, left = (row0 + row1 - extent) // 2, (col0 + col1 - extent) // 2
    rows = slice(max(top, 0), min(top + extent, height))
    columns = slice(max(left, 0), min(left + extent, width))
    place = [round((edge - top) * side / extent) for edge in (rows.start, rows.stop)]
    place += [round((edge - left) * side / extent) for edge in (columns.start, columns.stop)]
    canvas = np.full((side, side, 3), 40, np.uint8)
    shape = (max(1, place[3] - place[2]), max(1, place[1] - place[0]))
    cut = np.ascontiguousarray(image[rows, columns])
    small = np.asarray(Image.fromarray(cut).resize(shape, Image.Resampling.BILINEAR))
    row, column = min(place[0], side - shape[1]), min(place[2], side - shape[0])
    canvas[row : row + shape[1], column : column + shape[0]] = small
    return canvas


def _stays_inside(file: Path, real_root: Path) -> bool:
    """Say whether this link leads to a regular file in the folder."""
    try:
        return file.is_file() and file.resolve().is_relative_to(real_root)
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def _natural_key(path: str) -> tuple[list[list[str | int]], str]:
    """Order numbers in names by value; equal names fall back to the plain path."""
    parts = [re.split(r"([0-9]+)", part) for part in path.casefold().split("/")]
    return [[int(s) if i % 2 else s for i, s in enumerate(p)] for p in parts], path
