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
from owlabel.session.recording import recording_lines, replay
from owlabel.session.session import Session

MASK = np.zeros((48, 64), bool)
MASK[14:30, 20:40] = True


@pytest.fixture
def deer(session: Session) -> int:
    deer = session.labels.add_class("deer").id
    session.tags.tag([1, 2], deer, "present")
    return deer


def propose(session: Session, class_id: int, image_id: int = 1, confidence: float = 0.9) -> int:
    item = NewProposal(class_id, MASK, confidence)
    session.project.proposals.write(image_id, "weak_shot", "job 1", [item])
    return session.project.proposals.open(image_id=image_id)[0].id


def test_accepting_paints_where_nobody_has_said_anything(session: Session, deer: int) -> None:
    painted = session.labels.human().copy()
    painted[:20], painted[20:22] = 1, VOID
    session.labels.paint(painted)
    number = propose(session, deer)
    assert session.proposals.accept(number) == 8 * 20
    human = session.labels.human()
    np.testing.assert_array_equal(human[:22], painted[:22])
    assert (human[22:30, 20:40] == deer).all()
    assert np.count_nonzero(human == deer) == 8 * 20
    assert session.shots.count(deer) == 1
    assert session.project.proposals.get(number).state == "accepted"


def test_accepting_is_taken_back_whole(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.proposals.accept(number)
    session.undo()
    assert (session.labels.human() == UNSET).all()
    assert session.proposals.is_open(number)
    assert session.shots.count(deer) == 0
    session.redo()
    assert np.count_nonzero(session.labels.human() == deer) == MASK.sum()
    assert not session.proposals.is_open(number)


def test_accepting_goes_to_the_image(session: Session, deer: int) -> None:
    number = propose(session, deer, image_id=2)
    session.proposals.accept(number)
    assert session.image_id == 2


def test_where_all_is_labelled_accepting_changes_no_pixel(session: Session, deer: int) -> None:
    session.labels.paint(np.zeros((48, 64), np.uint8))
    number = propose(session, deer)
    revision = session.record().revision_id
    assert session.proposals.accept(number) == 0
    assert session.record().revision_id == revision
    assert session.proposals.open() == []


def test_rejecting_leaves_the_labels_alone(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.proposals.reject(number)
    assert (session.labels.human() == UNSET).all()
    assert session.proposals.open() == []
    session.undo()
    assert [p.id for p in session.proposals.open()] == [number]


def test_what_is_settled_or_not_tagged_any_more_is_refused(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.proposals.reject(number)
    with pytest.raises(ValueError, match=f"proposal {number} is rejected"):
        session.proposals.accept(number)
    session.undo()
    session.tags.tag([1], deer, "absent")
    with pytest.raises(ValueError, match="the tag of its image has changed"):
        session.proposals.accept(number)
    with pytest.raises(ValueError, match="no proposal has the id 99"):
        session.proposals.reject(99)


def test_a_reviewed_image_is_left_alone(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.labels.review()
    assert session.proposals.open() == []
    assert all(item.proposal is None for item in session.queue.items())
    with pytest.raises(ValueError, match="reviewed: reopen it"):
        session.proposals.accept(number)


def test_open_proposals_can_be_asked_for_by_class_and_confidence(
    session: Session, deer: int
) -> None:
    low, high = propose(session, deer, 1, 0.3), propose(session, deer, 2, 0.8)
    assert [p.id for p in session.proposals.open()] == [high, low]
    assert [p.id for p in session.proposals.open(at_least=0.5)] == [high]
    assert session.proposals.open(class_id=0) == []
    assert session.proposals.open("cluster") == []


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
    session.labels.paint(human)
    mask = rng.random(human.shape) < rng.random()
    mask[0, 0] = True
    item = NewProposal(deer, mask, 0.5)
    number = session.project.proposals.restore(1, "weak_shot", "", item)
    if not corrected:
        session.proposals.accept(number)
    else:
        session.proposals.correct(number)
        session.labels.click(
            int(rng.integers(48)), int(rng.integers(64)), add=bool(rng.integers(2))
        )
        if session.labels.region is not None and session.labels.region.area:
            session.labels.accept("deer")
    after = session.labels.human()
    np.testing.assert_array_equal(after[said], human[said])
    if not corrected:
        np.testing.assert_array_equal(after[~said & mask], deer)
        np.testing.assert_array_equal(after[~said & ~mask], UNSET)


# -- the queue ---------------------------------------------------------------------------------


def test_proposals_lead_the_queue_with_their_class(session: Session, deer: int) -> None:
    unknown = len(session.queue.items())
    low, high = propose(session, deer, 1, 0.3), propose(session, deer, 2, 0.8)
    items = session.queue.items()
    assert [(i.kind, i.id) for i in items[:3]] == [
        ("proposal", high),
        ("proposal", low),
        ("candidate", items[2].segment.id),
    ]
    assert items[0].class_name == "deer"
    assert items[0].box == (14, 20, 30, 40)
    assert items[0].score == 0.8
    assert len(items) == unknown + 2
    session.queue.next()
    assert session.image_id == 2
    session.proposals.accept(high)
    session.queue.next()
    assert session.queue.shown is not None
    assert session.queue.shown.proposal is not None
    assert session.queue.shown.proposal.id == low


def test_what_follows_a_proposal_that_is_done_is_what_followed_it(
    session: Session, deer: int
) -> None:
    session.tags.tag([3], deer, "present")
    last, middle = propose(session, deer, 1, 0.3), propose(session, deer, 2, 0.6)
    first = propose(session, deer, 3, 0.9)
    session.queue.select(f"proposal {middle}")
    session.proposals.reject(middle)
    session.queue.next()
    assert session.queue.shown is not None
    assert session.queue.shown.proposal.id == last
    session.proposals.accept(last)
    session.queue.previous()
    assert session.queue.shown.proposal.id == first


@pytest.mark.parametrize(("show", "proposed"), [("weak_shot", True), ("unknown", False)])
def test_the_queue_can_show_one_kind(
    session: Session, deer: int, show: str, proposed: bool
) -> None:
    propose(session, deer)
    session.queue.show = show
    assert {item.proposal is not None for item in session.queue.items()} == {proposed}


def test_keys_for_segments_do_nothing_to_a_proposal(session: Session, deer: int) -> None:
    propose(session, deer)
    session.queue.next()
    for act in (session.labels.mark_ignore, session.labels.mark_known):
        with pytest.raises(ValueError, match="accept, reject or correct"):
            act()


# -- correcting --------------------------------------------------------------------------------


def test_a_proposal_becomes_the_pending_region(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.proposals.correct(number)
    assert session.labels.region is not None
    np.testing.assert_array_equal(session.labels.region.full((48, 64)), MASK)
    session.labels.accept("deer")
    assert np.count_nonzero(session.labels.human() == deer) == MASK.sum()
    assert session.project.proposals.get(number).state == "accepted"
    assert session.labels.region is None
    session.undo()
    assert session.labels.region is not None
    assert session.labels.region.area == MASK.sum()
    assert session.proposals.is_open(number)


def test_clicks_add_and_take_away(session: Session, deer: int) -> None:
    session.proposals.correct(propose(session, deer))
    whole = session.labels.region.area
    session.labels.click(26, 22, add=False)  # the road that the mask holds, left of the deer
    assert session.labels.region.area < whole
    assert not session.labels.region.full((48, 64))[26, 22]
    assert session.labels.region.full((48, 64))[24, 34]
    session.undo()
    assert session.labels.region.area == whole
    session.labels.click(44, 5)
    assert session.labels.region.full((48, 64))[44, 5]


def test_brush_strokes_before_enter_are_a_humans(session: Session, deer: int) -> None:
    session.proposals.correct(propose(session, deer))
    painted = session.labels.human().copy()
    painted[14:16, 20:40] = 1  # sky: not part of the deer
    painted[40:42, 5:9] = deer
    session.labels.paint(painted)
    assert session.labels.region.area == 14 * 20
    session.labels.accept("deer")
    human = session.labels.human()
    assert (human[14:16, 20:40] == 1).all()
    assert (human[40:42, 5:9] == deer).all()
    assert (human[16:30, 20:40] == deer).all()


def test_another_name_can_be_given(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.proposals.correct(number)
    boar = session.labels.accept("boar")
    assert (session.labels.human()[MASK] == boar.id).all()
    assert not session.proposals.is_open(number)


def test_a_correction_can_be_dropped(session: Session, deer: int) -> None:
    number = propose(session, deer)
    session.proposals.correct(number)
    session.labels.cancel_region()
    assert session.labels.region is None
    assert session.proposals.is_open(number)
    assert session.labels.correction is None


def test_a_correction_survives_going_away_newer_masks_and_a_restart(
    toy: Any, session: Session, deer: int
) -> None:
    session.proposals.correct(propose(session, deer))
    session.go_to(2)
    assert session.labels.region is None
    session.go_to(1)
    assert session.labels.region.area == MASK.sum()
    session.project.proposals.write(1, "weak_shot", "job 2", [])
    again = Session(Project.open(toy.project.folder), start_worker=False)
    assert again.labels.region.area == MASK.sum()
    again.labels.accept("deer")
    assert np.count_nonzero(again.labels.human() == deer) == MASK.sum()
    again.close()


def test_nothing_is_left_of_a_region_that_a_human_has_labelled(session: Session, deer: int) -> None:
    session.proposals.correct(propose(session, deer))
    session.labels.paint(np.zeros((48, 64), np.uint8))
    assert session.labels.region.area == 0
    with pytest.raises(ValueError, match="the region is empty"):
        session.labels.accept("deer")
    session.labels.cancel_region()
    assert session.labels.region is None


# -- recordings --------------------------------------------------------------------------------


def test_a_replay_does_every_act_again(toy: Any, session: Session, tmp_path: Path) -> None:
    deer = session.labels.add_class("deer").id
    session.tags.tag_all(
        {deer: {1: "present", 2: "present"}}, {"boar": {3: "absent", 1: "present"}}
    )
    session.tags.tag([4], deer, "absent")
    session.tags.tag_none([3])
    session.undo()
    session.proposals.accept(propose(session, deer, 2))
    session.undo()
    session.redo()
    number = propose(session, deer, 1)
    session.proposals.reject(number)
    session.undo()
    session.proposals.correct(number)
    session.labels.click(26, 22, add=False)
    painted = session.labels.human().copy()
    painted[14:16, 20:24] = 1
    session.labels.paint(painted)
    session.labels.accept("deer")
    path = tmp_path / "session.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in recording_lines(session)))
    project = Project.create(tmp_path / "again.owlabel", toy.images, toy.checkpoint)
    toy.embed_all(project)
    with_tags = Session(project, start_worker=False)
    assert replay(with_tags, path, lambda: None) == []
    assert with_tags.project.tags.all() == session.project.tags.all()
    assert [e.kind for e in project.events()] == [e.kind for e in session.project.events()]
    with_tags.close()
