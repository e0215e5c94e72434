"""The review queue over a data set: which items are open or hidden, and their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from owlabel.ood.meta_classifier import MetaClassifier
from owlabel.project.store import CandidateRow, ImageRecord, Project
from owlabel.project.tables.candidate_details import judge
from owlabel.project.tables.proposals import Proposal
from owlabel.view.review_decisions import classifier_key

HIDE_ABOVE = 0.5
"""Default of the probability of being false above which a candidate is hidden."""
MIN_SCANNED = 2000
"""Smallest number of candidates to scan for a queue."""
SHOW = ("all", "unknown", "weak_shot", "cluster")
"""What the queue shows: all items, unknown objects only, or the proposals of one source only."""


@dataclass(frozen=True)
class QueueItem:
    """One item to review: an OoD candidate or a proposed mask.

    Attributes
    ----------
    record : ImageRecord
        The image.
    segment : CandidateRow or None
        The candidate; None for a proposed mask.
    proposal : Proposal or None
        The proposed mask; None for a candidate. Each item has one of the two.
    class_name : str or None
        The novel class that claims the candidate, if any, or the class of the proposed mask.
    false : float or None
        Probability that a candidate is a false detection; None if unknown.
    """

    record: ImageRecord
    segment: CandidateRow | None = None
    proposal: Proposal | None = None
    class_name: str | None = None
    false: float | None = None

    @property
    def kind(self) -> str:
        """The kind of item: "candidate" or "proposal"."""
        return "candidate" if self.proposal is None else "proposal"

    @property
    def id(self) -> int:
        """Id in the project's table of this kind."""
        return self._row.id if self.proposal is None else self.proposal.id

    @property
    def key(self) -> str:
        """Name that no other item has, e.g. "candidate 12"."""
        return f"{self.kind} {self.id}"

    @property
    def _row(self) -> CandidateRow:
        if self.segment is None:
            raise ValueError("this queue item has neither a candidate nor a proposed mask")
        return self.segment

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row, first column, last row + 1, last column + 1, in pixels."""
        return self._row.candidate.box if self.proposal is None else self.proposal.box

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the highest score; for a proposed mask the middle of its box."""
        if self.proposal is None:
            return self._row.candidate.peak
        row0, col0, row1, col1 = self.proposal.box
        return (row0 + row1 - 1) // 2, (col0 + col1 - 1) // 2

    @property
    def area(self) -> int:
        """Area in pixels."""
        return self._row.candidate.area if self.proposal is None else self.proposal.pixels

    @property
    def score(self) -> float:
        """Mean score of a candidate, or confidence of a proposed mask."""
        return self._row.candidate.score if self.proposal is None else self.proposal.confidence

    @property
    def likely_class(self) -> int:
        """Id of the known class most similar to a candidate, or the class of a proposed mask."""
        return self._row.candidate.likely_class if self.proposal is None else self.proposal.class_id

    @property
    def sort_key(self) -> tuple[int, float, int]:
        """Sort proposed masks first, then unclaimed candidates, then claimed candidates."""
        if self.proposal is not None:
            return -1, -self.proposal.confidence, self.proposal.id
        row, real = self._row, 1.0 if self.false is None else 1 - self.false
        return int(row.claimed_by is not None), -row.candidate.rank * real, row.id


class CandidateQueue:
    """Order the candidates of one head and hide those that are likely false.

    Proposed masks come first, by confidence. Then come the candidates that no class claims, then
    those that a class claims, both by rank times the probability of being real. Pinned candidates
    are on the screen: they stay at the front and are not hidden, whatever the classifier learns.

    Attributes
    ----------
    classifier : MetaClassifier or None
        None, or a classifier that keeps all candidates, while there are too few decisions.
    decided : dict
        Row id of each candidate that the classifier was fitted to, to whether it is false.
    event : int
        The newest event of the project at the last fit; -1 before the first.
    hide_above : float
        Probability of being false above which a candidate is hidden, in [0, 1]; 1 hides none.
    show_hidden : bool
        Whether hidden candidates are listed as well.
    show : str
        One of `SHOW`.
    hidden : int
        Number of likely false candidates in the last call of `ranked`.
    """

    def __init__(self, project: Project, head_hash: str) -> None:
        self._project = project
        self.hide_above = HIDE_ABOVE
        self.show_hidden = False
        self.show = "all"
        self.hidden = 0
        self.use(head_hash)

    def use(self, head_hash: str) -> None:
        """Show the candidates of another head."""
        self._head = head_hash
        self._pinned: tuple[str, ...] = ()
        self.read_classifier()

    def read_classifier(self) -> None:
        """Read the stored classifier; ignore one that is damaged."""
        stored = judge(self._project.database, classifier_key(self._head))
        self.classifier: MetaClassifier | None = None
        self.decided: dict[int, bool] = {}
        self.event = -1 if stored is None else stored.get("event", -1)
        if stored is not None:
            try:
                self.classifier = MetaClassifier.from_json(stored["classifier"])
                self.decided = {int(i): bool(v) for i, v in stored["decided"].items()}
            except (KeyError, AttributeError, ValueError):
                self.classifier = None

    def pin(self, keys: Sequence[str]) -> None:
        """Keep the items with these keys at the front, in this order, until `unpin`."""
        self._pinned = tuple(keys)

    def unpin(self) -> None:
        """Sort all candidates by their current rank again."""
        self._pinned = ()

    def clear_claims(self) -> None:
        """Mark every candidate as claimed by no class, since no class has a shot any more."""
        self._project.candidates.forget_claims(self._head)

    def probability_false(self, rows: Sequence[CandidateRow]) -> list[float | None]:
        """Return the probability that each candidate is false; None where it is unknown."""
        classifier = self.classifier
        result: list[float | None] = [None] * len(rows)
        if classifier is None or classifier.keeps_all:
            return result
        features = {i: np.asarray(r.features) for i, r in enumerate(rows) if r.features is not None}
        columns = len(classifier.columns)
        features = {i: values for i, values in features.items() if len(values) == columns}
        if features:
            table: NDArray[np.float64] = np.stack(list(features.values()))
            for i, value in zip(features, classifier.probability_false(table), strict=True):
                result[i] = float(value)
        return result

    def ranked(
        self,
        limit: int,
        records: Mapping[int, ImageRecord],
        is_open: Callable[[CandidateRow, ImageRecord], bool],
        names: Mapping[int, str],
    ) -> list[QueueItem]:
        """Return up to `limit` open items that are not hidden, in order.

        Parameters
        ----------
        limit : int
            The ``10 * limit`` candidates of the highest rank are scanned first (at least
            `MIN_SCANNED`). If none of them is open, ten times as many are scanned.
        records : mapping
            Image id to image.
        is_open : callable
            Returns whether nobody has decided about a candidate yet.
        names : mapping
            Class id to name.
        """
        pinned = {key: i for i, key in enumerate(self._pinned)}
        items = self._segments(limit, records, is_open, names)
        if self.show != "unknown":
            items += self._proposed(limit, records, names)
        last = len(pinned)
        items.sort(key=lambda item: (pinned.get(item.key, last), *item.sort_key))
        return items[:limit]

    def _segments(
        self,
        limit: int,
        records: Mapping[int, ImageRecord],
        is_open: Callable[[CandidateRow, ImageRecord], bool],
        names: Mapping[int, str],
    ) -> list[QueueItem]:
        """Return the open candidates; count the likely false ones in `hidden`."""
        self.hidden = 0
        items: list[QueueItem] = []
        if self.show not in ("all", "unknown"):
            return items
        for scanned in (max(10 * limit, MIN_SCANNED), 10 * max(10 * limit, MIN_SCANNED)):
            rows = self._project.candidates.ranked(self._head, limit=scanned, to_review=True)
            open_rows = [
                r for r in rows if r.image_id in records and is_open(r, records[r.image_id])
            ]
            for row, false in zip(open_rows, self.probability_false(open_rows), strict=True):
                name = None if row.claimed_by is None else names.get(row.claimed_by)
                item = QueueItem(records[row.image_id], row, None, name, false)
                if false is not None and false > self.hide_above and item.key not in self._pinned:
                    self.hidden += 1
                    if not self.show_hidden:
                        continue
                items.append(item)
            if open_rows or len(rows) < scanned:
                break
        return items

    def _proposed(
        self, limit: int, records: Mapping[int, ImageRecord], names: Mapping[int, str]
    ) -> list[QueueItem]:
        """Return the proposed masks of images that are not reviewed, the most confident first."""
        source = None if self.show == "all" else self.show
        best = self._project.proposals.open(source, limit=10 * limit, to_review=True)
        readable = (p for p in best if p.image_id in records)
        return [
            QueueItem(records[p.image_id], None, p, names.get(p.class_id))
            for p in islice(readable, limit)
        ]
