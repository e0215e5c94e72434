"""COCO run lengths of connected regions: counted down the columns, background first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from skimage.measure import label as connected

from owlabel.classes import VOID, Labels, Source
from owlabel.formats.atomic_folder import ExportError


@dataclass(frozen=True)
class Part:
    """One 8-connected region of one class.

    Attributes
    ----------
    class_id : int
    area : int
        Pixels.
    box : tuple of int
        Left, top, width, height in pixels, as in COCO.
    starts, lengths : array, shape (runs,)
        Runs in column order.
    """

    class_id: int
    area: int
    box: tuple[int, int, int, int]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def components(labels: Labels) -> NDArray[np.int32]:
    """Return for every pixel the number of its 8-connected region, (H, W); 0 for VOID."""
    regions = connected(labels, background=VOID, connectivity=2)  # type: ignore[no-untyped-call]
    return np.asarray(regions, np.int32)


def parts(labels: Labels, regions: NDArray[np.int32]) -> Iterator[Part]:
    """Yield the regions of a label map (H, W) in the order of their numbers 1, 2, ... in `regions`.

    One pass cuts all regions into runs, so the time does not grow with their number.
    """
    height = labels.shape[0]
    flat = regions.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    # a run also ends with its column, so that the bounding box follows from the runs
    starts = np.union1d(np.concatenate([[0], edges]), np.arange(0, flat.size, height))
    lengths = np.diff(starts, append=flat.size)
    numbers = flat[starts]
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(1, int(regions.max(initial=0)) + 2))
    for begin, end in pairwise(bounds.tolist()):
        mine = order[begin:end]
        yield _part(labels, starts[mine], lengths[mine])


def _part(labels: Labels, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Part:
    height = labels.shape[0]
    columns, rows = np.divmod(starts, height)
    left, top = int(columns.min()), int(rows.min())
    box = (left, top, int(columns.max()) + 1 - left, int((rows + lengths).max()) - top)
    class_id = int(labels[rows[0], columns[0]])
    return Part(class_id, int(lengths.sum()), box, starts, lengths)


def encode(part: Part, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a region as compressed COCO run lengths: ``{"size": [H, W], "counts": str}``."""
    ends = part.starts + part.lengths
    joined = part.starts[1:] == ends[:-1]  # runs that continue in the next column
    begins = part.starts[np.concatenate([[True], ~joined])]
    stops = ends[np.concatenate([~joined, [True]])]
    total = shape[0] * shape[1]
    borders = np.stack([begins, stops], 1).ravel()
    counts = np.diff(borders, prepend=0, append=total).tolist()
    counts = counts[:-1] if stops[-1] == total else counts
    packed = coco.frPyObjects({"size": list(shape), "counts": counts}, *shape)
    return {"size": list(shape), "counts": packed["counts"].decode("ascii")}


def main_sources(source: Labels, regions: NDArray[np.int32]) -> list[str]:
    """Return the source of most pixels of each region; entry 0 is for pixels outside regions."""
    pairs = np.bincount(regions.ravel().astype(np.int64) * 8 + source.ravel())
    pairs = np.pad(pairs, (0, -pairs.size % 8)).reshape(-1, 8)
    return [Source(int(best)).name.lower() for best in pairs.argmax(1)]


def paint(flat: Labels, counts: str, class_id: int) -> None:
    """Set the pixels that compressed COCO run lengths cover to `class_id`.

    The library's decoder trusts the size in the file.  Here no pixel changes before the run lengths
    are known to add up to the size of the map.

    Parameters
    ----------
    flat : array of uint8, shape (H * W,)
        The label map, column by column; changed in place.
    counts : str
        Run lengths, background first.
    class_id : int

    Raises
    ------
    ExportError
        If the text is malformed or does not fill the map.
    """
    paint_runs(flat, _unpack(counts), class_id)


def paint_runs(flat: Labels, runs: Sequence[int], class_id: int) -> None:
    """Set the pixels of plain run lengths, as COCO writes them for crowds; see `paint`."""
    ends = list(accumulate(runs))
    if any(run < 0 for run in runs) or not ends or ends[-1] != flat.size:
        raise ExportError(f"run lengths must not be negative and must add up to {flat.size} pixels")
    for start, end in zip(ends[:-1:2], ends[1::2], strict=False):
        flat[start:end] = class_id


def paint_polygons(
    flat: Labels, polygons: Sequence[Sequence[float]], shape: tuple[int, int], class_id: int
) -> None:
    """Set the pixels of polygons in an image of `shape`, each (x, y, x, y, ...) in pixels.

    Raises
    ------
    ExportError
        If a polygon has fewer than three corners or a coordinate that is not finite.
    """
    height, width = shape
    clipped = []
    for polygon in polygons:
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
            raise ExportError(
                f"a polygon needs at least three corners (6 numbers), got {len(polygon)} numbers"
            )
        if not np.isfinite(corners).all():
            raise ExportError("a polygon has a coordinate that is NaN or infinite")
        limits = np.tile([width, height], len(corners) // 2)  # the library's cost grows with length
        clipped.append(np.clip(corners, 0, limits).tolist())
    for packed in coco.frPyObjects(clipped, height, width) if clipped else []:
        paint(flat, packed["counts"].decode("ascii"), class_id)


def _unpack(counts: str) -> list[int]:
    """Decode COCO's packed run lengths: 5 bits per letter, differences from the third run on."""
    runs: list[int] = []
    value, shift = 0, 0
    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ExportError(f"compressed run lengths contain the invalid character {letter!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ExportError("run lengths end in the middle of a number")
    return runs
