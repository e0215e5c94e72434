"""From cached embeddings and what a human said to one label map, and who said each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays import embedding_grid
from owlabel.classes import UNSET, VOID, Labels, Source
from owlabel.novel import prototypes as fewshot
from owlabel.novel.prototypes import NovelPrototype
from owlabel.ood.registry import SCORES

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ModelOutput:
    """What the cache holds of one image.

    Attributes
    ----------
    shape : tuple of int
        Height and width of the image.
    embedding : array, shape (N, h, w)
        Embedding of the base head.
    heads : tuple of (class id, array of shape (N + i, h, w))
        Embeddings of the PLM heads, in the order in which they were trained.
    """

    shape: tuple[int, int]
    embedding: Floats
    heads: tuple[tuple[int, Floats], ...] = ()


@dataclass(frozen=True)
class Rule:
    """What turns a `ModelOutput` into labels beside the network itself.

    Attributes
    ----------
    prototypes : tuple of NovelPrototype
        One for each novel class that has shots and no trained head.
    lambda_novel : float
        Squared distance threshold of NPM.
    prototype_length : float
        T, the length of the base prototypes.
    """

    prototypes: tuple[NovelPrototype, ...] = ()
    lambda_novel: float = 1.5
    prototype_length: float = 3.0


class LabelMap(NamedTuple):
    """Labels and their source, both uint8 of shape (H, W)."""

    labels: Labels
    source: Labels


def trained(output: ModelOutput) -> LabelMap:
    """Label one image by what was trained alone: base classes, then PLM heads.

    References
    ----------
    DMLNet (arXiv 2108.04562): PLM_all.
    """
    base = embedding_grid.argmax_upsampled(output.embedding, output.shape)
    source = np.full(base.shape, Source.BASE, np.uint8)
    if not output.heads:
        return LabelMap(base, source)
    labels = fewshot.overwrite_with_heads(base, list(output.heads), output.shape)
    source[labels != base] = Source.PLM
    return LabelMap(labels, source)


def predict(output: ModelOutput, rule: Rule, under: LabelMap | None = None) -> LabelMap:
    """Label one image: base classes, then PLM heads, then novel prototypes (NPM).

    Parameters
    ----------
    output : ModelOutput
    rule : Rule
    under : LabelMap, optional
        What `trained` says of this output, if that is known already: it does not depend on the
        rule.

    References
    ----------
    DMLNet (arXiv 2108.04562): the novel prototype rule, Eq. 12.
    """
    under = trained(output) if under is None else under
    if not rule.prototypes:
        return under
    labels = fewshot.claim_novel(
        output.embedding, under.labels, list(rule.prototypes), rule.lambda_novel
    )
    source = under.source.copy()
    np.putmask(source, labels != under.labels, np.uint8(Source.NPM))
    return LabelMap(labels, source)


def compose(human: Labels, model: LabelMap | None, reviewed: LabelMap | None = None) -> LabelMap:
    """Put what a human said over what was reviewed, or over what the model says.

    Parameters
    ----------
    human : array, shape (H, W)
        Human layer, `UNSET` where nobody has said anything.
    model : LabelMap or None
        The model's labels; None while the image has no embedding.
    reviewed : LabelMap or None
        The frozen labels of a reviewed image; they take the place of the model's.

    Returns
    -------
    LabelMap
        `VOID` with source `NONE` where nobody claims anything.
    """
    under = reviewed or model
    said = human != UNSET
    if under is None:
        labels = np.where(said, human, np.uint8(VOID))
        return LabelMap(labels, np.where(said, np.uint8(Source.HUMAN), np.uint8(Source.NONE)))
    labels = np.where(said, human, under.labels)
    return LabelMap(labels, np.where(said, np.uint8(Source.HUMAN), under.source))


def abstain(model: LabelMap, output: ModelOutput, rule: Rule, threshold: float) -> LabelMap:
    """Withdraw base-class labels where the absolute EDS score says that the model is lost.

    Pixels of novel classes keep their label.  The score is taken on the grid and enlarged
    (distance-first), as the overlay shows it.
    """
    score = SCORES["eds_absolute"].of(output.embedding, rule.prototype_length)
    lost = (embedding_grid.upsample(score, output.shape) > threshold) & (
        model.source == Source.BASE
    )
    labels, source = model.labels.copy(), model.source.copy()
    labels[lost], source[lost] = VOID, Source.NONE
    return LabelMap(labels, source)


def _softmax_top(logits: Floats) -> Floats:
    """Return the largest softmax probability, shape (h, w), of logits (C, h, w)."""
    shifted = logits - logits.max(axis=0)
    top: Floats = 1.0 / np.exp(shifted).sum(axis=0)
    return top


def _npm_confidence(output: ModelOutput, rule: Rule) -> Floats:
    """Return how far the nearest novel prototype wins in a softmax over all distances, (h, w)."""
    f, length = output.embedding, rule.prototype_length
    norm = (f**2).sum(axis=0)
    old = 2 * length * f - norm - length**2  # (N, h, w), minus the squared distances
    new = np.stack(
        [
            -((f - p.vector[:, None, None].astype(np.float32)) ** 2).sum(axis=0)
            for p in rule.prototypes
        ]
    )
    every = np.concatenate([old, new])
    top = every.max(axis=0)
    confidence: Floats = np.exp(new.max(axis=0) - top) / np.exp(every - top).sum(axis=0)
    return confidence


def confidence(output: ModelOutput, rule: Rule, labelled: LabelMap) -> Labels:
    """Return the confidence of each pixel's label as uint8 of shape (H, W); 255 is certain.

    Base: largest softmax probability.  NPM: the novel prototype's share in a softmax over the
    distances to all prototypes.  PLM: the same in the space of the newest head.  Human: 255.
    Taken on the grid, then enlarged bilinearly.
    """
    shape = output.shape
    result = np.zeros(shape, np.float32)

    def put(chosen: NDArray[np.bool_], values: Floats) -> None:
        if chosen.any():
            result[chosen] = embedding_grid.upsample(values, shape)[chosen]

    length = rule.prototype_length
    put(labelled.source == Source.BASE, _softmax_top(2 * length * output.embedding))
    if rule.prototypes:
        put(labelled.source == Source.NPM, _npm_confidence(output, rule))
    for class_id, embedding in output.heads:
        chosen = (labelled.source == Source.PLM) & (labelled.labels == class_id)
        put(chosen, _softmax_top(2 * length * embedding))
    result[labelled.source == Source.HUMAN] = 1.0
    rounded: Labels = np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)
    return rounded
