"""Which classes people labelled where: every revision is looked at once."""

from __future__ import annotations

import numpy as np
import pytest

from owlabel.classes import UNSET, VOID
from owlabel.project.store import Project
from owlabel.project.tables import label_index
from owlabel.project.tables.label_index import LabelIndex


def paint(project: Project, image_id: int, *class_ids: int) -> None:
    labels = np.full(project.human_labels(image_id).shape, UNSET, np.uint8)
    for row, class_id in enumerate(class_ids):
        labels[row] = class_id
    with project.action("paint") as action:
        action.set_labels(image_id, labels)


def test_it_tells_what_people_said_now(project: Project) -> None:
    paint(project, 1, 0, 3, VOID)
    paint(project, 2, 3)
    index = project.label_index
    assert index.classes() == {}, "nobody has looked yet"
    assert index.scan() == 0
    assert index.classes() == {1: {0, 3}, 2: {3}}
    paint(project, 2, VOID)
    index.scan()
    assert index.classes() == {1: {0, 3}}
    project.undo()
    assert index.scan() == 0
    assert index.classes() == {1: {0, 3}, 2: {3}}


def test_reviewed_labels_count(project: Project) -> None:
    shape = project.human_labels(1).shape
    with project.action("review") as action:
        action.set_review(1, np.full(shape, 2, np.uint8), np.full(shape, 2, np.uint8))
    project.label_index.scan()
    assert project.label_index.classes() == {1: {2}}


def test_it_looks_for_a_while_only_and_never_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for image_id in (1, 2, 3):
        paint(project, image_id, image_id)
    index = project.label_index
    assert [index.scan(0) for _ in range(4)] == [2, 1, 0, 0]
    monkeypatch.setattr(index, "_scan_revision", lambda _revision: pytest.fail("looked again"))
    index.scan()


def test_what_was_found_is_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_index, "STORE_EVERY", 2)
    paint(project, 1, 1)
    paint(project, 2, 2)
    project.label_index.scan()
    again = LabelIndex(project.database)
    assert again.classes() == {1: {1}, 2: {2}}
