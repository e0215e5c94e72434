"""Reviewing proposed masks: accept, reject, correct; a human's pixel is never changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owlabel.classes import UNSET, VOID
from owlabel.project.store import Project
from owlabel.project.tables.proposals import NewProposal
from owlabel.session.recording import recorded, replay
from owlabel.session.session import Session

MASK = np.zeros((48, 64), bool)
MASK[14:30, 20:40] = True


@pytest.fixture
def deer(session: Session) -> int:
    deer = session.add_class("deer").id
    session.tag([1, 2], deer, "present")
    return deer


def propose(session: Session, class_id: int, image_id: int = 1, confidence: float = 0.9) -> int:
    item = NewProposal(class_id, MASK, confidence)
    session.project.proposals.write(image_id, "weak_shot", "job 1", [item])
    return session.project.proposals.open(image_id=image_id)[0].id


def test_accepting_paints_where_nobody_has_said_anything(session: Session, deer: int) -> None:
    painted = session.human().copy()
    painted[:20], painted[20:22] = 1, VOID
    session.paint(painted)
    number = propose(session, deer)
    assert session.accept_proposal(number) == 8 * 20
    human = session.human()
    np.testing.assert_array_equal(human[:22], painted[:22])
    assert (human[22:30, 20:40] == deer).all()
    assert np.count_nonzero(human == deer) == 8 * 20
    assert session.shots(deer) == 1
    assert session.project.proposals.get(number).state == "accepted"


def test_accepting_is_taken_back_whole(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.accept_proposal(number)
    session.undo()
    assert (session.human() == UNSET).all()
    assert session.proposal_is_open(number)
    assert session.shots(deer) == 0
    session.redo()
    assert np.count_nonzero(session.human() == deer) == MASK.sum()
    assert not session.proposal_is_open(number)


def test_accepting_goes_to_the_image(session: Session, deer: int) -> None:
    number = propose(session, deer, image_id=2)
    session.accept_proposal(number)
    assert session.image_id == 2


def test_where_all_is_labelled_accepting_changes_no_pixel(session: Session, deer: int) -> None:
    session.paint(np.zeros((48, 64), np.uint8))
    number = propose(session, deer)
    revision = session.record().revision_id
    assert session.accept_proposal(number) == 0
    assert session.record().revision_id == revision
    assert session.proposals() == []


def test_rejecting_leaves_the_labels_alone(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.reject_proposal(number)
    assert (session.human() == UNSET).all()
    assert session.proposals() == []
    session.undo()
    assert [p.id for p in session.proposals()] == [number]


def test_what_is_settled_or_not_tagged_any_more_is_refused(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.reject_proposal(number)
    with pytest.raises(ValueError, match=f"proposal {number} is rejected"):
        session.accept_proposal(number)
    session.undo()
    session.tag([1], deer, "absent")
    with pytest.raises(ValueError, match="see its tag"):
        session.accept_proposal(number)
    with pytest.raises(ValueError, match="no proposal has the id 99"):
        session.reject_proposal(99)


def test_a_reviewed_image_is_left_alone(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.review()
    assert session.proposals() == []
    assert all(item.proposal is None for item in session.queue())
    with pytest.raises(ValueError, match="reviewed: reopen it"):
        session.accept_proposal(number)


def test_open_proposals_can_be_asked_for_by_class_and_confidence(
    session: Session, deer: int
) -> None:
    low, high = propose(session, deer, 1, 0.3), propose(session, deer, 2, 0.8)
    assert [p.id for p in session.proposals()] == [high, low]
    assert [p.id for p in session.proposals(at_least=0.5)] == [high]
    assert session.proposals(class_id=0) == []
    assert session.proposals("cluster") == []


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1), corrected=st.booleans())
def test_no_pixel_that_a_human_labelled_ever_changes(
    session: Session, deer: int, seed: int, share: float, corrected: bool
) -> None:
    rng = np.random.default_rng(seed)
    human = np.full((48, 64), UNSET, np.uint8)
    said = rng.random(human.shape) < share
    human[said] = rng.choice([0, 1, deer, VOID], int(said.sum()))
    session.paint(human)
    mask = rng.random(human.shape) < rng.random()
    mask[0, 0] = True
    item = NewProposal(deer, mask, 0.5)
    number = session.project.proposals.restore(1, "weak_shot", "", item)
    if not corrected:
        session.accept_proposal(number)
    else:
        session.correct_proposal(number)
        session.click(int(rng.integers(48)), int(rng.integers(64)), add=bool(rng.integers(2)))
        if session.region is not None and session.region.area:
            session.accept("deer")
    after = session.human()
    np.testing.assert_array_equal(after[said], human[said])
    if not corrected:
        np.testing.assert_array_equal(after[~said & mask], deer)
        np.testing.assert_array_equal(after[~said & ~mask], UNSET)


# -- the queue ---------------------------------------------------------------------------------


def test_proposals_lead_the_queue_with_their_class(session: Session, deer: int) -> None:
    unknown = len(session.queue())
    low, high = propose(session, deer, 1, 0.3), propose(session, deer, 2, 0.8)
    items = session.queue()
    assert [i.row.id for i in items[:2]] == [-high, -low]
    assert items[0].claimed == "deer"
    assert items[0].row.candidate.box == (14, 20, 30, 40)
    assert items[0].row.candidate.score == 0.8
    assert len(items) == unknown + 2
    session.next_candidate()
    assert session.image_id == 2
    session.accept_proposal(high)
    session.next_candidate()
    assert session.candidate is not None
    assert session.candidate.proposal is not None
    assert session.candidate.proposal.id == low


def test_what_follows_a_proposal_that_is_done_is_what_followed_it(
    session: Session, deer: int
) -> None:
    session.tag([3], deer, "present")
    last, middle = propose(session, deer, 1, 0.3), propose(session, deer, 2, 0.6)
    first = propose(session, deer, 3, 0.9)
    session.select_candidate(-middle)
    session.reject_proposal(middle)
    session.next_candidate()
    assert session.candidate is not None
    assert session.candidate.row.id == -last
    session.accept_proposal(last)
    session.previous_candidate()
    assert session.candidate.row.id == -first


@pytest.mark.parametrize(("show", "proposed"), [("weak_shot", True), ("unknown", False)])
def test_the_queue_can_show_one_kind(
    session: Session, deer: int, show: str, proposed: bool
) -> None:
    propose(session, deer)
    session.candidates.show = show
    assert {item.proposal is not None for item in session.queue()} == {proposed}


def test_keys_for_segments_do_nothing_to_a_proposal(session: Session, deer: int) -> None:
    propose(session, deer)
    session.next_candidate()
    for act in (session.mark_ignore, session.mark_known):
        with pytest.raises(ValueError, match="accept, reject or correct"):
            act()


# -- correcting --------------------------------------------------------------------------------


def test_a_proposal_becomes_the_pending_region(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.correct_proposal(number)
    assert session.region is not None
    np.testing.assert_array_equal(session.region.full((48, 64)), MASK)
    session.accept("deer")
    assert np.count_nonzero(session.human() == deer) == MASK.sum()
    assert session.project.proposals.get(number).state == "accepted"
    assert session.region is None
    session.undo()
    assert session.region is not None
    assert session.region.area == MASK.sum()
    assert session.proposal_is_open(number)


def test_clicks_add_and_take_away(session: Session, deer: int) -> None:
    session.correct_proposal(propose(session, deer))
    whole = session.region.area
    session.click(26, 22, add=False)  # the road that the mask holds, left of the deer
    assert session.region.area < whole
    assert not session.region.full((48, 64))[26, 22]
    assert session.region.full((48, 64))[24, 34]
    session.undo()
    assert session.region.area == whole
    session.click(44, 5)
    assert session.region.full((48, 64))[44, 5]


def test_brush_strokes_before_enter_are_a_humans(session: Session, deer: int) -> None:
    session.correct_proposal(propose(session, deer))
    painted = session.human().copy()
    painted[14:16, 20:40] = 1  # sky: not part of the deer
    painted[40:42, 5:9] = deer
    session.paint(painted)
    assert session.region.area == 14 * 20
    session.accept("deer")
    human = session.human()
    assert (human[14:16, 20:40] == 1).all()
    assert (human[40:42, 5:9] == deer).all()
    assert (human[16:30, 20:40] == deer).all()


def test_another_name_can_be_given(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.correct_proposal(number)
    boar = session.accept("boar")
    assert (session.human()[MASK] == boar.id).all()
    assert not session.proposal_is_open(number)


def test_a_correction_can_be_dropped(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.correct_proposal(number)
    session.cancel_region()
    assert session.region is None
    assert session.proposal_is_open(number)
    assert session.correction is None


def test_a_correction_survives_going_away_newer_masks_and_a_restart(
    toy: Any, session: Session, deer: int
) -> None:
    session.correct_proposal(propose(session, deer))
    session.go_to(2)
    assert session.region is None
    session.go_to(1)
    assert session.region.area == MASK.sum()
    session.project.proposals.write(1, "weak_shot", "job 2", [])
    again = Session(Project.open(toy.project.folder), start_worker=False)
    assert again.region.area == MASK.sum()
    again.accept("deer")
    assert np.count_nonzero(again.human() == deer) == MASK.sum()
    again.close()


def test_nothing_is_left_of_a_region_that_a_human_has_labelled(session: Session, deer: int) -> None:
    session.correct_proposal(propose(session, deer))
    session.paint(np.zeros((48, 64), np.uint8))
    assert session.region.area == 0
    with pytest.raises(ValueError, match="nothing is left"):
        session.accept("deer")
    session.cancel_region()
    assert session.region is None


# -- recordings --------------------------------------------------------------------------------


def test_a_replay_does_every_act_again(toy: Any, session: Session, tmp_path: Path) -> None:
    deer = session.add_class("deer").id
    session.tag_all({deer: {1: "present", 2: "present"}}, {"boar": {3: "absent", 1: "present"}})
    session.tag([4], deer, "absent")
    session.tag_none([3])
    session.undo()
    session.accept_proposal(propose(session, deer, 2))
    session.undo()
    session.redo()
    number = propose(session, deer, 1)
    session.reject_proposal(number)
    session.undo()
    session.correct_proposal(number)
    session.click(26, 22, add=False)
    painted = session.human().copy()
    painted[14:16, 20:24] = 1
    session.paint(painted)
    session.accept("deer")
    path = tmp_path / "sitting.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in recorded(session)))
    project = Project.create(tmp_path / "again.owlabel", toy.images, toy.checkpoint)
    toy.embed_all(project)
    with_tags = Session(project, start_worker=False)
    assert replay(with_tags, path, lambda: None) == []
    assert with_tags.project.tags.all() == session.project.tags.all()
    assert [e.kind for e in project.events()] == [e.kind for e in session.project.events()]
    with_tags.close()
