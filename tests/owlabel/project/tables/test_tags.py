"""Tags: present, absent, unknown; one act however many images; undone and done again."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from owlabel.project.storage.schema import ImageRow
from owlabel.project.store import Project
from owlabel.project.tables.tags import TAG_STATES


@pytest.fixture
def deer(project: Project) -> int:
    with project.action("name") as action:
        return action.add_class("deer").id


def tag(project: Project, class_id: int, states: dict[int, str]) -> int:
    with project.action("tag") as action:
        return action.set_tags(class_id, states)


def test_nothing_is_known_of_an_image_at_first(project: Project, deer: int) -> None:
    assert project.tags.of(1) == {}
    assert project.tags.by_class(deer) == {}
    assert project.tags.all() == {}


def test_absence_is_kept_apart_from_unknown(project: Project, deer: int) -> None:
    assert tag(project, deer, {1: "present", 2: "absent", 3: "unknown"}) == 2
    assert project.tags.by_class(deer) == {1: "present", 2: "absent"}
    assert project.tags.of(2) == {deer: "absent"}
    assert project.tags.all() == {1: {deer: "present"}, 2: {deer: "absent"}}
    assert project.tags.counts() == {deer: {"present": 1, "absent": 1}}


def test_one_act_on_many_images_is_taken_back_at_once(project: Project, deer: int) -> None:
    tag(project, deer, {1: "present"})
    tag(project, deer, {1: "absent", 2: "absent", 3: "absent"})
    project.undo()
    assert project.tags.by_class(deer) == {1: "present"}
    project.redo()
    assert project.tags.by_class(deer) == {1: "absent", 2: "absent", 3: "absent"}


def test_what_was_so_before_is_no_change(project: Project, deer: int) -> None:
    tag(project, deer, {1: "present"})
    assert tag(project, deer, {1: "present", 2: "unknown"}) == 0
    assert project.events()[-1].changes == ()


@pytest.mark.parametrize(
    ("class_id", "states", "said"),
    [
        (7, {1: "present"}, "no class has the id 7"),
        (0, {9: "present"}, "no image has the id 9"),
        (0, {1: "perhaps"}, "a tag must be one of present, absent, unknown, got 'perhaps'"),
    ],
)
def test_what_is_not_there_cannot_be_tagged(
    project: Project, deer: int, class_id: int, states: dict[int, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        tag(project, class_id, {2: "present", **states})
    assert project.tags.all() == {}


def test_tags_of_a_class_that_was_taken_back_do_not_show(project: Project, deer: int) -> None:
    tag(project, deer, {1: "present"})
    with project.action("hide") as action:
        action.update_class(deer, active=False)
    assert project.tags.all() == {}
    project.undo()
    assert project.tags.of(1) == {deer: "present"}


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=st.lists(st.dictionaries(st.integers(1, 3), st.sampled_from(TAG_STATES)), max_size=5))
def test_undoing_everything_leads_back_through_every_state(
    project: Project, acts: list[dict[int, str]]
) -> None:
    class_id = next((c.id for c in project.classes().classes), None)
    if class_id is None:
        with project.action("name") as action:
            class_id = action.add_class("deer").id
    seen = [project.tags.all()]
    for act in acts:
        tag(project, class_id, act)
        seen.append(project.tags.all())
    for earlier in seen[-2::-1]:
        project.undo()
        assert project.tags.all() == earlier
    for later in seen[1:]:
        project.redo()
        assert project.tags.all() == later


def test_a_hundred_thousand_tags_take_seconds(project: Project, deer: int) -> None:
    rows = [
        {"relative": f"{i}.png", "position": i, "gone": False, "content_hash": "", "file_size": 0,
         "file_time": 0, "proposed": False, "state": "new"}
        for i in range(100_000)
    ]  # fmt: skip
    with project.database.writing() as session:
        session.execute(insert(ImageRow), rows)
    begin = time.process_time()
    tag(project, deer, dict.fromkeys(range(4, 100_004), "present"))
    project.undo()
    project.redo()
    assert time.process_time() - begin < 20
    assert len(project.tags.by_class(deer)) == 100_000
