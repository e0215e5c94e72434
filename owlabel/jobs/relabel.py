"""Looking for novel classes in all images by their prototypes (NPM); NumPy on the cache only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.classes import Labels
from owlabel.fewshot import LAMBDA_NOVEL, NovelPrototype, claim_novel
from owlabel.grid import argmax_upsampled
from owlabel.jobs.job import JobContext, Progress
from owlabel.project.store import CandidateRow, ImageRecord, Project

SEAM_SHARE = 0.02
"""What is thinner than this share of the longer side is a seam between classes, not an object."""
CLAIMED_SHARE = 0.5
"""A candidate is explained by a class that claims this share of its area within its box."""


@dataclass(frozen=True)
class RelabelJob:
    """Apply the rule of NPM to every embedded image; note where classes are and what they explain.

    Attributes
    ----------
    head_hash : str
        The head whose embeddings the prototypes live in.
    prototypes : sequence of (class id, sequence of N floats)
        One for each novel class; none takes all claims back.
    lambda_novel : float
        Squared distance within which a prototype claims, >= 0.
    key : str or None
        Where the finds are stored; made from the other fields unless given.

    References
    ----------
    DMLNet (arXiv 2108.04562), Eq. 12.
    """

    head_hash: str
    prototypes: Sequence[tuple[int, Sequence[float]]]
    lambda_novel: float = LAMBDA_NOVEL
    key: str | None = None

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Look at all images that have not been looked at; yields after each."""
        rule = [NovelPrototype(int(c), np.asarray(v, np.float64), 1) for c, v in self.prototypes]
        key = self.key or self.findings_key()
        with Project.open(context.project) as project:
            records = self._embedded(project)
            seen = project.looked_at(key)
            candidates = self._candidates(project)
            for done, record in enumerate(records, start=1):
                if record.id not in seen or candidates.get(record.id):
                    self._look(project, record, rule, key, candidates.get(record.id, []))
                yield Progress(done, len(records), record.relative)
            return {"key": key, "found": {str(c): n for c, n in project.found(key).items()}}

    def findings_key(self) -> str:
        """Return a key that is the same for the same rule."""
        value = [self.head_hash, self.lambda_novel, [[c, list(v)] for c, v in self.prototypes]]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]

    def _embedded(self, project: Project) -> list[ImageRecord]:
        return [r for r in project.images() if project.cache.has(self.head_hash, r.content_hash)]

    def _candidates(self, project: Project) -> dict[int, list[CandidateRow]]:
        by_image: dict[int, list[CandidateRow]] = {}
        for row in project.candidates(self.head_hash, limit=-1):
            by_image.setdefault(row.image_id, []).append(row)
        return by_image

    def _look(
        self,
        project: Project,
        record: ImageRecord,
        rule: list[NovelPrototype],
        key: str,
        candidates: list[CandidateRow],
    ) -> None:
        """Store pixels per class and claims of one image, unless its cache file was lost."""
        arrays = project.cache.read(self.head_hash, record.content_hash)
        if arrays is None or record.shape is None:
            return
        embedding = arrays["embedding"].astype(np.float32)
        labels = argmax_upsampled(embedding, record.shape)
        ids = [p.class_id for p in rule]
        if rule:
            labels = claim_novel(embedding, labels, rule, self.lambda_novel)
        sizes = {c: solid_pixels(labels == c) for c in ids}
        claims = {row.id: claimant(labels, row, ids) for row in candidates}
        changed = {row.id: claims[row.id] for row in candidates if claims[row.id] != row.claimed_by}
        project.set_findings(key, record.id, sizes, changed)


def solid_pixels(mask: NDArray[np.bool_]) -> int:
    """Return how many pixels of a mask (H, W) lie in something wider than a seam.

    Where two known classes meet, interpolated embeddings pass between their prototypes, and thin
    lines may be claimed.  They are no finds: only what survives an opening with a square counts.
    """
    side = max(3, round(SEAM_SHARE * max(mask.shape)))
    opened = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    return int(np.count_nonzero(opened))


def claimant(labels: Labels, row: CandidateRow, novel: Sequence[int]) -> int | None:
    """Return the novel class that explains a candidate in a label map (H, W), None if none does."""
    if not novel:
        return None
    row0, col0, row1, col1 = row.candidate.box
    counts = np.bincount(labels[row0:row1, col0:col1].ravel(), minlength=256)
    best = max(novel, key=lambda class_id: int(counts[class_id]))
    return best if counts[best] >= CLAIMED_SHARE * row.candidate.area else None
