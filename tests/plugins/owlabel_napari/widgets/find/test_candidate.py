"""Which buttons can be pressed follows from what is at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from owlabel.project.tables.proposals import Proposal
from owlabel.view.queue_order import QueueItem
from owlabel_napari.widgets.find.candidate import OFFERS, AtHand, CandidateWidget
from owlabel_napari.widgets.find.thumbnails import Thumbnails

pytestmark = pytest.mark.gui


@pytest.fixture
def widget(qtbot: Any, session: Any) -> Iterator[CandidateWidget]:
    thumbnails = Thumbnails()
    made = CandidateWidget(session, defaultdict(lambda: lambda: None), thumbnails)
    qtbot.addWidget(made)
    yield made
    made.close_widget()
    thumbnails.close()


def buttons(widget: CandidateWidget) -> tuple[str, bool, str, bool, bool]:
    name, known, ignore = widget.name_button, widget.known_button, widget.ignore_button
    return name.text(), name.isEnabled(), known.text(), known.isEnabled(), not ignore.isHidden()


PROPOSAL = Proposal(3, 1, 1, "cluster", "job 1", (10, 10, 20, 30), 0.8, 50, "open")
SEGMENT = ("Name it  ⏎", False, "Known  K", True, True)
REGION = ("Name it  ⏎", True, "Known  K", True, True)
MASK = ("Accept  ⏎", True, "Reject  K", True, False)
NOTHING = ("Name it  ⏎", False, "Known  K", False, True)


def test_nothing_then_a_candidate_then_a_region_of_it(widget: Any, session: Any) -> None:
    widget.refresh()
    assert buttons(widget) == NOTHING
    assert widget.what.text() == "No candidate selected"
    session.queue.select("candidate 7")
    widget.refresh()
    assert buttons(widget) == SEGMENT
    session.labels.click(12, 14)
    widget.refresh()
    assert buttons(widget) == REGION
    assert widget.what.text() == "Your region"


def test_a_candidate_that_was_decided_is_done(widget: Any, session: Any) -> None:
    session.queue.select("candidate 7")
    session.labels.human()[session.queue.shown.peak] = 0
    widget.refresh()
    assert buttons(widget) == NOTHING
    assert widget.what.text() == "Done"


def test_a_proposed_mask_is_accepted_rejected_or_corrected(widget: Any, session: Any) -> None:
    session.queue.select("candidate 7")
    session.queue.shown = QueueItem(session.record(), None, PROPOSAL, "sky")
    session.proposals.is_open = lambda _id: True
    widget.refresh()
    assert buttons(widget) == MASK
    assert not widget.correct_button.isHidden()
    session.labels.click(12, 14)
    widget.refresh()
    assert buttons(widget) == REGION, "a region of one's own is named, not the mask accepted"
    session.labels.correction = SimpleNamespace(class_id=1)
    widget.refresh()
    assert buttons(widget) == MASK
    assert widget.what.text() == "Correcting a mask of sky"


def test_there_is_an_offer_for_every_state() -> None:
    assert set(OFFERS) == set(AtHand)
