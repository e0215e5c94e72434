"""What a sitting remembers between two clicks: pending clicks and the shots of novel classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from owlabel import fewshot, regions
from owlabel.classes import MAX_CLASSES, Labels, present
from owlabel.decoding import ImageError
from owlabel.fewshot import NovelPrototype
from owlabel.labelling import ModelOutput, Rule
from owlabel.regions import Region
from owlabel.scores import SCORES

Vector = NDArray[np.float64]
Means = dict[int, dict[int, Vector]]
"""Class id to image id to the mean embedding of that image's shot."""
FINDS_VERSION = 2
"""Of the rule by which a claim is a find (`owlabel.finds`): what another one stored is not read."""


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


def shot_means(
    embedding: NDArray[np.float32], human: Labels, base_classes: int
) -> dict[int, Vector]:
    """Return the mean embedding of the pixels of each novel class that the human layer holds.

    Parameters
    ----------
    embedding : array, shape (N, h, w)
    human : array, shape (H, W)
    base_classes : int
        Ids below this are of classes that the base model knows.
    """
    novel = (c for c in present(human) if base_classes <= c < MAX_CLASSES)
    return {c: fewshot.image_mean(embedding, human == c) for c in novel}


def prototypes(means: Means) -> tuple[NovelPrototype, ...]:
    """Average the image means of each class that has any; each image counts once."""
    return tuple(
        NovelPrototype(
            class_id, fewshot.novel_prototype([shots[i] for i in sorted(shots)]), len(shots)
        )
        for class_id, shots in sorted(means.items())
        if shots
    )


def findings_key(
    head_hash: str,
    found: Sequence[NovelPrototype],
    lambda_novel: float,
    heads: Sequence[tuple[int, str]] = (),
) -> str:
    """Return the key under which the finds of these prototypes over the data set are stored.

    Parameters
    ----------
    head_hash : str
        The base head.
    found : sequence of NovelPrototype
    lambda_novel : float
    heads : sequence of (class id, head hash)
        The PLM heads.
    """
    rule = [[p.class_id, p.vector.tolist()] for p in found]
    value = [FINDS_VERSION, head_hash, lambda_novel, rule, [list(head) for head in heads]]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


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
        return regions.propose_from_colour(image(), positives, negatives)
    score = SCORES["eds_absolute"].function(output.embedding, rule.prototype_length)
    picture = None
    with suppress(ImageError):
        picture = image()
    return regions.propose(output.embedding, output.shape, positives, negatives, score, picture)
