"""Read image files: format, depth and colour; `decoding` turns them by EXIF orientation.

The content of a file decides its format, not its suffix.  Files are never written.
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
"""Suffixes of the files that `scan` returns."""
PROJECT_SUFFIX = ".owlabel"


def read(path: str | os.PathLike[str]) -> Pixels:
    """Read an image as upright RGB with 8 bits per channel.

    The function applies EXIF orientation, converts palettes and CMYK to RGB, repeats grey, drops
    alpha, and takes the first frame of an animation or stack.  It scales integers with more than 8
    bits from the smallest of the 8-, 10-, 12- and 16-bit ranges that holds their largest value, and
    floats from 0 .. 1, or from 0 .. 255 if a value exceeds 1.  It does not apply colour profiles.

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
        If the file is missing, empty, incomplete, not an image or above 400 megapixels, or if its
        values lie outside the expected range.
    """
    with errors_named(path), pixel_limit():
        return decoded(regular_file(path))


def size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (H, W) of the image that `read` returns, from the header alone.

    Raises ImageError like `read`.
    """
    with errors_named(path), pixel_limit():
        return shape_of(regular_file(path))


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return the first 32 hex digits of the SHA-256 of the file's bytes; raises ImageError."""
    with errors_named(path), regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def scan(folder: str | os.PathLike[str]) -> list[Path]:
    """Find the image files in a folder and below it, in natural order (image2 before image10).

    The scan skips hidden files and folders, project folders (``*.owlabel``), linked folders, and
    links to files outside `folder`.

    Parameters
    ----------
    folder : path-like
        The folder to scan.

    Returns
    -------
    list of Path
        Paths that begin with `folder` as given.  Files are chosen by suffix and not opened.

    Raises
    ------
    ImageError
        If `folder` is not a folder or cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageError(root, "this is not a folder; choose the folder that holds the images")
    if not os.access(root, os.R_OK | os.X_OK):
        raise ImageError(root, "this folder cannot be read; change its permissions")
    return [root / relative for relative in relative_paths(root)]


def relative_paths(root: Path) -> list[str]:
    """Return the image paths of `scan` as strings relative to the folder, with ``/``.

    This is faster than `scan` for many files.
    """
    return sorted(_walk(root), key=_natural_key)


def holds_images(folder: str | os.PathLike[str]) -> bool:
    """Return whether `scan` would return an image; stops at the first one."""
    root = Path(folder)
    return root.is_dir() and next(_walk(root), None) is not None


def _walk(root: Path) -> Iterator[str]:
    """Scan a folder; yield relative image paths with ``/`` and skip unreadable folders."""
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
    """Crop a box with a margin and scale it to a square.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        Red, green, blue.
    box : tuple of int
        (row0, col0, row1, col1), ends excluded; it may extend beyond the image.
    side : int
        Side of the square in pixels.

    Returns
    -------
    ndarray of uint8, shape (side, side, 3)
        The box with a margin of a quarter of its longer side; the crop is at least 32 pixels wide.
        Pixels outside the image are dark grey.

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
        raise ValueError(f"box {box} must overlap the image of {height} x {width} pixels")
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
    """Return whether this link points to a regular file inside the folder."""
    try:
        return file.is_file() and file.resolve().is_relative_to(real_root)
    except (OSError, RuntimeError):  # a link that points to itself
        return False


def _natural_key(path: str) -> tuple[list[list[str | int]], str]:
    """Order numbers in names by value; equal names fall back to the plain path."""
    parts = [re.split(r"([0-9]+)", part) for part in path.casefold().split("/")]
    return [[int(s) if i % 2 else s for i, s in enumerate(p)] for p in parts], path
