"""Clicks that wait for a name, and the region that they propose."""

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
    """One click on an image, in image pixels; `add` is False where it takes away."""

    row: int
    col: int
    add: bool = True


class EventLike(Protocol):
    """The part of a project's event that is read here."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """What was done with what."""
        ...


def pending_clicks(newest_first: Iterable[EventLike], image_id: int) -> tuple[Click, ...]:
    """Return the clicks on an image that nobody has accepted yet, from the clicks that end the log.

    Clicks on another image end the pending region.
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
    """Return the region that the clicks propose: by embedding, score and colour, else by colour.

    Parameters
    ----------
    clicks : sequence of Click
        At least one that adds.
    output : ModelOutput or None
        None while the image is not embedded; then the picture's colours decide.
    image : callable
        Returns the picture; raises ImageError where its file cannot be read, then the embedding
        decides alone.
    rule : Rule
        For the prototype length of the score.
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
