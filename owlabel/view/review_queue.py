"""The queue of candidates over a data set: which are open, which are hidden, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from owlabel.ood.candidates import Candidate
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
    """One open candidate: a segment that the model does not know, or a proposed mask.

    Attributes
    ----------
    row : CandidateRow
        A proposal has one too: its number is the negative of the proposal's, its score and rank
        are the confidence.
    record : ImageRecord
        Its image.
    claimed : str or None
        The novel class that claims it, if any; of a proposal its class.
    false : float or None
        Probability that it is a false detection; None while nothing is known about that.
    proposal : Proposal or None
        The mask that is proposed, None for a segment.
    """

    row: CandidateRow
    record: ImageRecord
    claimed: str | None
    false: float | None = None
    proposal: Proposal | None = None


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
        self._project, self._head = project, head_hash
        self.hide_above = HIDE_ABOVE
        self.show_hidden = False
        self.show = "all"
        self.hidden = 0
        self._pinned: tuple[int, ...] = ()
        self.take_judge()

    def take_judge(self) -> None:
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

    def pin(self, row_ids: Sequence[int]) -> None:
        """Keep these candidates in this order before all others, until `release`."""
        self._pinned = tuple(row_ids)

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

    def items(
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
        pinned = {row_id: place for place, row_id in enumerate(self._pinned)}
        self.hidden = 0
        items: list[QueueItem] = []
        for look in (max(10 * limit, AT_FIRST), 10 * max(10 * limit, AT_FIRST)):
            if self.show not in ("all", "unknown"):
                break
            rows = self._project.candidates.ranked(self._head, limit=look, to_review=True)
            open_ones = [
                r for r in rows if r.image_id in records and is_open(r, records[r.image_id])
            ]
            for row, false in zip(open_ones, self.probability_false(open_ones), strict=True):
                if false is not None and false > self.hide_above and row.id not in pinned:
                    self.hidden += 1
                    if not self.show_hidden:
                        continue
                claimed = None if row.claimed_by is None else names.get(row.claimed_by)
                items.append(QueueItem(row, records[row.image_id], claimed, false))
            if open_ones or len(rows) < look:
                break
        if self.show != "unknown":
            items += self._proposed(limit, records, names)
        last = len(pinned)
        items.sort(key=lambda item: (pinned.get(item.row.id, last), *_place(item)))
        return items[:limit]

    def _proposed(
        self, limit: int, records: Mapping[int, ImageRecord], names: Mapping[int, str]
    ) -> list[QueueItem]:
        """Return proposed masks of images that are not reviewed, the most confident first."""
        source = None if self.show == "all" else self.show
        best = self._project.proposals.open(source, limit=10 * limit, to_review=True)
        found = (p for p in best if p.image_id in records)
        return [
            QueueItem(_row_of(p), records[p.image_id], names.get(p.class_id), None, p)
            for p in islice(found, limit)
        ]


def _row_of(proposal: Proposal) -> CandidateRow:
    """Return a proposal as the row of a candidate."""
    row0, col0, row1, col1 = proposal.box
    candidate = Candidate(
        score=proposal.confidence,
        area=proposal.pixels,
        box=proposal.box,
        peak=((row0 + row1 - 1) // 2, (col0 + col1 - 1) // 2),
        likely_class=proposal.class_id,
        rank=proposal.confidence,
    )
    return CandidateRow(-proposal.id, proposal.image_id, candidate, None)


def _place(item: QueueItem) -> tuple[int, float, int]:
    """Return the place of a candidate among those that are not pinned."""
    if item.proposal is not None:
        return -1, -item.proposal.confidence, item.proposal.id
    real = 1.0 if item.false is None else 1 - item.false
    return int(item.row.claimed_by is not None), -item.row.candidate.rank * real, item.row.id
