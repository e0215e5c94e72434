from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from owlabel.classes import ClassTable, LabelClass
from owlabel_training.core.data import read_classes, read_names
from owlabel_training.weak_shot.data import (
    WeakFrames,
    lacking,
    read_tags,
    read_truth,
    tagged,
    with_masks,
)
from owlabel_training.weak_shot.recipe import WeakDataRecipe
from owlabel_training.weak_shot.sampler import Pairing

RECIPE = WeakDataRecipe(novel=("box",), tags="tags.json")
NAMES = tuple(f"scene_{seed:02d}" for seed in range(10))


@pytest.fixture
def weak(data: Path) -> Path:
    tags = {name: ["sky", "road", "box"] if i % 2 else ["sky"] for i, name in enumerate(NAMES)}
    (data / "tags.json").write_text(json.dumps({"tags": tags}))
    return data


def frames_of(present: list[set[int]], base: list[list[int]] | None = None) -> WeakFrames:
    """Frames of one row of base labels each; classes 0 and 1 are base, 2 to 4 novel."""
    n = len(present)
    rows = base or [[0, 1]] * n
    table = ClassTable(tuple(LabelClass(i, f"c{i}", (i, 0, 0), novel=i > 1) for i in range(5)))
    return WeakFrames(
        tuple(map(str, range(n))),
        (np.zeros((1, 2, 3), np.uint8),) * n,
        tuple(np.array([row], np.uint8) for row in rows),
        tuple(map(frozenset, present)),
        (frozenset(),) * n,
        table,
    )


def test_novel_pixels_are_void_and_only_tags_tell_of_them(weak: Path) -> None:
    frames = tagged(weak, NAMES, RECIPE)
    assert [c.name for c in frames.classes.classes] == ["sky", "road", "box"]
    assert frames.n_base == 2
    assert frames.novel_ids == (2,)
    assert all(set(np.unique(label)) == {0, 1, 255} for label in frames.labels)
    assert [bool(row) for row in frames.present] == [i % 2 == 1 for i in range(10)]


def test_of_a_frame_without_tags_nothing_is_known(weak: Path) -> None:
    frames = tagged(weak, ("scene_00", "scene_11"), RECIPE)
    assert frames.unknown == (frozenset(), frozenset({2}))


def test_tags_listed_by_class_tell_of_every_frame(weak: Path) -> None:
    (weak / "tags.json").write_text(json.dumps({"weak_tags": {"frames": {"box": ["scene_03"]}}}))
    frames = tagged(weak, NAMES, RECIPE)
    assert [i for i, row in enumerate(frames.present) if row] == [3]
    assert frames.unknown == (frozenset(),) * 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "neither"),
        ('{"tags": {"a": "box"}}', "neither"),
        ('{"tags": {"a": ["bax"]}}', r"names the classes \['bax'\]"),
    ],
)
def test_bad_tags_are_refused_with_the_file(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(ValueError, match=reason) as error:
        read_tags(tmp_path / "t.json", ["box"])
    assert "t.json" in str(error.value)


def test_a_missing_file_and_a_novel_class_that_is_none_are_refused(weak: Path) -> None:
    with pytest.raises(ValueError, match="cannot read the tags"):
        read_tags(weak / "none.json", ["box"])
    with pytest.raises(ValueError, match=r"\['tree'\] are not in"):
        tagged(weak, NAMES, WeakDataRecipe(novel=("tree",), tags="tags.json"))


def test_who_lacks_what_is_said_by_class(weak: Path) -> None:
    frames = tagged(weak, NAMES, RECIPE)
    assert lacking(frames) == [
        "sky: 10 images with masks, at least 20 are advised",
        "road: 10 images with masks, at least 20 are advised",
        "box: 5 tagged images, at least 20 are advised",
    ]
    assert lacking(frames, 5) == []


def test_what_nobody_can_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="no image is tagged with c3, c4"):
        lacking(frames_of([{2}, {2}]))
    with pytest.raises(ValueError, match="no base class has a mask"):
        lacking(frames_of([{2}, {3, 4}], [[255, 255], [255, 255]]))
    with pytest.raises(ValueError, match="name at least one novel class"):
        lacking(with_masks(frames_of([set()]), [np.zeros((1, 2), np.uint8)]))


def test_labels_of_novel_classes_cannot_get_in() -> None:
    with pytest.raises(ValueError, match="base ids below 2"):
        frames_of([{2}], [[0, 2]])


def test_truth_has_the_same_ids(weak: Path) -> None:
    frames = tagged(weak, NAMES, RECIPE)
    truth = read_truth(weak, read_names(weak / "val.txt"), frames.classes)
    assert read_classes(weak).names == truth.classes.names
    assert all(set(np.unique(label)) == {0, 1, 2} for label in truth.labels)


def test_the_reference_shares_exactly_the_chosen_class() -> None:
    pairing = Pairing(frames_of([{2, 3}, {2, 3}, {2, 4}, {3}, set()]))
    found = {pairing.reference(np.random.default_rng(seed), 0) for seed in range(40)}
    assert found == {2, 3}


def test_references_fall_back_to_any_novel_then_any_base_class_then_the_image() -> None:
    def found(frames: WeakFrames) -> set[int]:
        return {Pairing(frames).reference(np.random.default_rng(s), 0) for s in range(40)}

    assert found(frames_of([{2, 3}, {2, 3}, {4}])) == {1}
    assert found(frames_of([{2}, {3}, {4}], [[0, 0], [1, 1], [0, 1]])) == {2}
    assert found(frames_of([set(), {3}], [[0, 0], [1, 1]])) == {0}
