"""Proposals: masks for review that are no labels until somebody accepts them."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import delete, update

from owlabel.project.storage.schema import ProposalRow
from owlabel.project.store import Project, ProjectError
from owlabel.project.tables.proposals import BoolArray, NewProposal


def box(row0: int, col0: int, row1: int, col1: int) -> BoolArray:
    mask = np.zeros((24, 36), bool)  # the shape of images 1 and 3
    mask[row0:row1, col0:col1] = True
    return mask


@pytest.fixture
def deer(project: Project) -> int:
    with project.action("name") as action:
        deer = action.add_class("deer")
        action.set_tags(deer.id, {1: "present"})
        return deer.id


def test_a_mask_comes_back_as_it_was(project: Project, deer: int) -> None:
    mask = np.random.default_rng(0).random((24, 36)) > 0.5
    project.proposals.write(1, "weak_shot", "job 3", [NewProposal(deer, mask, 0.75)])
    (found,) = project.proposals.open()
    assert (found.class_id, found.source, found.origin) == (deer, "weak_shot", "job 3")
    assert (found.confidence, found.pixels, found.state) == (0.75, mask.sum(), "open")
    np.testing.assert_array_equal(project.proposals.mask(found.id), mask)
    assert project.proposals.get(found.id) == found


def test_the_box_is_the_smallest(project: Project, deer: int) -> None:
    project.proposals.write(1, "weak_shot", "", [NewProposal(deer, box(3, 5, 9, 8), 1)])
    assert project.proposals.open()[0].box == (3, 5, 9, 8)


def test_the_best_comes_first(project: Project, deer: int) -> None:
    items = [NewProposal(deer, box(0, 0, 2, 2), c) for c in (0.2, 0.9, 0.5)]
    project.proposals.write(1, "weak_shot", "", items)
    project.proposals.write(3, "cluster", "", [NewProposal(deer, box(0, 0, 2, 2), 0.7)])
    assert [p.confidence for p in project.proposals.open()] == [0.9, 0.7, 0.5, 0.2]
    assert [p.confidence for p in project.proposals.open("weak_shot")] == [0.9, 0.5, 0.2]
    assert [p.image_id for p in project.proposals.open(image_id=3)] == [3]
    assert [p.confidence for p in project.proposals.open(limit=2)] == [0.9, 0.7]
    assert (project.proposals.count(), project.proposals.count("cluster")) == (4, 1)
    with project.action("review") as action:
        action.set_state(3, "reviewed")
    assert (project.proposals.count(), len(project.proposals.open())) == (3, 4)
    left = project.proposals.open(limit=2, to_review=True)  # what is reviewed takes no place
    assert [p.confidence for p in left] == [0.9, 0.5]


def test_new_ones_replace_the_open_ones_of_their_source_and_image(
    project: Project, deer: int
) -> None:
    items = [NewProposal(deer, box(0, 0, 2, 2), c) for c in (0.9, 0.8, 0.7)]
    project.proposals.write(1, "weak_shot", "first", items)
    project.proposals.write(1, "cluster", "other", items[:1])
    accepted, rejected, _ = project.proposals.open("weak_shot")
    with project.action("settle") as action:
        action.set_proposal(accepted.id, "accepted")
        action.set_proposal(rejected.id, "rejected")
    project.proposals.write(1, "weak_shot", "second", items[:1])
    assert [p.origin for p in project.proposals.open("weak_shot")] == ["second"]
    assert len(project.proposals.open("cluster")) == 1
    assert project.proposals.get(accepted.id).state == "accepted"
    assert [p.id for p in project.proposals.rejected("weak_shot", 1)] == [rejected.id]
    assert project.proposals.rejected("cluster", 1) == []
    project.undo()
    assert len(project.proposals.open("weak_shot")) == 3


def test_only_a_tagged_class_may_appear(project: Project, deer: int) -> None:
    project.proposals.write(1, "weak_shot", "", [NewProposal(deer, box(0, 0, 2, 2), 0.9)])
    with pytest.raises(ValueError, match=r"image3.png: the class 0 is not tagged present"):
        project.proposals.write(3, "weak_shot", "", [NewProposal(deer, box(0, 0, 2, 2), 1)])
    project.proposals.write(3, "cluster", "", [NewProposal(deer, box(0, 0, 2, 2), 1)])
    with project.action("tag") as action:
        action.set_tags(deer, {1: "absent"})
    assert [p.source for p in project.proposals.open()] == ["cluster"]
    project.undo()
    assert len(project.proposals.open()) == 2


@pytest.mark.parametrize(
    ("mask", "confidence", "said"),
    [
        (np.zeros((24, 36), bool), 0.5, "empty mask"),
        (np.ones((24, 35), bool), 0.5, "must be bool of that shape"),
        (np.ones((24, 36), np.uint8), 0.5, "must be bool of that shape"),
        (box(0, 0, 2, 2), 1.5, "confidence must lie"),
        (box(0, 0, 2, 2), float("nan"), "confidence must lie"),
    ],
)
def test_what_is_no_mask_is_refused_and_nothing_is_lost(
    project: Project, deer: int, mask: BoolArray, confidence: float, said: str
) -> None:
    good = NewProposal(deer, box(0, 0, 2, 2), 0.9)
    project.proposals.write(1, "weak_shot", "first", [good])
    with pytest.raises(ValueError, match=said):
        project.proposals.write(1, "weak_shot", "", [good, NewProposal(deer, mask, confidence)])
    assert [p.origin for p in project.proposals.open()] == ["first"]


def test_an_unknown_source_class_or_number_is_refused(project: Project, deer: int) -> None:
    item = NewProposal(deer, box(0, 0, 2, 2), 0.9)
    with pytest.raises(ValueError, match="a source must be one of"):
        project.proposals.write(1, "guess", "", [item])
    with pytest.raises(ValueError, match="is not in the project"):
        project.proposals.write(1, "cluster", "", [NewProposal(9, box(0, 0, 2, 2), 0.9)])
    with pytest.raises(ValueError, match="no proposal has the id 5"):
        project.proposals.mask(5)


def test_a_replaced_proposal_does_not_stop_redo(project: Project, deer: int) -> None:
    item = NewProposal(deer, box(0, 0, 2, 2), 0.9)
    project.proposals.write(1, "weak_shot", "first", [item])
    with project.action("settle") as action:
        action.set_proposal(project.proposals.open()[0].id, "accepted")
    project.undo()
    project.proposals.write(1, "weak_shot", "second", [item])
    assert project.redo() is not None
    assert [p.origin for p in project.proposals.open()] == ["second"]


def test_ids_are_not_used_twice(project: Project, deer: int) -> None:
    item = NewProposal(deer, box(0, 0, 2, 2), 0.9)
    project.proposals.write(1, "weak_shot", "", [item])
    first = project.proposals.open()[0].id
    with project.database.writing() as session:
        session.execute(delete(ProposalRow))
    project.proposals.write(1, "weak_shot", "", [item])
    assert project.proposals.open()[0].id > first


@pytest.mark.parametrize(
    "values", [{"png": b"no picture"}, {"height": 3}, {"row": 30}, {"row": -1}]
)
def test_a_damaged_mask_is_told(project: Project, deer: int, values: dict[str, object]) -> None:
    item = NewProposal(deer, box(0, 0, 2, 2), 0.9)
    project.proposals.write(1, "weak_shot", "", [item])
    with project.database.writing() as session:
        session.execute(update(ProposalRow).values(**values))
    with pytest.raises((ProjectError, ValueError)):
        project.proposals.mask(project.proposals.open()[0].id)
