"""The shots of novel classes: their mean embeddings, prototypes, and the key of what they find."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import MAX_CLASSES, Labels, present
from owlabel.novel.prototypes import NovelPrototype, image_mean, novel_prototype

Vector = NDArray[np.float64]
Means = dict[int, dict[int, Vector]]
"""Class id to image id to the mean embedding of that image's shot."""
RULE_VERSION = 2
"""Version of the rule of `owlabel.novel.occurrences`; results of other versions are not read."""


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
    return {c: image_mean(embedding, human == c) for c in novel}


def prototypes(means: Means) -> tuple[NovelPrototype, ...]:
    """Average the image means of each class that has any; each image counts once."""
    return tuple(
        NovelPrototype(class_id, novel_prototype([shots[i] for i in sorted(shots)]), len(shots))
        for class_id, shots in sorted(means.items())
        if shots
    )


def occurrence_key(
    head_hash: str,
    prototypes: Sequence[NovelPrototype],
    lambda_novel: float,
    heads: Sequence[tuple[int, str]] = (),
) -> str:
    """Return the key under which the occurrences of these classes in the data set are stored.

    Parameters
    ----------
    head_hash : str
        The base head.
    prototypes : sequence of NovelPrototype
    lambda_novel : float
    heads : sequence of (class id, head hash)
        The PLM heads.
    """
    rule = [[p.class_id, p.vector.tolist()] for p in prototypes]
    value = [RULE_VERSION, head_hash, lambda_novel, rule, [list(head) for head in heads]]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
