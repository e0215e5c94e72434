"""What an annotator does with masks that a model proposes: accept, reject, correct.

Nothing that a human has labelled is changed by any of them, and each can be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from owlabel.classes import UNSET, LabelClass, Labels
from owlabel.novel.click_regions import Region
from owlabel.novel.clicks import click_region
from owlabel.project.tables.proposals import Proposal
from owlabel.session.edits.tags import Tagging
from owlabel.view.proposal_correction import (
    KINDS,
    Correction,
    corrected,
    payload_of,
    pending,
    region_of_mask,
)

AT_HAND = "a proposal is at hand: accept, reject or correct it"


class Proposing(Tagging):
    """An editor that reviews proposals."""

    correction: Correction | None = None
    """The proposal that is being corrected on the current image."""

    # -- what is open --------------------------------------------------------------------------

    def proposals(
        self, source: str | None = None, class_id: int | None = None, at_least: float = 0
    ) -> list[Proposal]:
        """Return the open proposals of images that are not reviewed, the most confident first.

        Parameters
        ----------
        source : {"weak_shot", "cluster"}, optional
        class_id : int, optional
        at_least : float
            Confidence, 0 .. 1.
        """
        return [
            p
            for p in self.project.proposals.open(source)
            if p.image_id in self._by_id
            and self._by_id[p.image_id].state != "reviewed"
            and p.confidence >= at_least
            and class_id in (None, p.class_id)
        ]

    def has_proposals(self) -> bool:
        """Tell whether anything is proposed that is still open."""
        return self.project.proposals.count() > 0

    def proposal_is_open(self, proposal_id: int) -> bool:
        """Tell whether a proposal can still be accepted, rejected or corrected."""
        try:
            image_id = self.project.proposals.get(proposal_id).image_id
        except ValueError:  # newer ones have taken its place
            return False
        return any(p.id == proposal_id for p in self.project.proposals.open(image_id=image_id))

    def _open_proposal(self, proposal_id: int) -> Proposal:
        """Return an open proposal after going to its image."""
        proposal = self.project.proposals.get(proposal_id)
        if not self.proposal_is_open(proposal_id):
            why = proposal.state if proposal.state != "open" else "open no more: see its tag"
            raise ValueError(f"the proposal {proposal_id} is {why}")
        record = self.record(proposal.image_id)
        if record.state == "reviewed":
            raise ValueError(f"{record.relative} is reviewed: reopen it first")
        if self.image_id != record.id:
            self.go_to(record.id)
        return proposal

    def proposed_region(self) -> Region | None:
        """Return what accepting the current candidate would label; None unless it is a proposal."""
        item = self.candidate
        if item is None or item.proposal is None or item.record.id != self.image_id:
            return None
        if not self.proposal_is_open(item.proposal.id):
            return None
        mask = self.project.proposals.mask(item.proposal.id) & (self.human() == UNSET)
        return region_of_mask(mask)

    def _told(self, proposal: Proposal) -> tuple[dict[str, Any], str]:
        """Return the payload of an act on a proposal, and the name of its class."""
        mask = self.project.proposals.mask(proposal.id)
        return payload_of(proposal, mask), self.classes.by_id(proposal.class_id).name

    # -- acts ----------------------------------------------------------------------------------

    def accept_proposal(self, proposal_id: int) -> int:
        """Paint a proposed mask where nobody has said anything; return how many pixels that is.

        Raises
        ------
        ValueError
            If there is no such proposal, it is not open, or its image is reviewed.
        """
        proposal = self._open_proposal(proposal_id)
        mask = self.project.proposals.mask(proposal_id)
        named, human = self.classes.by_id(proposal.class_id), self.human()
        free = mask & (human == UNSET)
        payload = payload_of(proposal, mask)
        with self.project.action("accept_proposal", payload, f"accept {named.name}") as action:
            if action.state(proposal.image_id) == "reviewed":
                raise ValueError(f"{self.record().relative} is reviewed: reopen it first")
            newest = action.labels_since(proposal.image_id, self.record().revision_id)
            if newest is not None:  # another process has labelled the image meanwhile
                free &= newest == UNSET
            action.set_proposal(proposal_id, "accepted")
            if free.any():
                self._write(action, np.where(free, np.uint8(named.id), human))
        self._after_labels(proposal.image_id)
        return int(np.count_nonzero(free))

    def reject_proposal(self, proposal_id: int) -> None:
        """Say that a proposed mask is wrong; it is not shown again.

        Raises
        ------
        ValueError
            As `accept_proposal`.
        """
        proposal = self._open_proposal(proposal_id)
        payload, name = self._told(proposal)
        with self.project.action("reject_proposal", payload, f"reject {name}") as action:
            action.set_proposal(proposal_id, "rejected")
        self._refresh_region()
        self.queue_changed.emit()
        self.history_changed.emit()

    def correct_proposal(self, proposal_id: int) -> None:
        """Make a proposed mask the pending region: clicks and the brush change it, `accept` ends.

        Raises
        ------
        ValueError
            As `accept_proposal`.
        """
        proposal = self._open_proposal(proposal_id)
        payload, name = self._told(proposal)
        with self.project.action("correct", payload, f"correct {name}"):
            pass
        self._refresh_region()
        self.history_changed.emit()

    def accept(self, name: str, *, by_colour: bool | None = None) -> LabelClass:
        """Give the pending region this class; a corrected proposal is accepted with it.

        Parameters and errors are those of `Editor.accept`.
        """
        correction = self.correction
        if correction is None:
            return super().accept(name, by_colour=by_colour)
        region = self._pending(by_colour)
        if not region.area:
            raise ValueError("nothing is left of the region: click to add, or drop it")
        known = self.classes.find(name)
        still_open = self.proposal_is_open(correction.proposal_id)
        payload = self._region_payload() | {"name": name}
        with self.project.action("accept", payload, f"label {name}") as action:
            named = known or action.add_class(name)
            if still_open:
                action.set_proposal(correction.proposal_id, "accepted")
            self._write(action, self._corrected(region, named.id))
        if known is None:
            self.classes = self.project.classes()
            self.classes_changed.emit()
        self._after_labels(self.record().id)
        return named

    def _corrected(self, region: Region, class_id: int) -> Labels:
        """Return the human layer with the region, which holds nothing that a human labelled."""
        painted = self.human().copy()
        row0, col0, row1, col1 = region.mask_box
        painted[row0:row1, col0:col1][region.mask] = class_id
        return painted

    # -- the pending region ----------------------------------------------------------------------

    def _refresh_region(self) -> None:
        """Make the pending region from the proposal that is corrected, else from the clicks."""
        record = self.record()
        events = self.project.trailing_events(record.id, *KINDS)
        shape = record.shape or self.image().shape[:2]
        self.correction = pending(events, record.id, shape)
        self._stroke = "paint" if self.correction is None else "touch_up"
        if self.correction is None:
            super()._refresh_region()
            return
        self.clicks = self.correction.clicks
        self.by_colour = self.output() is None
        self.region = corrected(self.correction, self.human(), self._region_of)
        self.region_changed.emit()

    def _pending(self, by_colour: bool | None) -> Region:
        if self.correction is None or not by_colour:
            return super()._pending(by_colour)
        self.by_colour = True
        self.region = corrected(
            self.correction,
            self.human(),
            lambda clicks: click_region(clicks, None, self.image, self.rule),
        )
        return self.region

    def mark_ignore(self, *, peak: Sequence[int] | None = None) -> None:
        """Mark the pending region, or the current candidate, as void; not a proposal."""
        self._no_proposal(peak)
        super().mark_ignore(peak=peak)

    def mark_known(self, *, peak: Sequence[int] | None = None) -> None:
        """Say that the model is right about the region or candidate; a proposal is rejected."""
        self._no_proposal(peak)
        super().mark_known(peak=peak)

    def _no_proposal(self, peak: Sequence[int] | None) -> None:
        item = self.candidate
        if peak is None and self.region is None and item is not None and item.proposal is not None:
            raise ValueError(AT_HAND)
