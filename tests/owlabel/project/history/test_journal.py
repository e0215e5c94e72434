"""Undo and redo of anything, across restarts and processes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owlabel.project.store import Event, Project


def _paint(project: Project, value: int, image_id: int = 1) -> None:
    labels = project.human_labels(image_id)
    labels[2:9, value : value + 5] = value
    with project.action("paint", {"image_id": image_id}, f"paint {value}") as action:
        action.set_labels(image_id, labels)
        action.set_state(image_id, "edited")


def _state(project: Project) -> tuple[Any, ...]:
    """Everything that an annotator could see."""
    images = []
    for record in project.images():
        reviewed = project.reviewed(record.id)
        images.append(
            (
                record.state,
                project.human_labels(record.id).tobytes(),
                None if reviewed is None else (reviewed[0].tobytes(), reviewed[1].tobytes()),
            )
        )
    return tuple(images), project.classes(), project.setting("a"), project.setting("active_model")


def effective(project: Project) -> list[Event]:
    """Return the actions that are not undone, oldest first, from the log alone."""
    done: list[Event] = []
    undone: list[Event] = []
    for event in project.events():
        if event.kind == "undo":
            undone.append(done.pop())
        elif event.kind == "redo":
            done.append(undone.pop())
        else:
            done.append(event)
            undone.clear()
    return done


def test_undo_and_redo_name_what_they_flip(project: Project) -> None:
    _paint(project, 1)
    _paint(project, 2)
    assert (project.can_undo, project.can_redo) == ("paint 2", None)
    event = project.undo()
    assert event is not None
    assert (event.kind, event.target, event.payload) == ("undo", 2, {"image_id": 1})
    assert (project.can_undo, project.can_redo) == ("paint 1", "paint 2")


def test_with_nothing_to_flip_the_log_stays_as_it_is(project: Project) -> None:
    assert project.undo() is None
    assert project.redo() is None
    assert project.events() == []


def test_a_new_action_ends_what_could_be_done_again(project: Project) -> None:
    _paint(project, 1)
    project.undo()
    _paint(project, 2)
    assert project.can_redo is None
    assert project.redo() is None
    assert [e.label for e in effective(project)] == ["paint 2"]


def test_an_action_without_changes_can_be_undone_too(project: Project) -> None:
    with project.action("click", {"row": 3}, "click"):
        pass
    project.undo()
    assert effective(project) == []
    project.redo()
    assert [e.payload for e in effective(project)] == [{"row": 3}]


def test_the_log_keeps_everything_in_order(project: Project) -> None:
    _paint(project, 1)
    project.undo()
    project.redo()
    log = project.events()
    assert [(e.seq, e.kind, e.target) for e in log] == [
        (1, "paint", None),
        (2, "undo", 1),
        (3, "redo", 1),
    ]
    assert [c.field for c in log[0].changes] == ["revision_id", "state"]
    assert [e.seq for e in project.events(since=1)] == [2, 3]


def test_another_process_undoes_what_this_one_did(project: Project) -> None:
    _paint(project, 1)
    before = _state(project)
    _paint(project, 2)
    with Project.open(project.folder) as other:
        other.undo()
        assert _state(other) == before
    assert _state(project) == before
    assert project.can_redo == "paint 2"


@pytest.mark.parametrize("payload", [{"a": Path("x")}, {"a": float("nan")}, {"a": b"x"}])
def test_payloads_that_are_no_json_are_refused(project: Project, payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="JSON"), project.action("paint", payload):
        pass


@pytest.mark.parametrize("kind", ["undo", "redo", ""])
def test_reserved_kinds_are_refused(project: Project, kind: str) -> None:
    with pytest.raises(ValueError, match="kind"), project.action(kind):
        pass


image_ids = st.sampled_from([1, 2])
acts = st.one_of(
    st.tuples(st.just("paint"), image_ids, st.integers(0, 252), st.integers(0, 15)),
    st.tuples(st.just("review"), image_ids, st.booleans()),
    st.tuples(st.just("class"), st.sampled_from(["deer", "fox", "cart", "sofa"])),
    st.tuples(st.just("rename"), st.integers(0, 5), st.sampled_from(["owl", "elk"])),
    st.tuples(st.just("hide"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("setting"), st.sampled_from(["a", "active_model"]), st.integers(0, 3)),
    st.tuples(st.just("click")),
)


def _perform(project: Project, act: tuple[Any, ...]) -> None:
    kind, *details = act
    try:
        with project.action(kind, {"details": details}, kind) as action:
            if kind == "paint":
                image_id, value, corner = details
                labels = project.human_labels(image_id)
                labels[corner : corner + 5, corner:] = value
                action.set_labels(image_id, labels)
                action.set_state(image_id, "edited")
            elif kind == "review":
                labels = project.human_labels(details[0]) if details[1] else None
                action.set_review(details[0], labels, labels)
                action.set_state(details[0], "reviewed" if details[1] else "edited")
            elif kind == "class":
                action.add_class(details[0])
            elif kind == "rename":
                action.update_class(details[0], name=details[1], color=(1, 2, 3))
            elif kind == "hide":
                action.update_class(details[0], active=details[1])
            elif kind == "setting":
                action.set_setting(*details)
    except ValueError:  # a name that is taken, a class that is not there: no action then
        pass


@given(st.lists(acts, max_size=14))
@settings(max_examples=20, deadline=None)
def test_undo_all_and_redo_all_pass_through_the_same_states(
    template: Path, sequence: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(template, Path(parent) / "a.owlabel"))
        with Project.open(folder) as project:
            states = [_state(project)]
            for act in sequence:
                done = len(project.events())
                _perform(project, act)
                if len(project.events()) > done:
                    states.append(_state(project))
        with Project.open(folder) as project:  # a restart lies between doing and undoing
            for state in states[-2::-1]:
                assert project.undo() is not None
                assert _state(project) == state
            assert project.undo() is None
        with Project.open(folder) as project:
            for state in states[1:]:
                assert project.redo() is not None
                assert _state(project) == state
            assert project.redo() is None


@given(st.lists(st.sampled_from(["do", "undo", "redo"]), max_size=25))
@settings(max_examples=25, deadline=None)
def test_any_walk_agrees_with_two_plain_lists(template: Path, walk: list[str]) -> None:
    done: list[int] = []
    undone: list[int] = []
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(template, Path(parent) / "a.owlabel"))
        with Project.open(folder) as project:
            for number, step in enumerate(walk):
                if step == "do":
                    with project.action("set", {}, str(number)) as action:
                        action.set_setting("a", number)
                    done.append(number)
                    undone.clear()
                elif step == "undo":
                    assert (project.undo() is None) == (not done)
                    undone += [done.pop()] if done else []
                else:
                    assert (project.redo() is None) == (not undone)
                    done += [undone.pop()] if undone else []
                assert project.setting("a") == (done[-1] if done else None)
                assert [e.label for e in effective(project)] == [str(n) for n in done]


def test_the_first_undo_shows_an_empty_layer_again(project: Project) -> None:
    _paint(project, 4)
    project.undo()
    assert (project.human_labels(1) == 253).all()
    assert np.all(project.image(1).revision_id is None)
