"""Pending clicks, and the region that they propose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from owlabel.images.decoding import ImageError
from owlabel.novel import click_regions
from owlabel.novel.click_regions import Region
from owlabel.novel.label_maps import ModelOutput, Rule
from owlabel.ood.registry import SCORES


@dataclass(frozen=True)
class Click:
    """One click in image pixels; it extends the region if `add` is True, else reduces it."""

    row: int
    col: int
    add: bool = True


class EventLike(Protocol):
    """The attributes of a project's event that this module reads."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """The recorded values of the event."""
        ...


def pending_clicks(newest_first: Iterable[EventLike], image_id: int) -> tuple[Click, ...]:
    """Return the pending clicks on an image, oldest first.

    `newest_first` are the click events at the end of the log.  A click on another image ends the
    pending region.
    """
    clicks: list[Click] = []
    for event in newest_first:
        if event.payload["image_id"] != image_id:
            break
        clicks.append(
            Click(int(event.payload["row"]), int(event.payload["col"]), bool(event.payload["add"]))
        )
    return tuple(reversed(clicks))


def click_region(
    clicks: Sequence[Click],
    output: ModelOutput | None,
    image: Callable[[], NDArray[np.uint8]],
    rule: Rule,
) -> Region:
    """Return the region that the clicks propose, from embedding, score and colour.

    Parameters
    ----------
    clicks : sequence of Click
        At least one with `add`.
    output : ModelOutput or None
        None while the image has no embedding; the region then depends on colour alone.
    image : callable
        Returns the RGB image.  If it raises ImageError because the file cannot be read, the region
        depends on embedding and score alone.
    rule : Rule
        Gives the prototype length for the score.
    """
    positives = [(c.row, c.col) for c in clicks if c.add]
    negatives = [(c.row, c.col) for c in clicks if not c.add]
    if output is None:
        return click_regions.propose_from_colour(image(), positives, negatives)
    score = SCORES["eds_absolute"].of(output.embedding, rule.prototype_length)
    picture = None
    with suppress(ImageError):
        picture = image()
    return click_regions.propose(
        output.embedding, output.shape, positives, negatives, score, picture
    )
