"""The queue of candidates over a data set: which are open, which are hidden, in which order."""

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
from owlabel.view.review_decisions import judge_key

HIDE_ABOVE = 0.5
"""Probability of being false above which a candidate is hidden by default."""
AT_FIRST = 2000
"""Candidates that are looked at for a queue, at least."""
SHOW = ("all", "unknown", "weak_shot", "cluster")
"""What the queue can be limited to: all, what the model does not know, or one kind of proposals."""


@dataclass(frozen=True)
class QueueItem:
    """One thing to review: a segment that the model does not know, or a proposed mask.

    Attributes
    ----------
    record : ImageRecord
        Its image.
    segment : CandidateRow or None
        The OoD candidate; None for a proposed mask.
    proposal : Proposal or None
        The proposed mask; None for a candidate.  One of the two is there.
    class_name : str or None
        The novel class that claims the candidate, if any; the class of the proposed mask.
    false : float or None
        Probability that a candidate is a false detection; None while it is unknown.
    """

    record: ImageRecord
    segment: CandidateRow | None = None
    proposal: Proposal | None = None
    class_name: str | None = None
    false: float | None = None

    @property
    def key(self) -> str:
        """A name that no other item has, e.g. "candidate 12"."""
        if self.proposal is not None:
            return f"proposal {self.proposal.id}"
        return f"candidate {self._row.id}"

    @property
    def _row(self) -> CandidateRow:
        if self.segment is None:
            raise ValueError("a queue item is a candidate or a proposed mask, this one is neither")
        return self.segment

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row, first column, row and column behind the last, in pixels."""
        return self._row.candidate.box if self.proposal is None else self.proposal.box

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the strangest pixel; of a proposed mask the middle of its box."""
        if self.proposal is None:
            return self._row.candidate.peak
        row0, col0, row1, col1 = self.proposal.box
        return (row0 + row1 - 1) // 2, (col0 + col1 - 1) // 2

    @property
    def area(self) -> int:
        """Size in pixels."""
        return self._row.candidate.area if self.proposal is None else self.proposal.pixels

    @property
    def score(self) -> float:
        """Mean score of a candidate, confidence of a proposed mask."""
        return self._row.candidate.score if self.proposal is None else self.proposal.confidence

    @property
    def likely_class(self) -> int:
        """Id of the known class that a candidate resembles most; of a proposed mask its class."""
        return self._row.candidate.likely_class if self.proposal is None else self.proposal.class_id

    @property
    def place(self) -> tuple[int, float, int]:
        """Where it belongs: proposed masks, then what no class claims, then what one claims."""
        if self.proposal is not None:
            return -1, -self.proposal.confidence, self.proposal.id
        row, real = self._row, 1.0 if self.false is None else 1 - self.false
        return int(row.claimed_by is not None), -row.candidate.rank * real, row.id


class CandidateQueue:
    """Order the candidates of one head and hide those that are likely false.

    The order is: proposed masks by confidence, what no class claims, what one claims; of the last
    two by rank times the probability of being real.  Candidates that are pinned, because they are
    on the screen, keep their places before all others and are not hidden, whatever becomes known
    about them meanwhile.

    Attributes
    ----------
    classifier : MetaClassifier or None
        None, or one that keeps all, while too little was decided.
    decided : dict
        Row id to whether it is false, of the candidates it was fitted to.
    event : int
        Newest event of the project when it was fitted, -1 where it never was.
    hide_above : float
        Probability of being false above which a candidate is hidden, in [0, 1]; 1 hides none.
    show_hidden : bool
        Show them all the same.
    show : str
        One of `SHOW`.
    hidden : int
        How many likely false candidates the last call of `items` met.
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
        """Read the stored classifier; one that cannot be read counts as none."""
        stored = judge(self._project.database, judge_key(self._head))
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
        """Keep the items with these keys in this order before all others, until `release`."""
        self._pinned = tuple(keys)

    def release(self) -> None:
        """Put every candidate where it belongs by what is known now."""
        self._pinned = ()

    def forget_claims(self) -> None:
        """Say of every candidate that no class explains it, since no class has a shot any more."""
        self._project.candidates.forget_claims(self._head)

    def probability_false(self, rows: Sequence[CandidateRow]) -> list[float | None]:
        """Return the probability of each candidate of being false, None where it is unknown."""
        known = self.classifier
        if known is None or known.keeps_all:
            return [None] * len(rows)
        fits = [r.features is not None and len(r.features) == len(known.columns) for r in rows]
        result: list[float | None] = [None] * len(rows)
        places = [place for place, one_fits in enumerate(fits) if one_fits]
        if places:
            table: NDArray[np.float64] = np.stack([np.asarray(rows[i].features) for i in places])
            for place, value in zip(places, known.probability_false(table), strict=True):
                result[place] = float(value)
        return result

    def ranked(
        self,
        limit: int,
        records: Mapping[int, ImageRecord],
        is_open: Callable[[CandidateRow, ImageRecord], bool],
        names: Mapping[int, str],
    ) -> list[QueueItem]:
        """Return up to `limit` open candidates that are not hidden, in their order.

        Parameters
        ----------
        limit : int
            At first ten times as many candidates are looked at (at least `AT_FIRST`), the highest
            ranks first; where none of them is open, ten times as many again.
        records : mapping
            Image id to image.
        is_open : callable
            Whether nobody has said anything about a candidate yet.
        names : mapping
            Class id to name.
        """
        pinned = {key: place for place, key in enumerate(self._pinned)}
        items = self._segments(limit, records, is_open, names)
        if self.show != "unknown":
            items += self._proposed(limit, records, names)
        last = len(pinned)
        items.sort(key=lambda item: (pinned.get(item.key, last), *item.place))
        return items[:limit]

    def _segments(
        self,
        limit: int,
        records: Mapping[int, ImageRecord],
        is_open: Callable[[CandidateRow, ImageRecord], bool],
        names: Mapping[int, str],
    ) -> list[QueueItem]:
        """Return open candidates and count in `hidden` those that are likely false."""
        self.hidden = 0
        items: list[QueueItem] = []
        if self.show not in ("all", "unknown"):
            return items
        for scanned in (max(10 * limit, AT_FIRST), 10 * max(10 * limit, AT_FIRST)):
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
        """Return proposed masks of images that are not reviewed, the most confident first."""
        source = None if self.show == "all" else self.show
        best = self._project.proposals.open(source, limit=10 * limit, to_review=True)
        readable = (p for p in best if p.image_id in records)
        return [
            QueueItem(records[p.image_id], None, p, names.get(p.class_id))
            for p in islice(readable, limit)
        ]
