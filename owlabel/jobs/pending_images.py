"""The images for which a job has something to compute, the one in focus first."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from owlabel.images.files import ImageError, read
from owlabel.project.store import ImageRecord, Project


def waiting_images(
    project: Project, image_ids: Sequence[int] | None, missing: Callable[[ImageRecord], bool]
) -> list[ImageRecord]:
    """Return the readable images for which something is missing, in their order.

    Parameters
    ----------
    project : Project
    image_ids : sequence of int or None
        Only these; None for all.
    missing : callable
    """
    wanted = None if image_ids is None else set(image_ids)
    return [
        record
        for record in project.images()
        if record.error is None and (wanted is None or record.id in wanted) and missing(record)
    ]


def nearest_first(waiting: Sequence[ImageRecord], project: Project) -> Iterator[ImageRecord]:
    """Yield each waiting image once, always the one nearest to the image now in focus.

    Finding the nearest image takes about the same time for any number of images.
    """
    order = {record.id: place for place, record in enumerate(project.images())}
    left = sorted(waiting, key=lambda record: order.get(record.id, len(order)))
    places = [order.get(record.id, len(order)) for record in left]
    before = list(range(len(left) + 1))  # before[i + 1] - 1: the last waiting image up to i, or -1
    after = list(range(len(left) + 1))  # after[i]: the first waiting image from i on, or len(left)
    for _ in left:
        focus = order.get(project.focus() or -1, 0)
        position = bisect_left(places, focus)
        lower, upper = _root(before, position) - 1, _root(after, position)
        above = places[upper] - focus if upper < len(left) else math.inf
        chosen = lower if lower >= 0 and focus - places[lower] <= above else upper
        before[chosen + 1], after[chosen] = chosen, chosen + 1
        yield left[chosen]


def _root(parents: list[int], place: int) -> int:
    """Follow a chain to its end and shorten it on the way."""
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def thinned(records: list[ImageRecord], most: int) -> list[ImageRecord]:
    """Return at most `most` records, evenly spread."""
    if len(records) <= most:
        return records
    places = np.linspace(0, len(records) - 1, most).round().astype(int)
    return [records[i] for i in places]


def read_or_store_error(project: Project, record: ImageRecord) -> NDArray[np.uint8] | None:
    """Return the pixels (H, W, 3) of an image; if it cannot be read, store why and return None."""
    try:
        return read(record.path)
    except ImageError as error:
        project.set_image_error(record.id, str(error))
        return None
