"""The annotator's acts on proposed masks: accept, reject, correct.

No act changes a human label, and each act can be undone.
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
from owlabel.view.proposal_correction import proposal_payload, region_of_mask
from owlabel.view.queue_order import QueueItem
from owlabel.view.view import View


class ProposalReview:
    """The proposed masks of a session.

    Parameters
    ----------
    view : View
    acts : Acts
    go_to : callable
        Shows the image with an id.
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
            Smallest confidence, in [0, 1].
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
        """Return whether a proposal can still be accepted, rejected or corrected."""
        return self._view.project.proposals.is_open(proposal_id)

    def region(self, item: QueueItem | None) -> Region | None:
        """Return the region that accepting an item would label in the current image.

        None if the item is not an open proposal of this image.
        """
        if item is None or item.proposal is None or item.record.id != self._view.image_id:
            return None
        if not self.is_open(item.proposal.id):
            return None
        mask = self._view.project.proposals.mask(item.proposal.id)
        return region_of_mask(mask & (self._view.human() == UNSET))

    def accept(self, proposal_id: int) -> int:
        """Label the unlabelled pixels of a proposed mask and return their number.

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
            if newest is not None:  # another process has labelled the image
                free &= newest == UNSET
            action.set_proposal(proposal_id, "accepted")
            if free.any():
                write_labels(view, action, np.where(free, np.uint8(proposal.class_id), human))
        return int(np.count_nonzero(free))

    def reject(self, proposal_id: int) -> None:
        """Reject a proposed mask; it is not shown again.

        Raises
        ------
        ValueError
            As in `accept`.
        """
        _, payload, name = self._shown(proposal_id)
        with self._acts.act("reject_proposal", payload, f"reject {name}") as action:
            action.set_proposal(proposal_id, "rejected")

    def correct(self, proposal_id: int) -> None:
        """Make a proposed mask the pending region, to be changed by clicks and the brush.

        Raises
        ------
        ValueError
            As in `accept`.
        """
        _, payload, name = self._shown(proposal_id)
        self._acts.record("correct", payload, f"correct {name}")

    def _shown(self, proposal_id: int) -> tuple[Proposal, dict[str, Any], str]:
        """Show the image of an open proposal; return the proposal, its payload and class name."""
        proposals = self._view.project.proposals
        proposal = proposals.get(proposal_id)
        if not proposals.is_open(proposal_id):
            why = proposal.state
            if why == "open":
                why = "no longer open: the tag of its image has changed"
            raise ValueError(f"proposal {proposal_id} is {why}")
        record = self._view.record(proposal.image_id)
        if record.state == "reviewed":
            raise ValueError(f"{record.relative} is reviewed: reopen it first")
        if self._view.image_id != record.id:
            self._go_to(record.id)
        payload = proposal_payload(proposal, proposals.mask(proposal_id))
        return proposal, payload, self._view.classes.by_id(proposal.class_id).name
