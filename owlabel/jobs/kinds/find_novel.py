"""Finds the novel classes in all images by prototypes and heads, with NumPy and the cache only."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from owlabel.classes import Labels
from owlabel.jobs.job import JobContext, Progress
from owlabel.novel.label_maps import ModelOutput, Rule, predict
from owlabel.novel.occurrences import ShotSize, occurrence_pixels, shot_size, smallest
from owlabel.novel.prototypes import LAMBDA_NOVEL, NovelPrototype
from owlabel.novel.shots import occurrence_key
from owlabel.project.store import CandidateRow, ImageRecord, Project

CLAIMED_SHARE = 0.5
"""A class explains a candidate if it labels this share of the candidate's area in its box."""


@dataclass(frozen=True)
class RelabelJob:
    """Label every embedded image as the window does, and store where novel classes occur.

    The job also stores which candidates each class explains.

    Attributes
    ----------
    head_hash : str
        The base head; the prototypes lie in its embedding space.
    prototypes : sequence of (class id, sequence of N floats)
        One for each novel class without a head; without any, all claims are removed.
    lambda_novel : float
        Squared distance threshold of NPM, >= 0.
    key : str or None
        Key of the stored occurrences; computed from the other fields by default.
    heads : sequence of (class id, head hash)
        The PLM heads, in the order in which they were trained.

    References
    ----------
    DMLNet (arXiv 2108.04562), Eq. 12.
    """

    head_hash: str
    prototypes: Sequence[tuple[int, Sequence[float]]]
    lambda_novel: float = LAMBDA_NOVEL
    key: str | None = None
    heads: Sequence[tuple[int, str]] = ()

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Scan the images that are new to the rule or have candidates; yields after each image."""
        rule, key = self._rule(), self.key or self.occurrence_key()
        with Project.open(context.project) as project:
            records = self._embedded(project)
            scanned = project.occurrences.scanned(key)
            shots = _shot_sizes(project, self._classes())
            for done, record in enumerate(records, start=1):
                candidates = project.candidates.ranked(self.head_hash, limit=-1, image_id=record.id)
                if record.id not in scanned or candidates:
                    labels = self._labels(project, record, rule)
                    if labels is not None:
                        _store_occurrences(project, record, key, labels, shots, candidates)
                yield Progress(done, len(records), record.relative)
            counts = project.occurrences.image_counts(key)
            return {"key": key, "found": {str(c): n for c, n in counts.items()}}

    def occurrence_key(self) -> str:
        """Return the key of the rule; equal rules have equal keys."""
        return occurrence_key(
            self.head_hash, self._rule().prototypes, self.lambda_novel, self.heads
        )

    def _rule(self) -> Rule:
        prototypes = (
            NovelPrototype(int(c), np.asarray(v, np.float64), 1) for c, v in self.prototypes
        )
        return Rule(tuple(prototypes), self.lambda_novel)

    def _classes(self) -> list[int]:
        return sorted({int(c) for c, _ in [*self.prototypes, *self.heads]})

    def _embedded(self, project: Project) -> list[ImageRecord]:
        hashes = [self.head_hash, *(head_hash for _, head_hash in self.heads)]
        return [
            record
            for record in project.images()
            if all(project.cache.has(head_hash, record.content_hash) for head_hash in hashes)
        ]

    def _labels(self, project: Project, record: ImageRecord, rule: Rule) -> Labels | None:
        """Return the model's labels (H, W) of an image, or None if a cache file is missing."""
        if record.shape is None:
            return None
        embeddings = []
        for head_hash in (self.head_hash, *(head_hash for _, head_hash in self.heads)):
            arrays = project.cache.read(head_hash, record.content_hash)
            if arrays is None:
                return None
            embeddings.append(arrays["embedding"].astype(np.float32))
        trained = zip((int(c) for c, _ in self.heads), embeddings[1:], strict=True)
        return predict(ModelOutput(record.shape, embeddings[0], tuple(trained)), rule).labels


def _shot_sizes(project: Project, classes: Sequence[int]) -> dict[int, ShotSize | None]:
    """Return the size of the smallest shot of each class, from all human layers."""
    sizes: dict[int, list[ShotSize | None]] = {c: [] for c in classes}
    for record in project.images():
        if classes and record.revision_id is not None:
            human = project.human_labels(record.id)
            for class_id in classes:
                sizes[class_id].append(shot_size(human == class_id))
    return {c: smallest(of_class) for c, of_class in sizes.items()}


def _store_occurrences(
    project: Project,
    record: ImageRecord,
    key: str,
    labels: Labels,
    shots: Mapping[int, ShotSize | None],
    candidates: Sequence[CandidateRow],
) -> None:
    """Store which classes occur in the labels (H, W) of an image, and the explained candidates."""
    sizes = {c: occurrence_pixels(labels == c, size) for c, size in shots.items()}
    claims = {row.id: claimant(labels, row, list(shots)) for row in candidates}
    changed = {row.id: claims[row.id] for row in candidates if claims[row.id] != row.claimed_by}
    project.occurrences.store(key, record.id, sizes, changed)


def claimant(labels: Labels, row: CandidateRow, novel: Sequence[int]) -> int | None:
    """Return the novel class that explains a candidate in a label map (H, W), None if none does."""
    if not novel:
        return None
    row0, col0, row1, col1 = row.candidate.box
    counts = np.bincount(labels[row0:row1, col0:col1].ravel(), minlength=256)
    best = max(novel, key=lambda class_id: int(counts[class_id]))
    return best if counts[best] >= CLAIMED_SHARE * row.candidate.area else None
