from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from owlabel.classes import UNSET, VOID, ClassTable, LabelClass
from owlabel.cli import app
from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.requests.weak_shot import WeakShotRequest
from owlabel.jobs.runner import Runner
from owlabel.models.mask.weights import load_mask_former
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel.project.store import Project
from owlabel.project.tables.proposals import NewProposal
from owlabel.session.session import Session
from owlabel_training.weak_shot import job as weak_shot_jobs
from owlabel_training.weak_shot import proposals
from owlabel_training.weak_shot.job import WeakShotJob
from owlabel_training.weak_shot.project_data import left_out, tagged_project
from owlabel_training.weak_shot.proposals import labels_to_retrain

CLASSES = ClassTable((LabelClass(0, "sky", (9, 9, 200)), LabelClass(1, "road", (9, 9, 9))))
BOX = 2
MODEL = {"channels": 32, "queries": 6, "layers": 1, "feedforward": 32}


@pytest.fixture
def session(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """A sitting on six pictures; a box is tagged in three, its absence in one; sky is labelled."""
    torch.set_num_threads(1)
    monkeypatch.setattr(weak_shot_jobs, "SIDE", 64)
    monkeypatch.setitem(weak_shot_jobs.SMALL, "points", 8)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdef":
        pixels = rng.integers(0, 80, (72, 96, 3)).astype(np.uint8)
        pixels[20:44, 30:60] = (230, 60, 40)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    save(segmenter, tmp_path / "base.safetensors", name="base", classes=CLASSES)
    folder = tmp_path / "p.owlabel"
    project = Project.create(folder, tmp_path / "pictures", tmp_path / "base.safetensors")
    made = Session(project, start_worker=False)
    assert made.labels.add_class("box").id == BOX
    ids = [r.id for r in made.records]
    made.tags.tag(ids[:3], BOX, "present")
    made.tags.tag(ids[3:4], BOX, "absent")
    with project.action("paint", {}, "sky") as action:
        human = np.full((72, 96), UNSET, np.uint8)
        human[:20], human[60:] = 0, 1
        for i in ids[:5]:
            action.set_labels(i, human)
    made.project.sync_images()
    yield made
    made.close()


def job(session: Session, **course: Any) -> WeakShotJob:
    checkpoint = session.models.active.path.relative_to(session.project.folder).as_posix()
    return WeakShotJob(checkpoint, {"iterations": 2, **course}, MODEL)


def run(session: Session, tmp_path: Path, **course: Any) -> tuple[dict[str, Any], list[Any]]:
    steps = job(session, **course).run(JobContext(session.project.folder, tmp_path / "7"))
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            return end.value, told


def test_a_job_proposes_masks_in_tagged_images_only(session: Session, tmp_path: Path) -> None:
    scores = np.zeros((3, 72, 96), np.float32)
    scores[2, 10:40, 20:60] = 0.75
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "scores_of", lambda model, image, absent: scores)
        result, told = run(session, tmp_path)
    assert result["proposals"] == 3
    assert result["images"] == 3
    assert result["classes"] == {
        "box": {"tagged": 3, "proposals": 3, "confidence": 0.75, "sure": 0, "doubtful": 0}
    }
    assert result["comparison"] == {}, "nobody has painted a box"
    assert result["lacking"] == session.tags.missing()
    assert any("mask" in step.metrics for step in told), "curves"
    found = session.project.proposals.open("weak_shot")
    assert {p.image_id for p in found} == {r.id for r in session.records[:3]}
    assert {p.origin for p in found} == {"job 7"}
    mask = session.project.proposals.mask(found[0].id)
    expected = scores[2] > 0
    expected[:20] = False  # people have said sky there
    np.testing.assert_array_equal(mask, expected)


def test_a_run_that_finds_nothing_leaves_what_was_proposed(
    session: Session, tmp_path: Path
) -> None:
    first = session.records[0].id
    mask = np.zeros((72, 96), bool)
    mask[20:44, 30:60] = True
    session.project.proposals.write(first, "weak_shot", "1", [NewProposal(BOX, mask, 0.9)])
    nothing = np.zeros((3, 72, 96), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "scores_of", lambda model, image, absent: nothing)
        result, _ = run(session, tmp_path)
    assert result["proposals"] == 0
    assert [p.origin for p in session.project.proposals.open("weak_shot")] == ["1"]


def test_before_and_after_rest_on_what_people_painted(session: Session, tmp_path: Path) -> None:
    paint_box(session, 0)
    paint_box(session, 4)  # not tagged there: no mask is proposed
    scores = np.zeros((3, 72, 96), np.float32)
    scores[2, 20:32, 30:60] = 0.95
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "scores_of", lambda model, image, absent: scores)
        result, _ = run(session, tmp_path)
    found = result["comparison"]
    assert found["after"] == {"box": 0.5}, "the upper half"
    assert found["before"].keys() == {"box"}
    assert 0 <= found["before"]["box"] <= 1
    assert (found["pixels"], found["images"]) == ({"box": 24 * 30}, 1)
    assert result["classes"]["box"]["sure"] == 2, "nothing is proposed where people painted"


def test_the_network_is_kept_and_no_label_changes(session: Session, tmp_path: Path) -> None:
    before = [session.project.human_labels(r.id) for r in session.records]
    models = len(session.project.models())
    result, _ = run(session, tmp_path)
    model, header = load_mask_former(session.project.folder / result["path"])
    assert header.classes.names == {0: "sky", 1: "road", 2: "box"}
    assert model.class_head.out_features == 4
    for record, labels in zip(session.records, before, strict=True):
        np.testing.assert_array_equal(session.project.human_labels(record.id), labels)
    assert len(session.project.models()) == models, "it is no model to switch to"


def test_people_are_told_from_the_model_and_unknown_from_absent(session: Session) -> None:
    segmenter, header = load(session.models.active.path)
    known = tagged_project(session.project, segmenter, header)
    assert known.class_ids == (BOX,)
    assert list(known.frames.present) == [{2}, {2}, {2}, set(), set(), set()]
    assert list(known.frames.unknown) == [set(), set(), set(), set(), {2}, {2}]
    assert set(np.unique(known.people[0])) == {0, 1, UNSET}
    assert (known.frames.labels[0][:20] == 0).all()
    assert set(np.unique(known.people[5])) == {UNSET}


def test_the_model_speaks_where_people_are_silent_if_it_is_sure() -> None:
    nobody = np.full((1, 4), UNSET, np.uint8)
    model = np.array([[0, 1, 0, 1]], np.uint8)
    unsure = np.array([[0.01, 0.2, 0.1, 0.6]], np.float32)
    assert left_out(nobody, model, unsure, False).tolist() == [[0, 1, 0, UNSET]]
    assert left_out(nobody, model, unsure, True).tolist() == [[0, UNSET, 0, VOID]]
    people = np.array([[0, 1, 1, UNSET]], np.uint8)
    assert left_out(people, model, unsure, True)[0, 3] == VOID


def paint_box(session: Session, place: int) -> None:
    record = session.records[place].id
    human = session.project.human_labels(record)
    human[20:44, 30:60] = BOX
    with session.project.action("paint", {}, "box") as action:
        action.set_labels(record, human)


def test_a_painted_novel_object_is_a_tag_but_no_mask(session: Session) -> None:
    human = np.full((72, 96), UNSET, np.uint8)
    human[30:40, 30:40] = BOX
    with session.project.action("paint", {}, "box") as action:
        action.set_labels(session.records[4].id, human)
    segmenter, header = load(session.models.active.path)
    known = tagged_project(session.project, segmenter, header)
    place = known.frames.names.index("e.png")
    assert known.frames.present[place] == {2}
    assert (known.frames.labels[place][30:40, 30:40] == VOID).all()
    assert session.records[4].id not in known.present


def test_retraining_runs_on_its_own_labels(session: Session, tmp_path: Path) -> None:
    result, told = run(session, tmp_path, retrain=3)
    steps = [s for s in told if "training" in s.message]
    assert [s.done for s in steps] == [1, 2, 3, 4, 5], "one curve"
    assert {s.total for s in steps} == {5}
    assert [s.message.split(",")[0] for s in steps] == ["training"] * 2 + ["re-training"] * 3
    assert result["path"].endswith(".safetensors")


def test_an_accepted_proposal_is_a_label_for_the_re_training(session: Session) -> None:
    first = session.records[0].id
    mask = np.zeros((72, 96), bool)
    mask[20:44, 30:60] = True
    session.project.proposals.write(first, "weak_shot", "1", [NewProposal(BOX, mask, 0.9)])
    silent = np.zeros((3, 72, 96), np.float32)  # the network finds no box anywhere
    segmenter, header = load(session.models.active.path)
    boxes = []
    for _ in ("open", "accepted"):
        known = tagged_project(session.project, segmenter, header)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(proposals, "scores_of", lambda model, image: silent)
            boxes.append(labels_to_retrain(cast(Any, None), known)[0] == BOX)
        if session.project.proposals.open():
            session.proposals.accept(session.project.proposals.open()[0].id)
    assert not boxes[0].any(), "a proposal is no label"
    np.testing.assert_array_equal(boxes[1], mask)


def test_the_command_re_trains(session: Session) -> None:
    words = ["weak-shot", str(session.project.folder), "--no-wait", "--retrain", "5"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert session.worker.jobs()[0].payload["course"]["retrain"] == 5


def test_what_cannot_be_learnt_is_refused_before_the_first_step(
    session: Session, tmp_path: Path
) -> None:
    session.tags.tag([r.id for r in session.records], BOX, "absent")
    with pytest.raises(ValueError, match="no image is tagged with a novel class"):
        run(session, tmp_path)
    with pytest.raises(ValueError, match="tag at least 20 images first"):
        session.training.weak_shot(WeakShotRequest())
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        session.training.weak_shot(WeakShotRequest(iterations=0))


def test_what_is_lacking_is_said_before_and_by_the_job(session: Session) -> None:
    assert session.tags.missing() == [
        "box: present in 3 images, at least 20 are advised",
        "The project has only 6 images.",
        "Images with masks of known classes, at least 20 are advised: sky 5, road 5",
    ]
    words = ["weak-shot", str(session.project.folder), "--no-wait"]
    told = " ".join(CliRunner().invoke(app, words).stderr.split())
    assert "at least 20 are advised: sky 5, road 5" in told


def test_a_session_queues_the_job_and_the_worker_does_it(session: Session) -> None:
    job_id = session.training.weak_shot(WeakShotRequest(iterations=1))
    runner = Runner(session.project)
    while runner.step():
        pass
    session.poll()
    row = next(r for r in session.worker.jobs() if r.id == job_id)
    assert row.state == "done", row.error
    assert row.result is not None
    assert row.result["classes"].keys() == {"box"}


def test_the_command_says_in_one_line_what_is_missing(session: Session) -> None:
    session.tags.tag([r.id for r in session.records], BOX, "unknown")
    done = CliRunner().invoke(app, ["weak-shot", str(session.project.folder)])
    assert done.exit_code == 1
    assert "tag at least 20 images first" in " ".join(done.stderr.split())


def test_the_command_may_leave_the_job_queued(session: Session) -> None:
    words = ["weak-shot", str(session.project.folder), "--no-wait", "--iterations", "3"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    row = session.worker.jobs()[0]
    assert (row.kind, row.payload["course"]["iterations"]) == ("weak_shot", 3)


@pytest.mark.slow
def test_the_command_waits_for_the_job_and_tells_what_came_out(session: Session) -> None:
    painted = np.full((72, 96), UNSET, np.uint8)
    painted[20:44, 30:60] = BOX
    session.go_to(session.records[0].id)
    session.labels.paint(painted)
    folder = session.project.folder
    session.close()
    done = CliRunner().invoke(app, ["weak-shot", str(folder), "--iterations", "2"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "proposals: see `owlabel proposals`" in text
    assert "on 720 pixels of tagged classes that people labelled in 1 images" in text
    assert "box" in text


def test_a_run_of_other_tags_begins_anew(session: Session, tmp_path: Path) -> None:
    run(session, tmp_path)
    deer = session.labels.add_class("deer").id
    session.tags.tag([session.records[1].id], deer, "present")
    result, _ = run(session, tmp_path)  # another network: the state of the first does not fit
    assert result["classes"].keys() == {"box", "deer"}


def test_a_picture_that_went_is_left_out(session: Session, tmp_path: Path) -> None:
    paint_box(session, 0)
    scores = np.zeros((3, 72, 96), np.float32)
    scores[2, 20:32, 30:60] = 0.95
    steps = job(session).run(JobContext(session.project.folder, tmp_path / "7"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "scores_of", lambda model, image, absent: scores)
        while next(steps).total == 0:  # the images of the training are read by then
            pass
        for record in session.records[:2]:
            record.path.unlink()
        result = run_to_end(steps)
    assert (result["proposals"], result["comparison"]) == (1, {})
    assert (session.project.folder / result["path"]).is_file()
