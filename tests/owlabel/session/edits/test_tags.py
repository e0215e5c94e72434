"""Tagging images in a session: one act however many, taken back whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from owlabel.formats.tags.files import Reading
from owlabel.session.session import Session


@pytest.fixture
def deer(session: Session) -> int:
    return session.labels.add_class("deer").id


def test_a_class_can_be_named_before_it_has_a_pixel(session: Session) -> None:
    told: list[str] = []
    session.classes_changed.connect(lambda: told.append("classes"))
    added = session.labels.add_class(" deer ")
    assert session.classes.find("Deer") == added
    assert added.novel
    assert told == ["classes"]
    session.undo()
    assert session.classes.find("deer") is None
    with pytest.raises(ValueError, match="road"):
        session.labels.add_class("Road")


def test_many_images_are_tagged_in_one_act(session: Session, deer: int) -> None:
    told: list[object] = []
    session.tags.changed.connect(told.append)
    assert session.tags.tag([1, 2, 3], deer, "present") == 3
    assert session.can_undo == "deer in 3 images"
    assert session.tags.tag([3, 4], deer, "absent") == 2
    assert session.can_undo == "no deer in 2 images"
    assert session.project.tags.by_class(deer) == {
        1: "present", 2: "present", 3: "absent", 4: "absent"
    }  # fmt: skip
    session.undo()
    assert session.project.tags.by_class(deer) == dict.fromkeys([1, 2, 3], "present")
    assert told == [
        {deer: dict.fromkeys([1, 2, 3], "present")},
        {deer: {3: "absent", 4: "absent"}},
        {deer: {3: "present", 4: "unknown"}},
    ]
    session.redo()
    assert told[-1] == told[1]


def test_saying_the_same_again_is_no_act(session: Session, deer: int) -> None:
    session.tags.tag([1], deer, "present")
    before = len(session.project.events())
    assert session.tags.tag([1], deer, "present") == 0
    assert session.tags.tag([2], deer, "unknown") == 0
    assert session.tags.tag([], deer, "present") == 0
    assert len(session.project.events()) == before


def test_none_of_these_leaves_what_was_said(session: Session, deer: int) -> None:
    boar = session.labels.add_class("boar").id
    session.tags.tag([1], deer, "present")
    assert session.tags.tag_none([1, 2]) == 3
    assert session.project.tags.of(1) == {deer: "present", boar: "absent"}
    assert session.project.tags.of(2) == {deer: "absent", boar: "absent"}
    assert session.tags.tag_none([1, 2]) == 0
    session.undo()
    assert session.project.tags.all() == {1: {deer: "present"}}


def test_a_table_with_new_classes_is_one_act(session: Session, deer: int) -> None:
    told: list[object] = []
    session.tags.changed.connect(told.append)
    count = session.tags.tag_all({deer: {1: "present"}}, {"boar": {2: "absent", 1: "present"}})
    boar = session.classes.find("boar")
    assert boar is not None
    assert count == 3
    assert told == [{deer: {1: "present"}, boar.id: {2: "absent", 1: "present"}}]
    assert session.project.tags.of(1) == {deer: "present", boar.id: "present"}
    session.undo()
    assert session.classes.find("boar") is None
    assert session.project.tags.all() == {}


def test_a_bad_table_changes_nothing(session: Session, deer: int) -> None:
    before = len(session.project.events())
    with pytest.raises(ValueError, match="no image has the id 99"):
        session.tags.tag_all({deer: {1: "present", 99: "present"}}, {"boar": {2: "present"}})
    with pytest.raises(ValueError, match="got 'maybe'"):
        session.tags.tag([1], deer, "maybe")
    with pytest.raises(ValueError, match="no class has the id 77"):
        session.tags.tag([1], 77, "present")
    assert session.classes.find("boar") is None
    assert session.project.tags.all() == {}
    assert len(session.project.events()) == before


# -- files -------------------------------------------------------------------------------------


def test_an_import_is_one_act(session: Session, deer: int, tmp_path: Path) -> None:
    session.tags.tag([1], deer, "absent")
    path = tmp_path / "tags.csv"
    path.write_text("deer_1,deer\nempty_1.png,deer,absent\nempty_2.png,elk\n")
    done = session.tags.import_file(path, Reading(create_classes=True))
    assert (done.tags, done.images, done.overruled, done.classes) == (3, 3, 1, ("elk",))
    assert str(done).startswith("3 new tags in 3 images, 1 of them replace an earlier tag")
    assert session.can_undo == "tags of tags.csv"
    session.undo()
    assert session.project.tags.all() == {1: {deer: "absent"}}
    assert session.classes.find("elk") is None


def test_an_import_without_news_is_no_act(session: Session, deer: int, tmp_path: Path) -> None:
    session.tags.tag([1], deer, "present")
    before = len(session.project.events())
    path = tmp_path / "tags.csv"
    path.write_text("deer_1,deer\n")
    assert session.tags.import_file(path).tags == 0
    assert len(session.project.events()) == before


def test_a_wrong_file_changes_nothing(session: Session, deer: int, tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("deer_1.png,deer\nnowhere.png,deer\n")
    before = len(session.project.events())
    with pytest.raises(ValueError, match=r"line 2: no image is named 'nowhere.png'"):
        session.tags.import_file(path)
    assert session.project.tags.all() == {}
    assert len(session.project.events()) == before


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_exported_tags_come_back(session: Session, deer: int, tmp_path: Path, suffix: str) -> None:
    session.tags.tag([1, 2], deer, "present")
    session.tags.tag([3], deer, "absent")
    path = tmp_path / f"tags{suffix}"
    assert session.tags.export_file(path) == 3
    before = session.project.tags.all()
    session.tags.tag([1, 2, 3, 4], deer, "unknown")
    session.tags.import_file(path)
    assert session.project.tags.all() == before
