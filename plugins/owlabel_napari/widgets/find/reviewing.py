"""What Enter, K and R mean: a proposed mask at hand is accepted, rejected or corrected."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.find.naming import Naming

if TYPE_CHECKING:
    from owlabel.project.tables.proposals import Proposal
    from owlabel.session.session import Session


class Reviewing:
    """Hand keys to the proposal at hand, else to what they usually do.

    Parameters
    ----------
    session : Session
    naming : Naming
        Asks for the name of a clicked region.
    choose_brush : callable
        Told the class that the brush shall paint while its mask is corrected.
    """

    def __init__(
        self, session: Session, naming: Naming, choose_brush: Callable[[int], None]
    ) -> None:
        self.session, self.naming, self.choose_brush = session, naming, choose_brush

    def at_hand(self) -> Proposal | None:
        """Return the open proposal that the current candidate is, on the image that is shown."""
        item = self.session.queue.shown
        if item is None or item.proposal is None or item.record.id != self.session.image_id:
            return None
        return item.proposal if self.session.proposals.is_open(item.proposal.id) else None

    def enter(self) -> None:
        """Accept the proposal, or the correction of it, and go on; else name the region."""
        session, correction = self.session, self.session.labels.correction
        if correction is not None:
            name = session.classes.by_id(correction.class_id).name
            if attempt(session, session.labels.accept, name) is not None:
                session.queue.next()
        elif session.labels.region is None and (proposal := self.at_hand()) is not None:
            if attempt(session, session.proposals.accept, proposal.id) is not None:
                session.queue.next()
        else:
            self.naming.ask()

    def known(self) -> None:
        """Reject the proposal and go on; else say that the model was right."""
        session, proposal = self.session, self.at_hand()
        if proposal is None or (
            session.labels.region is not None and session.labels.correction is None
        ):
            attempt(session, session.labels.mark_known)
            return
        attempt(session, session.proposals.reject, proposal.id)
        if not session.proposals.is_open(proposal.id):
            session.queue.next()

    def correct(self) -> None:
        """Make the proposal the pending region, for clicks and the brush."""
        proposal = self.at_hand()
        if proposal is None:
            self.session.message.emit("info", "R corrects a proposed mask. Go to one first (N).")
        else:
            attempt(self.session, self.session.proposals.correct, proposal.id)
            self.choose_brush(proposal.class_id)
