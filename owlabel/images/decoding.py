"""Decode image files to upright RGB with Pillow, tifffile and OpenCV."""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

Pixels: TypeAlias = NDArray[np.uint8]

MAX_PIXELS = 400_000_000
"""Larger images are rejected before any pixel is decoded."""

_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_RANGES = (255, 1023, 4095, 65535)  # 8, 10, 12 and 16 bits
_ORIENTATION = 0x0112
_TIFF_COMPRESSIONS = (1, 8, 32946, 34925)  # none, deflate (two ids), LZMA; no extra codecs needed
_TOO_LARGE = f"it has more than {MAX_PIXELS // 1_000_000} megapixels; cut it into tiles"
_NO_IMAGE = "it is not an image in a known format; convert it to PNG, JPEG or TIFF"
_DECODING = threading.RLock()  # Pillow's pixel limit and Python's warning filters are global
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""EXIF orientation to the operation that turns the stored array upright."""


class ImageError(ValueError):
    """An image cannot be used.

    Parameters
    ----------
    path : path-like
        The file or folder.
    reason : str
        What is wrong and what to do about it, in words for the annotator.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def decoded(file: Path) -> Pixels:
    """Return the pixels of a file, contiguous and writable; see `owlabel.images.files.read`."""
    return np.ascontiguousarray(_read_tiff(file) if _is_tiff(file) else _read_other(file))


def shape_of(file: Path) -> tuple[int, int]:
    """Return (H, W) of the decoded image from the header alone."""
    if _is_tiff(file):
        with tifffile.TiffFile(file) as tiff:
            page = _checked_page(tiff, file)
            height, width, orientation = page.imagelength, page.imagewidth, _tiff_turn(page)
    else:
        with _opened(file) as image:
            (width, height), orientation = image.size, _orientation(image, file)
    return (width, height) if orientation >= 5 else (height, width)


@contextmanager
def errors_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn any error of the system or a decoder into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(path, _TOO_LARGE) from error
    except FileNotFoundError as error:
        raise ImageError(path, "there is no such file; was it moved or renamed?") from error
    except PermissionError as error:
        raise ImageError(path, "the file cannot be read; change its permissions") from error
    except MemoryError as error:
        raise ImageError(path, "there is not enough memory for it; make it smaller") from error
    except Exception as error:
        cause = str(error) or type(error).__name__
        raise ImageError(path, f"it cannot be read ({cause}); copy or export it again") from error


@contextmanager
def pixel_limit() -> Iterator[None]:
    """Apply our pixel limit in Pillow instead of its default, and silence its other warnings."""
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def regular_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a non-empty regular file; raises ImageError for anything else.

    Pipes and devices are rejected because reading them could block.
    """
    file = Path(path)
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(file, "this is not a file; choose an image")
    if not status.st_size:
        raise ImageError(file, "the file is empty; copy it again")
    return file


@contextmanager
def _opened(file: Path) -> Iterator[ImageFile]:
    """Open the header of an image in one of our formats, within the pixel limit.

    Pillow gets a stream, not a file name.  It would map a named raw TIFF into memory and garble it
    if the orientation swaps height and width.
    """
    with file.open("rb") as stream:
        try:
            image = Image.open(stream, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise ImageError(file, _NO_IMAGE) from error
        with image:
            yield image


def _orientation(image: ImageFile, file: Path) -> int:
    """Return the EXIF orientation that remains to be applied, 1 .. 8; 1 if EXIF is unreadable."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG" and _png_ends_with_metadata(file):
        image.load()
    try:
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)  # PNG's getexif decodes pixels
    except Exception:  # noqa: BLE001 - a broken EXIF block must not hide the picture
        return 1
    return value if value in _TURNS else 1


def _png_ends_with_metadata(file: Path) -> bool:
    """Scan the chunks of a PNG; return whether EXIF or text follows the pixels."""
    pixels_seen = False
    with file.open("rb") as stream:
        stream.seek(8)
        while len(head := stream.read(8)) == 8:
            if pixels_seen and head[4:] in (b"eXIf", b"iTXt", b"zTXt", b"tEXt"):
                return True
            pixels_seen |= head[4:] == b"IDAT"
            stream.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def _read_other(file: Path) -> NDArray[Any]:
    """Read any file that Pillow supports, except TIFF with more than 8 bits per channel."""
    with _opened(file) as image:
        deep_png = image.format == "PNG" and ";16" in str(image.tile[0][3])
        orientation = _orientation(image, file)  # may decode a PNG, which empties `tile`
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            pixels = _to_rgb(file, np.asarray(image))
        elif deep_png:
            image.load()  # raises for a truncated file; OpenCV may not
            pixels = _to_rgb(file, _deep_png(file))
        else:
            pixels = np.array(image.convert("RGB"))
    return _TURNS[orientation](pixels)


def _deep_png(file: Path) -> NDArray[Any]:
    """Read a colour PNG with 16 bits per channel, which Pillow would reduce to 8."""
    pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError(file, "its 16-bit colours cannot be decoded; export it again")
    return pixels[..., 2::-1] if pixels.ndim == 3 else pixels  # OpenCV: blue, green, red, alpha


def _is_tiff(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _tiff_turn(page: Any) -> int:
    tag = page.tags.get(_ORIENTATION)
    return tag.value if tag is not None and tag.value in _TURNS else 1


def _checked_page(tiff: tifffile.TiffFile, file: Path) -> Any:
    """Return the first page; raises ImageError if it is too large or has over 5 channels."""
    page = tiff.pages.first
    channels = page.samplesperpixel
    if page.imagewidth * page.imagelength * page.imagedepth > MAX_PIXELS:
        raise ImageError(file, _TOO_LARGE)
    if channels > 5:
        raise ImageError(file, f"it has {channels} channels; save three of them as RGB")
    return page


def _read_tiff(file: Path) -> NDArray[Any]:
    """Read the first page of a TIFF: with Pillow up to 8 bits, else with tifffile."""
    with tifffile.TiffFile(file) as tiff:
        page = _checked_page(tiff, file)
        if page.dtype in (np.uint8, np.bool_):
            return _read_other(file)
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if max(ends, default=0) > file.stat().st_size:
            raise ImageError(file, "the file is incomplete; copy it again")
        if page.compression not in _TIFF_COMPRESSIONS:
            return _read_packed_tiff(file, page)
        pixels, axes = page.asarray(), page.axes
        for axis in [a for a in axes if a not in "YXS"]:  # planes of a stack
            pixels, axes = np.take(pixels, 0, axes.index(axis)), axes.replace(axis, "")
        if "S" in axes:
            pixels = np.moveaxis(pixels, axes.index("S"), -1)
        pixels, orientation = _tiff_colors(file, page, pixels), _tiff_turn(page)
        return _TURNS[orientation](pixels)


def _read_packed_tiff(file: Path, page: Any) -> NDArray[Any]:
    """Read a grey deep TIFF whose compression only Pillow supports; reject coloured ones."""
    with _opened(file) as image:
        if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
            problem = f"its 16-bit colours are compressed with {page.compression.name}"
            raise ImageError(file, f"{problem}; save it without compression, or with ZIP")
        image.load()  # turns it upright
        return _tiff_colors(file, page, np.asarray(image))


def _tiff_colors(file: Path, page: Any, pixels: NDArray[Any]) -> Pixels:
    """Return the RGB image of the values of a TIFF page, (H, W[, C])."""
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    if page.photometric == tifffile.PHOTOMETRIC.SEPARATED and pixels.ndim == 3:
        inks = np.ascontiguousarray(_to_uint8(file, pixels[..., :4]))
        return np.array(Image.fromarray(inks, "CMYK").convert("RGB"))
    return _to_rgb(file, pixels)


def _to_rgb(file: Path, pixels: NDArray[Any]) -> Pixels:
    """Scale to 8 bits, repeat grey, and drop channels after the third or after a grey one."""
    colors = pixels[..., None] if pixels.ndim == 2 else pixels
    colors = _to_uint8(file, colors[..., :3] if colors.shape[-1] >= 3 else colors[..., :1])
    return np.repeat(colors, 3, axis=-1) if colors.shape[-1] == 1 else colors


def _to_uint8(file: Path, pixels: NDArray[Any]) -> Pixels:
    """Scale integers of up to 16 bits and floats in 0 .. 1 or 0 .. 255 to 8 bits."""
    low, high = pixels.min(), pixels.max()
    floats = pixels.dtype.kind == "f"
    limit = 255 if floats else _RANGES[-1]
    if not (low >= 0 and high <= limit):  # also true for NaN
        expected = "0 .. 1 or 0 .. 255" if floats else f"0 .. {limit}"
        raise ImageError(file, f"its values range over {low} .. {high}; rescale them to {expected}")
    whole = 1 if floats and high <= 1 else next(r for r in _RANGES if high <= r)
    if whole == 255 and not floats:
        return pixels.astype(np.uint8)
    return (pixels * np.float32(255 / whole) + np.float32(0.5)).astype(np.uint8)
