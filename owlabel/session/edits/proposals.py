"""The annotator's acts on masks that a model proposes: accept, reject, correct.

None of them changes what a human has labelled, and each can be undone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from owlabel.classes import UNSET
from owlabel.novel.click_regions import Region
from owlabel.project.tables.proposals import Proposal
from owlabel.session.core.acts import Acts
from owlabel.session.edits.labels import write_labels
from owlabel.view.proposal_correction import payload_of, region_of_mask
from owlabel.view.review_queue import QueueItem
from owlabel.view.view import View


class ProposalReview:
    """The proposed masks of a session.

    Parameters
    ----------
    view : View
    acts : Acts
    go_to : callable
        Shows an image, by its id.
    """

    def __init__(self, view: View, acts: Acts, go_to: Callable[[int], None]) -> None:
        self._view, self._acts, self._go_to = view, acts, go_to

    def open(
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
        by_id = self._view.images.by_id
        return [
            p
            for p in self._view.project.proposals.open(source)
            if p.image_id in by_id
            and by_id[p.image_id].state != "reviewed"
            and p.confidence >= at_least
            and class_id in (None, p.class_id)
        ]

    def is_open(self, proposal_id: int) -> bool:
        """Tell whether a proposal can still be accepted, rejected or corrected."""
        return self._view.project.proposals.is_open(proposal_id)

    def region(self, item: QueueItem | None) -> Region | None:
        """Return what accepting an item of the queue would label on the current image.

        None unless it is an open proposal of that image.
        """
        if item is None or item.proposal is None or item.record.id != self._view.image_id:
            return None
        if not self.is_open(item.proposal.id):
            return None
        mask = self._view.project.proposals.mask(item.proposal.id)
        return region_of_mask(mask & (self._view.human() == UNSET))

    def accept(self, proposal_id: int) -> int:
        """Paint a proposed mask where nobody has labelled anything; return how many pixels that is.

        Raises
        ------
        ValueError
            If there is no such proposal, it is not open, or its image is reviewed.
        """
        proposal, payload, name = self._shown(proposal_id)
        view, human = self._view, self._view.human()
        free = view.project.proposals.mask(proposal_id) & (human == UNSET)
        with self._acts.act("accept_proposal", payload, f"accept {name}") as action:
            if action.state(proposal.image_id) == "reviewed":
                raise ValueError(f"{view.record().relative} is reviewed: reopen it first")
            newest = action.labels_since(proposal.image_id, view.record().revision_id)
            if newest is not None:  # another process has labelled the image meanwhile
                free &= newest == UNSET
            action.set_proposal(proposal_id, "accepted")
            if free.any():
                write_labels(view, action, np.where(free, np.uint8(proposal.class_id), human))
        return int(np.count_nonzero(free))

    def reject(self, proposal_id: int) -> None:
        """Mark a proposed mask as wrong; it is not shown again.

        Raises
        ------
        ValueError
            As `accept`.
        """
        _, payload, name = self._shown(proposal_id)
        with self._acts.act("reject_proposal", payload, f"reject {name}") as action:
            action.set_proposal(proposal_id, "rejected")

    def correct(self, proposal_id: int) -> None:
        """Make a proposed mask the pending region: clicks and the brush change it, a name ends it.

        Raises
        ------
        ValueError
            As `accept`.
        """
        _, payload, name = self._shown(proposal_id)
        self._acts.record("correct", payload, f"correct {name}")

    def _shown(self, proposal_id: int) -> tuple[Proposal, dict[str, Any], str]:
        """Go to the image of an open proposal; return it, its payload and its class's name."""
        proposals = self._view.project.proposals
        proposal = proposals.get(proposal_id)
        if not proposals.is_open(proposal_id):
            why = proposal.state if proposal.state != "open" else "open no more: see its tag"
            raise ValueError(f"the proposal {proposal_id} is {why}")
        record = self._view.record(proposal.image_id)
        if record.state == "reviewed":
            raise ValueError(f"{record.relative} is reviewed: reopen it first")
        if self._view.image_id != record.id:
            self._go_to(record.id)
        payload = payload_of(proposal, proposals.mask(proposal_id))
        return proposal, payload, self._view.classes.by_id(proposal.class_id).name
