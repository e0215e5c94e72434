from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from owlabel.cli import app
from owlabel.project.store import Project
from owlabel.session.recording import read_recording, recording_lines, replay
from owlabel.session.session import Session

CENTRE = (24, 34)


@pytest.fixture
def recording(session: Session, tmp_path: Path) -> Path:
    """A session with an act of every kind but training."""
    session.labels.click(*CENTRE)
    session.labels.click(5, 5, add=False)
    session.labels.accept("deer")
    painted = session.labels.human().copy()
    painted[40:44, 3:9] = 1
    session.labels.paint(painted)
    session.undo()
    session.redo()
    session.labels.review()
    session.next_image()
    session.labels.click(*CENTRE)
    session.labels.cancel_region()
    session.queue.next()
    session.labels.mark_known()
    session.next_image()
    session.labels.click(2, 2)
    session.labels.mark_ignore()
    session.settings.set(lambda_novel=2.0)
    session.labels.rename_class(session.classes.find("deer").id, "roe deer")
    session.labels.recolor_class(session.classes.find("roe deer").id, (1, 2, 3))
    path = tmp_path / "session.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in recording_lines(session)))
    return path


def again(toy: Any, tmp_path: Path) -> Session:
    project = Project.create(tmp_path / "again.owlabel", toy.images, toy.checkpoint)
    toy.embed_all(project)
    return Session(project, start_worker=False)


def test_a_replay_gives_the_same_labels(toy: Any, recording: Path, tmp_path: Path) -> None:
    session = again(toy, tmp_path)
    assert replay(session, recording, lambda: None) == []
    assert session.classes.find("roe deer").color == (1, 2, 3)
    session.close()


def test_another_label_is_noticed(toy: Any, recording: Path, tmp_path: Path) -> None:
    lines = read_recording(recording)
    clicks = [line for line in lines if line.get("kind") == "click"]
    clicks[-1]["payload"].update(row=40, col=2)  # the road, not the sky
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    session = again(toy, tmp_path)
    assert "empty_1.png" in replay(session, recording, lambda: None)
    session.close()


def test_another_model_is_refused(recording: Path, toy: Any, stranger: Path) -> None:
    project = Project.create(toy.images.parent / "x.owlabel", toy.images, stranger)
    session = Session(project, start_worker=False)
    with pytest.raises(ValueError, match="another base model"):
        replay(session, recording, lambda: None)
    session.close()


def test_a_replay_that_fails_leaves_no_project(toy: Any, recording: Path, tmp_path: Path) -> None:
    lines = read_recording(recording)
    lines[1]["payload"]["image"] = "nowhere.png"
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    half = tmp_path / "half.owlabel"
    words = ["replay", str(recording), str(toy.images), "--model", str(toy.checkpoint)]
    done = CliRunner().invoke(app, [*words, "--project", str(half)])
    assert done.exit_code == 1
    assert "'nowhere.png', which is not in the folder" in done.output
    assert not half.exists()


@pytest.mark.parametrize("text", ["", "[]\n", "{}\n", "no json\n", '{"owlabel_recording": 99}\n'])
def test_what_is_no_recording_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.jsonl"):
        read_recording(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "model"}, "line 2: unknown kind of event 'model'"),
        ({"kind": "_go_to"}, "line 2: unknown kind of event '_go_to'"),
        ({"kind": ["click"]}, r"line 2: unknown kind of event \['click'\]"),
        ({"payload": None}, "line 2: the event has no payload"),
    ],
)
def test_a_recording_names_known_kinds_of_events_only(
    change: dict[str, Any], message: str, recording: Path
) -> None:
    lines = read_recording(recording)
    lines[1].update(change)
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match=message):
        read_recording(recording)


def test_a_malformed_event_is_refused(toy: Any, recording: Path, tmp_path: Path) -> None:
    lines = read_recording(recording)
    del lines[1]["payload"]["row"]
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    session = again(toy, tmp_path)
    with pytest.raises(ValueError, match=r"\(click\) is malformed: KeyError\('row'\)"):
        replay(session, recording, lambda: None)
    session.close()


def test_a_recording_holds_every_stroke(recording: Path) -> None:
    paint = next(line for line in read_recording(recording) if line.get("kind") == "paint")
    assert paint["labels"]["shape"] == [48, 64]
    assert np.prod(paint["labels"]["shape"]) > len(paint["labels"]["zlib"])


def test_a_replay_never_goes_into_a_project_that_is_there(
    toy: Any, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = toy.project.events()
    words = ["replay", str(recording), str(toy.images), "--model", str(toy.checkpoint)]
    done = CliRunner().invoke(app, [*words, "--project", f"~/{toy.project.folder.name}"])
    assert (done.exit_code, "exists" in done.output) == (1, True)
    assert toy.project.events() == before
    words[2] = str(toy.project.folder)
    done = CliRunner().invoke(app, [*words, "--project", str(tmp_path / "new.owlabel")])
    assert done.exit_code == 1
    assert "choose the folder of its images" in " ".join(done.output.split())
    assert not (tmp_path / "new.owlabel").exists()
