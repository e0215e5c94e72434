"""The images for which a job has something to compute, the one in focus first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from owlabel.images import ImageError, read
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
    """Yield each waiting image once: the nearest in order to the one that is in focus by then."""
    order = {record.id: place for place, record in enumerate(project.images())}
    left = list(waiting)
    while left:
        focus = order.get(project.focus() or -1, 0)
        record = min(left, key=lambda record: abs(order.get(record.id, len(order)) - focus))
        left.remove(record)
        yield record


def read_or_note(project: Project, record: ImageRecord) -> NDArray[np.uint8] | None:
    """Return the pixels (H, W, 3) of an image; None, and a note at it, where it cannot be read."""
    try:
        return read(record.path)
    except ImageError as error:
        project.set_image_error(record.id, str(error))
        return None
