"""Two sittings on one project: nobody's labels are lost, and each sees what the other did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from owlabel.classes import UNSET
from owlabel.project.store import Project
from owlabel.session import Session

CENTRE = (24, 34)


@pytest.fixture
def other(session: Session) -> Iterator[Session]:
    """A second sitting, as of another window or command, that has read everything before."""
    made = Session(Project.open(session.project.folder), start_worker=False)
    made.human()
    session.human()
    yield made
    made.close()


def rows(session: Session, start: int, class_id: int) -> np.ndarray:
    painted = session.human().copy()
    painted[start : start + 4] = class_id
    return painted


def test_both_strokes_on_one_image_stay(session: Session, other: Session) -> None:
    session.paint(rows(session, 0, 1))
    other.paint(rows(other, 10, 0))  # it has not heard of the first
    human = Project.human_labels(session.project, session.image_id)
    assert (human[:4] == 1).all()
    assert (human[10:14] == 0).all()
    assert (human[14:] == UNSET).all()
    np.testing.assert_array_equal(other.human(), human)
    other.undo()
    assert (other.human()[:4] == 1).all()
    assert (other.human()[4:] == UNSET).all()


def test_an_edit_reopens_what_the_other_has_just_reviewed(session: Session, other: Session) -> None:
    session.review()
    other.paint(rows(other, 10, 0))
    session.poll()
    assert session.record().state == "edited"
    assert session.project.reviewed(session.image_id) is None
    other.undo()
    session.poll()
    assert session.record().state == "reviewed"


def test_what_was_not_seen_is_not_reviewed(session: Session, other: Session) -> None:
    session.paint(rows(session, 0, 1))
    with pytest.raises(ValueError, match="labelled elsewhere: look at it"):
        other.review()
    assert other.record().state != "reviewed"
    other.poll()
    other.review()
    session.poll()
    assert session.record().state == "reviewed"


def test_where_both_painted_the_later_stroke_counts(session: Session, other: Session) -> None:
    session.paint(rows(session, 0, 1))
    other.paint(rows(other, 2, 0))
    assert (other.human()[:2] == 1).all()
    assert (other.human()[2:6] == 0).all()


def test_a_poll_shows_what_the_other_did(session: Session, other: Session) -> None:
    told: list[object] = []
    other.labels_changed.connect(told.append)
    other.classes_changed.connect(lambda: told.append("classes"))
    other.tags_changed.connect(told.append)
    other.poll()
    assert told == []
    session.click(*CENTRE)
    session.accept("deer")
    deer = session.classes.find("deer").id
    session.tag([1, 2], deer, "present")
    session.review()
    other.poll()
    assert other.classes.find("deer") is not None
    assert other.image_id in told
    assert "classes" in told
    assert {deer: {1: "present", 2: "present"}} in told
    assert other.record().state == "reviewed"
    np.testing.assert_array_equal(other.human(), session.human())
    told.clear()
    other.poll()
    assert told == []


def test_what_the_other_undoes_and_redoes_is_followed(session: Session, other: Session) -> None:
    session.paint(rows(session, 0, 1))
    other.poll()
    session.undo()
    other.poll()
    assert (other.human() == UNSET).all()
    session.redo()
    other.poll()
    assert (other.human()[:4] == 1).all()


def test_own_acts_are_not_taken_twice(session: Session) -> None:
    session.click(*CENTRE)
    session.accept("deer")
    session.undo()
    session.redo()
    told: list[object] = []
    session.labels_changed.connect(told.append)
    session.poll()
    assert told == []


def test_a_model_that_the_other_has_chosen_is_followed(
    session: Session, other: Session, stranger: Path
) -> None:
    told: list[str] = []
    other.model_changed.connect(lambda: told.append("model"))
    before = other.model.id
    other.paint(rows(other, 0, 1))
    session.switch_model(session.project.add_model(stranger, "other", "plm", None, {}).id)
    other.poll()
    assert told == ["model"]
    assert other.model.name == "other"
    assert other.header.heads[0].hash == session.header.heads[0].hash
    assert (other.human()[:4] == 1).all()
    session.undo()
    other.poll()
    assert (other.model.id, told) == (before, ["model", "model"])
