"""A project keeps images, labels, classes, settings and models."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event

from owlabel.classes import UNSET
from owlabel.ood.candidates import Candidate
from owlabel.project.store import Project, ProjectError
from owlabel.project.tables import catalog


def test_images_come_in_natural_order_with_their_shapes(project: Project) -> None:
    records = project.images()
    assert [r.relative for r in records] == ["image1.png", "image2.png", "image3.png"]
    assert [r.shape for r in records] == [(24, 36), (20, 20), (24, 36)]
    assert {r.state for r in records} == {"new"}


def test_human_labels_are_unset_before_anybody_spoke(project: Project) -> None:
    labels = project.human_labels(2)
    assert labels.shape == (20, 20)
    assert (labels == UNSET).all()


def test_labels_read_back_as_written_also_after_opening_again(project: Project) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (24, 36), dtype=np.uint8)
    with project.action("paint", {"image_id": 1}, "paint") as action:
        revision_id = action.set_labels(1, labels)
    with Project.open(project.folder) as again:
        np.testing.assert_array_equal(again.human_labels(1), labels)
        np.testing.assert_array_equal(again.revision(revision_id), labels)
        assert again.image(1).revision_id == revision_id


def test_what_is_handed_out_is_a_copy(project: Project) -> None:
    with project.action("paint") as action:
        action.set_labels(1, np.zeros((24, 36), np.uint8))
    project.human_labels(1)[:] = 7
    assert (project.human_labels(1) == 0).all()


@pytest.mark.parametrize("labels", [np.zeros((24, 35), np.uint8), np.zeros((24, 36), np.int64)])
def test_labels_of_another_shape_or_type_are_refused(project: Project, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"image1|uint8"), project.action("paint") as action:
        action.set_labels(1, labels)
    assert project.events() == []


def _fail_half_way(project: Project) -> None:
    with project.action("paint") as action:
        action.set_labels(1, np.zeros((24, 36), np.uint8))
        action.add_class("deer")
        raise ValueError("half way")


def test_an_action_that_fails_leaves_nothing(project: Project) -> None:
    with pytest.raises(ValueError, match="half way"):
        _fail_half_way(project)
    assert (project.human_labels(1) == UNSET).all()
    assert project.events() == []
    assert len(project.classes()) == 0


def test_a_review_is_frozen_and_can_be_taken_back(project: Project) -> None:
    labels, source = np.full((20, 20), 3, np.uint8), np.full((20, 20), 1, np.uint8)
    with project.action("review") as action:
        action.set_review(2, labels, source)
        action.set_state(2, "reviewed")
    reviewed = project.reviewed(2)
    assert reviewed is not None
    np.testing.assert_array_equal(reviewed[0], labels)
    np.testing.assert_array_equal(reviewed[1], source)
    with project.action("reopen") as action:
        action.set_review(2, None, None)
    assert project.reviewed(2) is None


def test_a_class_name_is_taken_once_and_an_id_is_never_used_again(project: Project) -> None:
    with project.action("name") as action:
        assert action.add_class("deer").id == 0
    with pytest.raises(ValueError, match="already"), project.action("name") as action:
        action.add_class(" DEER ")
    project.undo()
    assert len(project.classes()) == 0
    with project.action("name") as action:
        assert action.add_class("fox").id == 1


def test_settings_hold_json_and_refuse_anything_else(project: Project) -> None:
    with project.action("set") as action:
        action.set_setting("lambda_novel", 1.25)
    assert project.setting("lambda_novel") == 1.25
    assert project.setting("missing", "default") == "default"
    with pytest.raises(ValueError, match="JSON"), project.action("set") as action:
        action.set_setting("path", Path("x"))


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-310, 2**63 + 1, "5", "05", [1, "é\u2028"], True])
def test_a_setting_comes_back_exactly(project: Project, value: object) -> None:
    with project.action("set") as action:
        action.set_setting("a", value)
    with Project.open(project.folder) as again:
        assert again.setting("a") == value
        assert type(again.setting("a")) is type(value)


def test_the_checkpoint_is_copied_in_and_gives_the_base_classes(
    tmp_path: Path, images_folder: Path, checkpoint: Path
) -> None:
    with Project.create(tmp_path / "a.owlabel", images_folder, checkpoint) as project:
        model = project.active_model()
        assert [c.name for c in project.classes().base] == ["road", "sky"]
        assert model.path.parent == project.folder / "models"
        assert model.path.read_bytes() == checkpoint.read_bytes()
        second = project.add_model(checkpoint, "again", "plm", model.id, {"iou": 0.5})
        assert [m.id for m in project.models()] == [model.id, second.id]
        assert second.metrics == {"iou": 0.5}


def test_without_a_model_there_is_no_active_one(project: Project) -> None:
    with pytest.raises(ProjectError, match="no model"):
        project.active_model()


def test_new_renamed_changed_and_lost_images_are_followed(
    tmp_path: Path, images_folder: Path
) -> None:
    images = Path(shutil.copytree(images_folder, tmp_path / "images"))
    with Project.create(tmp_path / "a.owlabel", images) as project:
        with project.action("paint") as action:
            action.set_labels(1, np.zeros((24, 36), np.uint8))
            action.set_state(1, "edited")
        (images / "image1.png").rename(images / "renamed.png")
        (images / "image2.png").unlink()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(images / "new.png")
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(images / "image3.png")
        counts = project.sync_images()
        assert counts == {"new": 1, "gone": 1, "changed": 1, "renamed": 1}
        assert {r.relative for r in project.images()} == {"renamed.png", "new.png", "image3.png"}
        assert (project.human_labels(1) == 0).all()
        assert project.sync_images() == {"new": 0, "gone": 0, "changed": 0, "renamed": 0}


def test_a_folder_without_changes_is_not_written_about(
    tmp_path: Path, images_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Path(shutil.copytree(images_folder, tmp_path / "images"))
    with Project.create(tmp_path / "a.owlabel", images) as project:
        with monkeypatch.context() as patch:
            patch.delattr(catalog, "take")
            assert not any(project.sync_images().values())
        (images / "image2.png").rename(images / "image9.png")  # the last of them now
        assert project.sync_images()["renamed"] == 1
        assert [r.relative for r in project.images()] == ["image1.png", "image3.png", "image9.png"]
        (images / "image9.png").write_text("no picture")
        assert project.sync_images()["changed"] == 1
        (images / "image9.png").unlink()
        assert project.sync_images()["gone"] == 1


def test_another_picture_under_a_labelled_one_is_told(tmp_path: Path, images_folder: Path) -> None:
    images = Path(shutil.copytree(images_folder, tmp_path / "images"))
    with Project.create(tmp_path / "a.owlabel", images) as project:
        with project.action("paint") as action:
            action.set_labels(1, np.zeros((24, 36), np.uint8))
        for name in ("image1.png", "image3.png"):
            Image.fromarray(np.full((24, 36, 3), 99, np.uint8)).save(images / name)
        assert project.sync_images()["changed"] == 2
        assert project.replaced == ("image1.png",)  # nobody has worked on the other
        project.sync_images()
        assert project.replaced == ()


def test_labels_follow_content_when_names_are_swapped(tmp_path: Path, images_folder: Path) -> None:
    images = Path(shutil.copytree(images_folder, tmp_path / "images"))
    with Project.create(tmp_path / "a.owlabel", images) as project:
        for image_id in (1, 3):
            with project.action("paint") as action:
                action.set_labels(image_id, np.full((24, 36), image_id, np.uint8))
        (images / "image1.png").rename(images / "swap")
        (images / "image3.png").rename(images / "image1.png")
        (images / "swap").rename(images / "image3.png")
        assert project.sync_images()["renamed"] == 2
        names = {r.relative: r.id for r in project.images()}
        assert (names["image1.png"], names["image3.png"]) == (3, 1)
        assert (project.human_labels(names["image1.png"]) == 3).all()


def test_a_new_picture_under_the_name_of_a_moved_one_starts_empty(
    tmp_path: Path, images_folder: Path
) -> None:
    images = Path(shutil.copytree(images_folder, tmp_path / "images"))
    with Project.create(tmp_path / "a.owlabel", images) as project:
        (images / "image2.png").unlink()
        (images / "image1.png").rename(images / "image2.png")
        Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(images / "image1.png")
        counts = project.sync_images()
        assert counts == {"new": 1, "gone": 1, "changed": 0, "renamed": 1}
        assert [(r.relative, r.id) for r in project.images()] == [
            ("image1.png", 4),
            ("image2.png", 1),
            ("image3.png", 3),
        ]


def test_a_labelled_image_that_is_gone_is_listed_with_its_reason(
    tmp_path: Path, images_folder: Path
) -> None:
    images = Path(shutil.copytree(images_folder, tmp_path / "images"))
    with Project.create(tmp_path / "a.owlabel", images) as project:
        with project.action("paint") as action:
            action.set_state(1, "edited")
        (images / "image1.png").unlink()
        project.sync_images()
        assert "is missing" in str(project.image(1).error)


def test_a_broken_image_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "text.png").write_text("no picture")
    with Project.create(tmp_path / "a.owlabel", tmp_path / "images") as project:
        (record,) = project.images()
        assert record.shape is None
        assert record.error


def test_a_folder_moved_with_its_images_still_finds_them(
    tmp_path: Path, images_folder: Path
) -> None:
    shutil.copytree(images_folder, tmp_path / "here" / "images")
    Project.create(tmp_path / "here" / "a.owlabel", tmp_path / "here" / "images").close()
    (tmp_path / "here").rename(tmp_path / "there")
    with Project.open(tmp_path / "there" / "a.owlabel") as project:
        assert all(r.path.is_file() for r in project.images())


def test_a_project_is_not_made_twice(project: Project, images_folder: Path) -> None:
    with pytest.raises(ProjectError, match="already"):
        Project.create(project.folder, images_folder)


def test_a_folder_without_database_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not a project"):
        Project.open(tmp_path)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "project.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(ProjectError, match=r"project\.db"):
        Project.open(tmp_path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b.png"])
def test_paths_that_leave_the_images_folder_are_refused(project: Project, path: str) -> None:
    with sqlite3.connect(project.folder / "project.db") as connection:
        connection.execute("UPDATE image SET relative = ? WHERE id = 1", (path,))
    connection.close()
    with pytest.raises(ProjectError, match="leaves"):
        project.images()


def _candidate(rank: float) -> Candidate:
    return Candidate(0.75, 40, (1, 2, 9, 8), (4, 5), 1, rank)


def test_candidates_come_back_unclaimed_first_then_by_rank(project: Project) -> None:
    project.candidates.replace(1, "head", [_candidate(0.9), _candidate(0.2)])
    project.candidates.replace(2, "head", [_candidate(0.5)])
    rows = project.candidates.ranked("head")
    assert [r.candidate for r in rows] == [_candidate(0.9), _candidate(0.5), _candidate(0.2)]
    project.candidates.claim({rows[0].id: 7})
    assert [r.claimed_by for r in project.candidates.ranked("head")] == [None, None, 7]
    assert [len(project.candidates.ranked("head", limit=n)) for n in (0, 1, 2, 3, -1)] == [
        0,
        1,
        2,
        3,
        3,
    ]
    assert [r.claimed_by for r in project.candidates.ranked("head", image_id=1)] == [None, 7]
    assert project.image(1).state == "proposed"
    project.candidates.replace(1, "head", [])
    assert [r.image_id for r in project.candidates.ranked("head")] == [2]


def test_the_best_candidates_come_from_an_index_without_sorting(project: Project) -> None:
    said: list[tuple[str, Any]] = []
    engine = project.database.engine
    event.listen(engine, "before_cursor_execute", lambda *a: said.append((a[2], a[3])))
    project.candidates.ranked("head")
    queries = [one for one in said if "FROM candidate" in one[0]]
    for (query, values), index in zip(queries, ("open", "queue"), strict=True):
        with closing(sqlite3.connect(project.folder / "project.db")) as connection:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        assert f"ix_candidate_{index}" in str(plan)
        assert "TEMP B-TREE" not in str(plan)


def test_findings_count_images_not_pixels(project: Project) -> None:
    project.occurrences.store("rule", 1, {7: 100, 8: 0})
    project.occurrences.store("rule", 2, {7: 1})
    assert project.occurrences.image_counts("rule") == {7: 2, 8: 0}
    assert project.occurrences.scanned("rule") == {1, 2}
    assert project.occurrences.image_counts("other") == {}


def test_a_shot_mean_is_kept_to_the_last_bit(project: Project) -> None:
    with project.action("paint") as action:
        revision_id = action.set_labels(1, np.zeros((24, 36), np.uint8))
    mean = np.random.default_rng(0).normal(size=11)
    project.shot_means.store(revision_id, "head", {7: mean})
    stored = project.shot_means.of_head("head")[revision_id][7]
    assert stored is not None
    assert stored.tobytes() == mean.tobytes()
    assert project.shot_means.of_head("other") == {}


def test_focus_is_remembered_and_is_no_action(make_project: Callable[[], Project]) -> None:
    project = make_project()
    assert project.focus() is None
    project.set_focus(3)
    assert (project.focus(), project.can_undo) == (3, None)


def test_no_module_of_project_and_jobs_loads_torch() -> None:
    code = (
        "import sys, owlabel.project.store, owlabel.project.storage.migrate, owlabel.jobs.queue, "
        "owlabel.jobs.worker, owlabel.jobs.kinds.embed, owlabel.jobs.kinds.find_novel\n"
        "sys.exit('torch' in sys.modules)"
    )
    path = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0
