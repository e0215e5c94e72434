"""A project and a recording that the code of commit 6697a8c made: today's code reads both.

``data/make_project_6697a8c.py`` made them, and ``data/project_6697a8c.json`` is what the old code
reported.  These files are never made anew: they stand for the projects that people have.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from owlabel.jobs.queue import JobQueue
from owlabel.jobs.runner import make_job
from owlabel.project.store import Project
from owlabel.session.recording import recording_lines, replay
from owlabel.session.session import Session
from tests.owlabel.project.data.project_state import state, walk

DATA = Path(__file__).parent / "data"
PARTS = (
    "name", "images_root", "focus", "classes", "images", "tags", "proposals", "candidates",
    "events", "can_undo", "can_redo", "jobs", "settings", "models",
)  # fmt: skip
RECORDING = DATA / "recording_6697a8c.jsonl"


@pytest.fixture(scope="module")
def reported() -> dict[str, Any]:
    """What the old code said of the project."""
    report: dict[str, Any] = json.loads((DATA / "project_6697a8c.json").read_text())
    return report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(DATA / "project_6697a8c.zip") as file:
        file.extractall(tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("part", PARTS)
def test_all_of_an_old_project_is_there(folder: Path, reported: dict[str, Any], part: str) -> None:
    with Project.open(folder / "street.owlabel") as project:
        assert state(project)[part] == reported["state"][part]


def test_an_old_history_can_be_undone_and_redone(folder: Path, reported: dict[str, Any]) -> None:
    with Project.open(folder / "street.owlabel") as project:
        assert walk(project) == reported["walk"]


def test_old_images_have_the_same_labels(folder: Path, reported: dict[str, Any]) -> None:
    session = Session(Project.open(folder / "street.owlabel"), start_worker=False)
    *_, last = recording_lines(session)
    assert last["digests"] == reported["labels"]
    session.close()


def test_an_old_project_gives_the_same_recording(folder: Path) -> None:
    """Acts that came after the recording was written are left out."""
    session = Session(Project.open(folder / "street.owlabel"), start_worker=False)
    then = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    now = [json.loads(json.dumps(line)) for line in recording_lines(session)]
    assert now[1 : len(then) - 1] == then[1:-1]
    session.close()


def test_old_jobs_can_still_be_run(folder: Path, reported: dict[str, Any]) -> None:
    with Project.open(folder / "street.owlabel") as project:
        rows = JobQueue(project).recent()
        for row in rows:
            make_job(row.kind, dict(row.payload))
    assert {row.kind for row in rows} == {job[1] for job in reported["state"]["jobs"]}


def test_an_old_recording_gives_the_same_labels(folder: Path, toy: Any, tmp_path: Path) -> None:
    new = Project.create(tmp_path / "again.owlabel", folder / "street", folder / "toy.safetensors")
    toy.embed_all(new)
    session = Session(new, start_worker=False)
    assert replay(session, RECORDING, lambda: None) == []
    *_, last = recording_lines(session)
    assert len(last["digests"]) == 6
    session.close()
