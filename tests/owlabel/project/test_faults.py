"""What was acknowledged survives: killed writers, two writers, a full disk."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

from owlabel.classes import UNSET
from owlabel.project.store import Project, ProjectError

WRITER = Path(__file__).with_name("writer.py")


def _start(folder: Path, image_id: int, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(folder), str(image_id), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _check_every_revision(project: Project) -> list[int]:
    """Compare all stored maps with what their writer said; return the numbers of the actions."""
    numbers = []
    for done in project.events():
        for change in done.changes:
            if change.field == "revision_id":
                stored = hashlib.sha256(project.revision(change.after).tobytes()).hexdigest()
                assert stored == done.payload["sha256"]
        numbers.append(done.payload["number"])
    return numbers


@pytest.mark.slow
def test_no_acknowledged_action_is_lost_when_the_writer_is_killed(project: Project) -> None:
    rng = random.Random(7)
    project.close()
    before = 0
    for _ in range(12):
        process = _start(project.folder, 1, 10_000)
        assert process.stdout is not None
        output = process.stdout.readline()  # it writes
        time.sleep(rng.uniform(0.0, 0.25))
        process.kill()
        output += process.communicate()[0]
        whole = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
        begun = time.monotonic()
        with Project.open(project.folder) as opened:
            assert time.monotonic() - begun < 10.0  # 2 s on a quiet machine
            numbers = _check_every_revision(opened)[before:]
            assert len(whole) <= len(numbers) <= len(whole) + 1
            assert numbers == list(range(len(numbers)))
            before += len(numbers)
    assert before >= 12


def test_two_writers_lose_nothing_and_share_one_history(project: Project) -> None:
    processes = [_start(project.folder, image_id, 25) for image_id in (1, 3)]
    assert [p.communicate()[0].count("\n") for p in processes] == [25, 25]
    for image_id in (1, 3):
        mine = [e.payload["number"] for e in project.events() if e.payload["image_id"] == image_id]
        assert mine == list(range(25))
    _check_every_revision(project)
    while project.undo():
        pass
    assert (project.human_labels(1) == UNSET).all()
    assert (project.human_labels(3) == UNSET).all()
    assert len(project.events()) == 100


def _fill_disk(project: Project) -> None:
    """Let the database grow no further, as on a full disk."""

    def limit(connection: object, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    project.database.engine.dispose()
    event.listen(project.database.engine, "connect", limit)


def _paint_too_much(project: Project) -> None:
    with project.action("big") as action:
        action.set_labels(1, np.zeros((24, 36), np.uint8))
        action.set_setting("big", "x" * 1_000_000)


def test_a_full_disk_is_named_and_leaves_the_old_state(project: Project) -> None:
    old = np.full((24, 36), 3, np.uint8)
    with project.action("paint") as action:
        action.set_labels(1, old)
    _fill_disk(project)
    with pytest.raises(ProjectError, match="disk is full"):
        _paint_too_much(project)
    np.testing.assert_array_equal(project.human_labels(1), old)
    assert project.setting("big") is None
    assert project.can_undo == "paint"


def test_work_goes_on_after_space_was_freed(project: Project) -> None:
    _fill_disk(project)
    with pytest.raises(ProjectError, match="disk is full"):
        _paint_too_much(project)
    with project.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=100000")
    with project.action("paint") as action:
        action.set_labels(1, np.zeros((24, 36), np.uint8))
    assert (project.human_labels(1) == 0).all()


def test_a_commit_that_fails_is_no_action_and_blocks_nobody(project: Project) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    event.listen(project.database.engine, "commit", refuse)
    with pytest.raises(OSError, match="error"), project.action("paint") as action:
        action.set_labels(1, np.zeros((24, 36), np.uint8))
    event.remove(project.database.engine, "commit", refuse)
    assert (project.human_labels(1) == UNSET).all()
    assert project.events() == []


def test_a_folder_that_cannot_be_written_is_named(project: Project) -> None:
    def read_only(connection: object, *_: object) -> None:
        connection.execute("PRAGMA query_only=ON")  # type: ignore[attr-defined]

    project.database.engine.dispose()
    event.listen(project.database.engine, "connect", read_only)
    with pytest.raises(ProjectError, match="cannot be written"), project.action("click"):
        pass
    assert project.events() == []


def test_a_writer_that_waits_too_long_says_so(project: Project) -> None:
    def impatient(connection: object, *_: object) -> None:
        connection.execute("PRAGMA busy_timeout=50")  # type: ignore[attr-defined]

    project.database.engine.dispose()
    event.listen(project.database.engine, "connect", impatient)
    with (
        Project.open(project.folder) as other,
        other.action("long"),
        pytest.raises(ProjectError, match="locked"),
        project.action("short"),
    ):
        pass
    assert [e.kind for e in project.events()] == ["long"]
