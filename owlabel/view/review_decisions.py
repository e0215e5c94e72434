"""What people have decided about candidates, and the rows for the classifier that follow from it.

Rows are no list that somebody keeps: they are read off the labels.  So undo takes a row away, and
another model, whose candidates are others, finds its rows in the same labels.
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

LEAST = 5
"""Rows of each class below which nothing is fitted."""
EVERY = 10
"""Decisions after which the classifier is fitted again."""
MOST = 20_000
"""Candidates whose features tell what is usual in a data set."""


def probabilities(embedding: Floats, length: float) -> Floats:
    """Return ``softmax(2 T f)`` of an embedding (N, h, w) with prototypes of this length T."""
    p = np.float32(2 * length) * embedding
    p -= p.max(axis=0)
    np.exp(p, out=p)
    p /= p.sum(axis=0)
    return np.asarray(p)


def describe(embedding: Floats, length: float, segments: Segments) -> Doubles:
    """Return the features of segments on the grid, see `segment_features`; sizes in grid points."""
    return segment_features(probabilities(embedding, length), segments).values


def judge_key(head_hash: str) -> str:
    """Return under which key a classifier is kept: it fits one head, score and threshold."""
    return f"{head_hash} {SCORE} {THRESHOLD}"


def segments_of(found: Sequence[Details], grid_shape: tuple[int, ...]) -> Segments | None:
    """Return the label map of an image's candidates from their masks, None where one is missing."""
    segments = np.zeros(grid_shape, np.int32)
    for number, one in enumerate(found, start=1):
        if one.mask is None or not candidate_details.put_mask(segments, one.mask, number):
            return None
    return segments


@dataclass(frozen=True)
class Said:
    """What people said about one image.

    Attributes
    ----------
    human : ndarray of uint8, shape (H, W)
        The human layer.
    reviewed : ndarray of uint8, shape (H, W), or None
        The labels that were frozen, None while the image is not reviewed.
    base : int
        Number of classes that the model knows; their ids are below it.
    """

    human: Labels
    reviewed: Labels | None
    base: int

    def novel(self, labels: Labels) -> NDArray[np.bool_]:
        """Tell which labels are of classes that the model does not know."""
        return (labels >= self.base) & (labels < MAX_CLASSES)


def decide(found: Sequence[Details], embedding: Floats, said: Said) -> dict[int, bool]:
    """Tell of each candidate that somebody decided about whether it is false.

    On an image that is not reviewed the label of the candidate's peak decides: a name for it that
    the model does not give itself makes it real; the model's own class ("known after all") makes
    it false; "ignore" makes no row.  On a reviewed image a candidate with any pixel of a novel
    class is real, one that is all void is no row, and the others are false, unless a person gave
    its peak another class than the model did.

    Parameters
    ----------
    found : sequence of Details
        The candidates of one image.
    embedding : ndarray, shape (N, h, w)
    said : Said

    Returns
    -------
    dict
        Id of the candidate's row to whether it is false.
    """
    result = {}
    shape = (said.human.shape[0], said.human.shape[1])
    for one in found:
        label = int(said.human[one.peak])
        if label not in (UNSET, VOID):
            row, col = one.peak
            pixel = embedding_grid.upsample(embedding, shape, (row, row + 1, col, col + 1))
            result[one.id] = label == int(pixel[:, 0, 0].argmax())
    if said.reviewed is not None:
        segments = segments_of(found, embedding.shape[1:])
        if segments is not None:
            result |= _by_review(found, segments, said, result)
    return result


def _by_review(
    found: Sequence[Details], segments: Segments, said: Said, by_peak: dict[int, bool]
) -> dict[int, bool]:
    """Tell which candidates of a reviewed image are false."""
    height, width = said.human.shape
    rows = (np.arange(height) * 2 + 1) * segments.shape[0] // (2 * height)
    cols = (np.arange(width) * 2 + 1) * segments.shape[1] // (2 * width)
    enlarged = segments[np.ix_(rows, cols)]
    reviewed = said.human if said.reviewed is None else said.reviewed
    truth = np.where(said.human != UNSET, said.human, reviewed)
    novel = np.bincount(enlarged[said.novel(truth)], minlength=len(found) + 1)
    known = np.bincount(enlarged[truth < said.base], minlength=len(found) + 1)
    result = {}
    for number, one in enumerate(found, start=1):
        if novel[number]:
            result[one.id] = False
        elif known[number]:
            result[one.id] = by_peak.get(one.id, True)
    return result


@dataclass(frozen=True)
class Rows:
    """The candidates of a data set that people decided about, and some of all others.

    Attributes
    ----------
    ids, images : ndarray of int, shape (k,)
        Row and image of each decided candidate.
    values : ndarray, shape (k, n)
        Their features.
    false : ndarray of bool, shape (k,)
        Whether they are false.
    population : ndarray, shape (m, n)
        Features of candidates of the whole data set, decided or not: all of them, or `MOST` spread
        evenly.
    candidates : int
        How many there are.
    columns : tuple of str
    """

    ids: NDArray[np.int64]
    images: NDArray[np.int64]
    values: Doubles
    false: NDArray[np.bool_]
    population: Doubles
    candidates: int
    columns: tuple[str, ...]

    def fit(self) -> MetaClassifier:
        """Return the classifier of these rows; it keeps all below `LEAST` rows of a class."""
        if min(int(self.false.sum()), int((~self.false).sum())) < LEAST:
            none = np.zeros((0, len(self.columns)))
            return MetaClassifier.fit(none, np.zeros(0, bool), self.columns)
        return MetaClassifier.fit(self.values, self.false, self.columns, population=self.population)


def said_images(project: Project) -> list[ImageRecord]:
    """Return the images that somebody has labelled or reviewed."""
    return [r for r in project.images() if r.revision_id is not None or r.state == "reviewed"]


def gather(project: Project, header: CheckpointHeader) -> Iterator[Rows | None]:
    """Yield None after each image that is looked at, then the rows of the whole data set.

    Only images about which somebody said something are read, so that a fit costs what was decided
    and not what there is.  Features that are missing, as in a project from before, are computed
    from the cached embedding and stored.
    """
    head, columns = header.heads[0].hash, feature_names(header.heads[0].outputs)
    database = project.database
    unfinished = set(candidate_details.unfinished(database, head, len(columns)))
    for record in project.images() if unfinished else ():
        embedding = _embedding(project, head, record) if record.id in unfinished else None
        if embedding is not None:
            found = candidate_details.details(database, head, record.id)
            completed(project, header, record, found, embedding)
            yield None
    decided: list[tuple[Details, bool]] = []
    for record in said_images(project):
        said, embedding = _said(project, record, header), _embedding(project, head, record)
        if embedding is not None:
            found = candidate_details.details(database, head, record.id)
            false = decide(found, embedding, said)
            decided += [(one, false[one.id]) for one in _whole(found, columns) if one.id in false]
        yield None
    some, count = candidate_details.spread(database, head, MOST)
    yield Rows(
        np.array([one.id for one, _ in decided], np.int64),
        np.array([one.image_id for one, _ in decided], np.int64),
        _table([one for one, _ in decided], columns),
        np.array([false for _, false in decided], bool),
        _table(_whole(some, columns), columns),
        count,
        columns,
    )


def _whole(found: Iterable[Details], columns: Sequence[str]) -> list[Details]:
    """Return the candidates whose features are those that are expected."""
    return [one for one in found if one.features is not None and len(one.features) == len(columns)]


def _table(found: Sequence[Details], columns: Sequence[str]) -> Doubles:
    rows = [one.features for one in found]
    return np.array(rows, np.float64).reshape(len(rows), len(columns))


def _said(project: Project, record: ImageRecord, header: CheckpointHeader) -> Said:
    reviewed = project.reviewed(record.id)
    labels = None if reviewed is None else reviewed[0]
    return Said(project.human_labels(record.id), labels, header.heads[0].outputs)


def _embedding(project: Project, head: str, record: ImageRecord) -> Floats | None:
    arrays = project.cache.read(head, record.content_hash)
    return (
        None if arrays is None or record.shape is None else arrays["embedding"].astype(np.float32)
    )


def completed(
    project: Project,
    header: CheckpointHeader,
    record: ImageRecord,
    found: list[Details],
    embedding: Floats,
) -> list[Details]:
    """Return an image's candidates with mask and features; what was missing is stored.

    Masks that are missing are found again; a candidate that cannot be is left as it is.
    """
    count = len(feature_names(len(embedding)))
    if all(d.mask and d.features is not None and len(d.features) == count for d in found):
        return found
    segments = segments_of(found, embedding.shape[1:])
    if segments is None:
        if record.shape is None:
            return found
        again, map_ = find_again(embedding, header.prototype_length, record.shape)
        number = {peak: i for i, peak in enumerate(again, start=1)}
        places = [number.get(d.peak, 0) for d in found]
        segments = np.zeros_like(map_)
        for i, place in enumerate(places, start=1):
            if place:
                segments[map_ == place] = i
    present = np.flatnonzero(np.bincount(segments.ravel(), minlength=len(found) + 1)[1:]) + 1
    dense = np.zeros(len(found) + 1, np.int32)
    dense[present] = np.arange(1, len(present) + 1)
    values = describe(embedding, header.prototype_length, dense[segments])
    whole = list(found)
    for row, number_ in zip(values, present.tolist(), strict=True):
        one = found[number_ - 1]
        mask = candidate_details.pack_mask(segments == number_)
        whole[number_ - 1] = Details(one.id, one.image_id, one.peak, mask, row)
    candidate_details.store(project.database, [d for d in whole if d.features is not None])
    return whole


def find_again(
    embedding: Floats, length: float, shape: tuple[int, int]
) -> tuple[list[tuple[int, int]], Segments]:
    """Return peaks and segments of the candidates as embedding an image finds them."""
    score = np.asarray(SCORES[SCORE].of(embedding, length))
    base_map = embedding.argmax(axis=0).astype(np.uint8)
    found, segments = find_segments(score, base_map, shape, THRESHOLD)
    return [candidate.peak for candidate in found], segments
