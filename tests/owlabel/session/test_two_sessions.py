"""Two sessions on one project: nobody's labels are lost, and each sees what the other did."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from owlabel.classes import UNSET
from owlabel.commands.proposals import _each
from owlabel.jobs.queue import JobQueue
from owlabel.project.store import Project
from owlabel.project.tables.proposals import NewProposal
from owlabel.session.session import Session

CENTRE = (24, 34)


@pytest.fixture
def other(session: Session) -> Iterator[Session]:
    """A second session, as of another window or command, that has read everything before."""
    made = Session(Project.open(session.project.folder), start_worker=False)
    made.labels.human()
    session.labels.human()
    yield made
    made.close()


def rows(session: Session, start: int, class_id: int) -> np.ndarray:
    painted = session.labels.human().copy()
    painted[start : start + 4] = class_id
    return painted


def test_both_strokes_on_one_image_stay(session: Session, other: Session) -> None:
    session.labels.paint(rows(session, 0, 1))
    other.labels.paint(rows(other, 10, 0))  # it has not heard of the first
    human = Project.human_labels(session.project, session.image_id)
    assert (human[:4] == 1).all()
    assert (human[10:14] == 0).all()
    assert (human[14:] == UNSET).all()
    np.testing.assert_array_equal(other.labels.human(), human)
    other.undo()
    assert (other.labels.human()[:4] == 1).all()
    assert (other.labels.human()[4:] == UNSET).all()


def test_an_edit_reopens_what_the_other_has_just_reviewed(session: Session, other: Session) -> None:
    session.labels.review()
    other.labels.paint(rows(other, 10, 0))
    session.poll()
    assert session.record().state == "edited"
    assert session.project.reviewed(session.image_id) is None
    other.undo()
    session.poll()
    assert session.record().state == "reviewed"


def test_what_was_not_seen_is_not_reviewed(session: Session, other: Session) -> None:
    session.labels.paint(rows(session, 0, 1))
    with pytest.raises(ValueError, match=r"another process has just labelled deer_1\.png"):
        other.labels.review()
    assert other.record().state != "reviewed"
    other.poll()
    other.labels.review()
    session.poll()
    assert session.record().state == "reviewed"


def test_where_both_painted_the_later_stroke_counts(session: Session, other: Session) -> None:
    session.labels.paint(rows(session, 0, 1))
    other.labels.paint(rows(other, 2, 0))
    assert (other.labels.human()[:2] == 1).all()
    assert (other.labels.human()[2:6] == 0).all()


def test_a_poll_shows_what_the_other_did(session: Session, other: Session) -> None:
    told: list[object] = []
    other.labels.changed.connect(told.append)
    other.classes_changed.connect(lambda: told.append("classes"))
    other.tags.changed.connect(told.append)
    other.poll()
    assert told == []
    session.labels.click(*CENTRE)
    session.labels.accept("deer")
    deer = session.classes.find("deer").id
    session.tags.tag([1, 2], deer, "present")
    session.labels.review()
    other.poll()
    assert other.classes.find("deer") is not None
    assert other.image_id in told
    assert "classes" in told
    assert {deer: {1: "present", 2: "present"}} in told
    assert other.record().state == "reviewed"
    np.testing.assert_array_equal(other.labels.human(), session.labels.human())
    told.clear()
    other.poll()
    assert told == []


def test_what_the_other_undoes_and_redoes_is_followed(session: Session, other: Session) -> None:
    session.labels.paint(rows(session, 0, 1))
    other.poll()
    session.undo()
    other.poll()
    assert (other.labels.human() == UNSET).all()
    session.redo()
    other.poll()
    assert (other.labels.human()[:4] == 1).all()


def test_own_acts_are_not_taken_twice(session: Session) -> None:
    session.labels.click(*CENTRE)
    session.labels.accept("deer")
    session.undo()
    session.redo()
    told: list[object] = []
    session.labels.changed.connect(told.append)
    session.poll()
    assert told == []


def test_a_model_that_the_other_has_chosen_is_followed(
    session: Session, other: Session, stranger: Path
) -> None:
    told: list[str] = []
    other.models.changed.connect(lambda: told.append("model"))
    before = other.models.active.id
    other.labels.paint(rows(other, 0, 1))
    session.models.switch(session.project.add_model(stranger, "other", "plm", None, {}).id)
    other.poll()
    assert told == ["model"]
    assert other.models.active.name == "other"
    assert other.models.header.heads[0].hash == session.models.header.heads[0].hash
    assert (other.labels.human()[:4] == 1).all()
    session.undo()
    other.poll()
    assert (other.models.active.id, told) == (before, ["model", "model"])


def test_a_pending_region_outlives_what_the_other_does_elsewhere(
    session: Session, other: Session
) -> None:
    session.labels.click(*CENTRE)
    other.go_to(session.records[2].id)
    other.labels.click(*CENTRE)
    other.labels.paint(rows(other, 0, 1))
    other.settings.set(threshold=0.3)
    session.poll()
    assert session.labels.region is not None
    session.labels.accept("deer")
    assert session.shots.count(session.classes.find("deer").id) == 1
    other.go_to(session.image_id)
    session.labels.click(*CENTRE)
    other.labels.paint(rows(other, 40, 1))  # on the same picture
    session.poll()
    assert session.labels.region is None


def test_naming_a_region_leaves_what_the_other_has_just_labelled(
    session: Session, other: Session
) -> None:
    session.labels.click(*CENTRE)
    other.labels.paint(np.zeros_like(other.labels.human()))
    session.labels.accept("deer")
    assert (session.labels.human() == 0).all()


def test_reopening_keeps_the_state_of_what_the_other_has_labelled(
    session: Session, other: Session
) -> None:
    session.labels.review()
    other.poll()
    session.labels.paint(rows(session, 0, 1))
    other.labels.review(False)
    assert other.record().state == "edited"


def test_a_class_that_the_other_has_taken_back_is_not_painted(
    session: Session, other: Session
) -> None:
    session.labels.click(*CENTRE)
    session.labels.accept("deer")
    other.poll()
    deer = other.classes.find("deer").id
    session.undo()
    with pytest.raises(ValueError, match="'deer' was just removed"):
        other.labels.paint(rows(other, 20, deer))
    assert (other.project.human_labels(other.image_id) == UNSET).all()
    other.poll()
    other.labels.paint(rows(other, 20, 1))


def test_tags_are_told_as_they_are(session: Session, other: Session) -> None:
    deer = session.labels.add_class("deer").id
    other.poll()
    told: list[object] = []
    session.tags.changed.connect(told.append)
    other.tags.tag([1], deer, "present")
    session.undo()  # before it has heard of the tag
    session.poll()
    assert told
    assert told[-1] == {deer: {1: "unknown"}}
    session.redo()
    assert told[-1] == {deer: {1: "present"}}


@pytest.fixture
def masks(session: Session) -> list[int]:
    """Two masks on the current picture and one on the next; their numbers, the surest first."""
    first, second = [r.id for r in session.records][:2]
    for image_id, tops in ((first, (0, 30)), (second, (0,))):
        made = []
        for top in tops:
            mask = np.zeros((48, 64), bool)
            mask[top : top + 10, 10:20] = True
            made.append(NewProposal(1, mask, 0.9 - top / 100))
        session.project.proposals.write(image_id, "cluster", "c0", made)
    return [p.id for p in session.proposals.open()]


def test_a_mask_is_accepted_only_where_the_other_has_not_labelled(
    session: Session, other: Session, masks: list[int]
) -> None:
    other.labels.paint(rows(other, 0, 0))
    assert session.proposals.accept(masks[0]) == 60
    human = session.project.human_labels(session.image_id)
    assert (human[:4] == 0).all()
    assert (human[4:10, 10:20] == 1).all()


def test_a_mask_is_refused_where_the_other_has_just_reviewed(
    session: Session, other: Session, masks: list[int]
) -> None:
    other.labels.review()
    with pytest.raises(ValueError, match="is reviewed: reopen it first"):
        session.proposals.accept(masks[0])
    assert session.project.image(session.image_id).state == "reviewed"
    assert session.project.proposals.get(masks[0]).state == "open"


def test_accepting_many_masks_heeds_what_people_do_meanwhile(
    session: Session, other: Session, masks: list[int]
) -> None:
    def accept_and_go_on(number: int) -> int:
        pixels = session.proposals.accept(number)
        other.poll()
        if number == masks[0]:
            other.go_to(other.records[1].id)
            other.labels.review()
        return pixels

    on_the_second = [n for n in masks if session.project.proposals.get(n).image_id != 1]
    assert len(_each(session, accept_and_go_on, masks)) == len(masks) - len(on_the_second)
    assert session.project.image(2).state == "reviewed"


def test_what_ended_before_a_session_is_not_told_again(session: Session) -> None:
    queue = JobQueue(session.project)
    job_id = queue.submit("export", {})
    queue.claim("me:1:1")
    queue.finish(job_id, "me:1:1", {"images": 4, "folder": "out"})
    again = Session(Project.open(session.project.folder), start_worker=False)
    told: list[object] = []
    again.message.connect(lambda *words: told.append(words))
    again.poll()
    again.close()
    assert told == []


def test_a_poll_outlives_pictures_that_turn_out_unreadable(
    session: Session, stranger: Path
) -> None:
    first, second = [r.id for r in session.records][:2]
    shutil.rmtree(session.project.folder / "cache")
    session.models.switch(session.project.add_model(stranger, "other", "base", None, {}).id)
    session.go_to(second)
    session.labels.paint(rows(session, 0, 1))  # its shots wait for an embedding
    session.go_to(first)
    queue = JobQueue(session.project)
    job = queue.claim("me:1:1")  # the embedding that the switch asked for
    assert job is not None
    for image_id in (first, second):
        session.project.set_image_error(image_id, "cut")
    queue.finish(job.id, "me:1:1", {"embedded": 2, "errors": 2})
    for _ in range(3):
        session.poll()
        queue.submit("judge", {})
    assert session.image_id not in (first, second)


def test_a_project_without_pictures_is_followed(tmp_path: Path, stranger: Path) -> None:
    (tmp_path / "none").mkdir()
    project = Project.create(tmp_path / "none.owlabel", tmp_path / "none", stranger)
    empty = Session(project, start_worker=False)
    other = Session(Project.open(project.folder), start_worker=False)
    other.labels.add_class("deer")
    empty.poll()
    assert empty.classes.find("deer") is not None
