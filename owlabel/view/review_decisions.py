"""Which candidates people have decided about, and the classifier's training rows that follow.

The rows are derived from the labels each time. So undo removes a row together with its label, and
another model, which has other candidates, gets its rows from the same labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays import embedding_grid
from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import MAX_CLASSES, UNSET, VOID, Labels
from owlabel.ood.candidates import SCORE, THRESHOLD, find_segments
from owlabel.ood.meta_classifier import MetaClassifier
from owlabel.ood.registry import SCORES
from owlabel.ood.segment_features import feature_names, segment_features
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables import candidate_details
from owlabel.project.tables.candidate_details import Details

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Segments = NDArray[np.int32]

MIN_DECISIONS = 5
"""Number of real and of false candidates that a fit needs."""
REFIT_AFTER = 10
"""Number of new decisions after which the classifier is fitted again."""
POPULATION = 20_000
"""Largest number of candidates from which the usual features of a data set are estimated."""


def probabilities(embedding: Floats, length: float) -> Floats:
    """Return ``softmax(2 T f)`` of an embedding (N, h, w) for prototypes of length T."""
    p = np.float32(2 * length) * embedding
    p -= p.max(axis=0)
    np.exp(p, out=p)
    p /= p.sum(axis=0)
    return np.asarray(p)


def candidate_features(embedding: Floats, length: float, segments: Segments) -> Doubles:
    """Return the features of segments on the grid, see `segment_features`; sizes in grid points."""
    return segment_features(probabilities(embedding, length), segments).values


def classifier_key(head_hash: str) -> str:
    """Return the key under which a classifier is stored: it fits one head, score and threshold."""
    return f"{head_hash} {SCORE} {THRESHOLD}"


def segment_map(candidates: Sequence[Details], grid_shape: tuple[int, ...]) -> Segments | None:
    """Return the segments of an image's candidates, numbered from 1; None if a mask is missing."""
    segments = np.zeros(grid_shape, np.int32)
    for number, candidate in enumerate(candidates, start=1):
        mask = candidate.mask
        if mask is None or not candidate_details.put_mask(segments, mask, number):
            return None
    return segments


@dataclass(frozen=True)
class HumanLabels:
    """What people have labelled in one image.

    Attributes
    ----------
    human : ndarray of uint8, shape (H, W)
        The human layer.
    reviewed : ndarray of uint8, shape (H, W), or None
        The labels as frozen by the review; None if the image is not reviewed.
    base : int
        Number of base classes; their ids are below it.
    """

    human: Labels
    reviewed: Labels | None
    base: int

    def novel(self, labels: Labels) -> NDArray[np.bool_]:
        """Return which labels belong to classes that the model does not know."""
        return (labels >= self.base) & (labels < MAX_CLASSES)


def decide(
    candidates: Sequence[Details], embedding: Floats, labels: HumanLabels
) -> dict[int, bool]:
    """Return for each candidate that people decided about whether it is false.

    In an image that is not reviewed, the human label at the peak decides. A class that the model
    does not predict there makes the candidate real. The predicted class ("known after all") makes
    it false. Void ("ignore") is no decision. In a reviewed image, a candidate with any pixel of a
    novel class is real, and a candidate that is all void is no decision. All others are false,
    unless a person gave the peak a class that the model does not predict there.

    Parameters
    ----------
    candidates : sequence of Details
        The candidates of one image.
    embedding : ndarray, shape (N, h, w)
    labels : HumanLabels

    Returns
    -------
    dict
        Row id of a candidate to whether it is false.
    """
    result = {}
    shape = (labels.human.shape[0], labels.human.shape[1])
    for candidate in candidates:
        row, col = candidate.peak
        label = int(labels.human[row, col])
        if label not in (UNSET, VOID):
            pixel = embedding_grid.upsample(embedding, shape, (row, row + 1, col, col + 1))
            result[candidate.id] = label == int(pixel[:, 0, 0].argmax())
    if labels.reviewed is not None:
        segments = segment_map(candidates, embedding.shape[1:])
        if segments is not None:
            result |= _by_review(candidates, segments, labels, result)
    return result


def _by_review(
    candidates: Sequence[Details],
    segments: Segments,
    labels: HumanLabels,
    by_peak: dict[int, bool],
) -> dict[int, bool]:
    """Return which candidates of a reviewed image are false."""
    height, width = labels.human.shape
    rows = (np.arange(height) * 2 + 1) * segments.shape[0] // (2 * height)
    cols = (np.arange(width) * 2 + 1) * segments.shape[1] // (2 * width)
    enlarged = segments[np.ix_(rows, cols)]
    reviewed = labels.human if labels.reviewed is None else labels.reviewed
    truth = np.where(labels.human != UNSET, labels.human, reviewed)
    novel = np.bincount(enlarged[labels.novel(truth)], minlength=len(candidates) + 1)
    known = np.bincount(enlarged[truth < labels.base], minlength=len(candidates) + 1)
    result = {}
    for number, candidate in enumerate(candidates, start=1):
        if novel[number]:
            result[candidate.id] = False
        elif known[number]:
            result[candidate.id] = by_peak.get(candidate.id, True)
    return result


@dataclass(frozen=True)
class Rows:
    """The candidates of a data set that people decided about, and a sample of all candidates.

    Attributes
    ----------
    ids, images : ndarray of int, shape (k,)
        Row id and image id of each decided candidate.
    values : ndarray, shape (k, n)
        Their features.
    false : ndarray of bool, shape (k,)
        Whether they are false.
    population : ndarray, shape (m, n)
        Features of candidates of the whole data set, decided or not: of all candidates, or of an
        even sample of at most `POPULATION`.
    candidates : int
        Number of candidates in the data set.
    columns : tuple of str
        Names of the features.
    """

    ids: NDArray[np.int64]
    images: NDArray[np.int64]
    values: Doubles
    false: NDArray[np.bool_]
    population: Doubles
    candidates: int
    columns: tuple[str, ...]

    def fit(self) -> MetaClassifier:
        """Return the classifier of these rows.

        With fewer than `MIN_DECISIONS` real or false candidates it keeps every candidate.
        """
        if min(int(self.false.sum()), int((~self.false).sum())) < MIN_DECISIONS:
            none = np.zeros((0, len(self.columns)))
            return MetaClassifier.fit(none, np.zeros(0, bool), self.columns)
        return MetaClassifier.fit(self.values, self.false, self.columns, population=self.population)


def labelled_images(project: Project) -> list[ImageRecord]:
    """Return the images that people have labelled or reviewed."""
    return [r for r in project.images() if r.revision_id is not None or r.state == "reviewed"]


def collect_rows(project: Project, header: CheckpointHeader) -> Iterator[Rows | None]:
    """Yield None after each image that was read, then the rows of the whole data set.

    Only labelled images are read, so the cost of a fit grows with the number of labelled images,
    not with the data set. Missing features, as in a project of an older version, are first
    computed from the cached embedding and stored.
    """
    head, columns = header.heads[0].hash, feature_names(header.heads[0].outputs)
    database = project.database
    unfinished = set(candidate_details.unfinished(database, head, len(columns)))
    for record in project.images() if unfinished else ():
        embedding = _embedding(project, head, record) if record.id in unfinished else None
        if embedding is not None:
            store_missing_details(project, header, record, embedding)
            yield None
    decided: list[tuple[Details, bool]] = []
    for record in labelled_images(project):
        embedding = _embedding(project, head, record)
        if embedding is not None:
            candidates = candidate_details.details(database, head, record.id)
            false = decide(candidates, embedding, _human_labels(project, record, header))
            decided += [
                (c, false[c.id]) for c in candidates if c.id in false and _is_whole(c, len(columns))
            ]
        yield None
    sample, count = candidate_details.spread(database, head, POPULATION)
    yield Rows(
        np.array([c.id for c, _ in decided], np.int64),
        np.array([c.image_id for c, _ in decided], np.int64),
        _table([c for c, _ in decided], columns),
        np.array([false for _, false in decided], bool),
        _table([c for c in sample if _is_whole(c, len(columns))], columns),
        count,
        columns,
    )


def _is_whole(candidate: Details, columns: int) -> bool:
    """Return whether a candidate has the expected number of features."""
    return candidate.features is not None and len(candidate.features) == columns


def _table(candidates: Iterable[Details], columns: Sequence[str]) -> Doubles:
    rows = [candidate.features for candidate in candidates]
    return np.array(rows, np.float64).reshape(len(rows), len(columns))


def _human_labels(project: Project, record: ImageRecord, header: CheckpointHeader) -> HumanLabels:
    reviewed = project.reviewed(record.id)
    labels = None if reviewed is None else reviewed[0]
    return HumanLabels(project.human_labels(record.id), labels, header.heads[0].outputs)


def _embedding(project: Project, head: str, record: ImageRecord) -> Floats | None:
    arrays = project.cache.read(head, record.content_hash)
    return (
        None if arrays is None or record.shape is None else arrays["embedding"].astype(np.float32)
    )


def store_missing_details(
    project: Project, header: CheckpointHeader, record: ImageRecord, embedding: Floats
) -> None:
    """Compute and store the masks and features that the candidates of an image lack.

    A candidate that the embedding does not produce again is left as it is.
    """
    database = project.database
    candidates = candidate_details.details(database, header.heads[0].hash, record.id)
    columns = len(feature_names(len(embedding)))
    if all(c.mask and _is_whole(c, columns) for c in candidates) or record.shape is None:
        return
    segments = segment_map(candidates, embedding.shape[1:])
    if segments is None:
        segments = _recomputed_segments(candidates, embedding, header, record.shape)
    present = np.flatnonzero(np.bincount(segments.ravel(), minlength=len(candidates) + 1)[1:]) + 1
    dense = np.zeros(len(candidates) + 1, np.int32)
    dense[present] = np.arange(1, len(present) + 1)
    values = candidate_features(embedding, header.prototype_length, dense[segments])
    whole = []
    for features, number in zip(values, present.tolist(), strict=True):
        candidate = candidates[number - 1]
        mask = candidate_details.pack_mask(segments == number)
        whole.append(Details(candidate.id, candidate.image_id, candidate.peak, mask, features))
    candidate_details.store(database, whole)


def _recomputed_segments(
    candidates: Sequence[Details],
    embedding: Floats,
    header: CheckpointHeader,
    shape: tuple[int, int],
) -> Segments:
    """Return the segments that the embedding gives, numbered like the candidates at their peaks."""
    score = np.asarray(SCORES[SCORE].of(embedding, header.prototype_length))
    base_map = embedding.argmax(axis=0).astype(np.uint8)
    again, segments = find_segments(score, base_map, shape, THRESHOLD)
    number = {candidate.peak: i for i, candidate in enumerate(candidates, start=1)}
    lookup = np.array([0, *(number.get(candidate.peak, 0) for candidate in again)], np.int32)
    return lookup[segments]
