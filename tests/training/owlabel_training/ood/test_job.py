from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from owlabel.classes import UNSET, ClassTable, LabelClass
from owlabel.jobs.requests.ood import OodRequest
from owlabel.jobs.runner import Runner
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save
from owlabel.project.store import Project
from owlabel.session.session import Session, StaleResultError
from owlabel.session.training.results import ood_summary
from owlabel_training.ood.job import SMALL_COURSE
from owlabel_training.ood.loop import Course
from owlabel_training.ood.run import summary

CLASSES = ClassTable((LabelClass(0, "sky", (9, 9, 200)), LabelClass(1, "road", (9, 9, 9))))
QUICK: dict[str, Any] = {
    "crop": [64, 64], "batch_size": 2, "max_miou_drop": 1.0, "patience": 0
}  # fmt: skip


@pytest.fixture
def session(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """A sitting on five pictures in which a human has named a deer on two."""
    torch.set_num_threads(1)
    for name, value in QUICK.items():
        monkeypatch.setitem(SMALL_COURSE, name, value)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name in "abcde":
        pixels = rng.integers(0, 80, (72, 96, 3)).astype(np.uint8)
        pixels[20:44, 30:60] = (230, 60, 40)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    save(segmenter, tmp_path / "base.safetensors", name="base", classes=CLASSES)
    project = Project.create(
        tmp_path / "p.owlabel", tmp_path / "pictures", tmp_path / "base.safetensors"
    )
    with project.action("accept", {}, "a deer") as action:
        action.add_class("deer", (200, 120, 0))
        human = np.full((72, 96), UNSET, np.uint8)
        human[20:44, 30:60], human[60:] = 2, 1
        for record in project.images()[:2]:
            action.set_labels(record.id, human)
    made = Session(project, start_worker=False)
    made.submit_embedding()
    work(made)
    yield made
    made.close()


def work(session: Session) -> None:
    runner = Runner(session.project)
    while runner.step():
        pass
    session.poll()


def trained(session: Session, method: str, **changes: Any) -> Any:
    job = session.training.ood(OodRequest(method=method, epochs=1, steps_per_epoch=2, **changes))
    work(session)
    row = next(r for r in session.worker.jobs() if r.id == job)
    assert row.state == "done", row.error
    return session.training.result("ood")


def test_rpl_is_trained_adopted_and_gives_its_score(session: Session) -> None:
    assert session.scores.unavailable("rpl_energy") is not None
    before = session.labels.prediction().labels.copy()
    result = trained(session, "rpl")
    assert set(result.comparison["before"]) == {"closed-set mIoU", "AP", "AUROC", "FPR95"}
    assert (
        result.comparison["before"]["closed-set mIoU"]
        == (result.comparison["after"]["closed-set mIoU"])
    )
    assert result.details["objects"] == 2
    base = session.models.active.id
    assert [m.id for m in session.models.versions()] == [base], "a block is no model to switch to"
    session.models.adopt(result.model_id)
    work(session)
    assert session.models.active.id == base
    score = session.scores.current("rpl_energy")
    assert score.shape == (18, 24)
    assert np.isfinite(score).all()
    assert session.training.result("ood") is None
    np.testing.assert_array_equal(session.labels.prediction().labels, before)


def test_miou_is_no_truth_where_people_have_labelled_nothing(session: Session) -> None:
    rows = [{"epoch": 0.0, "miou": 1.0, "ap": 0.1}, {"epoch": 1.0, "miou": 0.9, "ap": 0.3}]
    own = summary(Course(rows, best=1), labelled=False)["comparison"]
    assert own["after"] == {"mIoU against the old model": 0.9, "AP": 0.3}
    with session.project.action("accept", {}, "nothing left") as action:
        for record in session.project.images()[:1]:
            action.set_labels(record.id, np.full((72, 96), UNSET, np.uint8))
    result = trained(session, "rpl")
    assert result.details["val_human_pixels"] == 0
    assert " 0 of their pixels were labelled by people" in ood_summary(result)
    assert result.comparison["before"] == {}, "the model is not sure of a pixel either"


def test_reviewed_pixels_count_as_people_s(session: Session) -> None:
    before = trained(session, "rpl").details["val_human_pixels"]
    session.settings.set(lambda_novel=0.0)  # else the deer, seen twice, claims all of it
    session.go_to(session.records[4].id)
    session.labels.review()
    assert trained(session, "rpl").details["val_human_pixels"] > before > 0


def test_undo_takes_a_block_out_of_use_and_redo_puts_it_back(session: Session) -> None:
    session.models.adopt(trained(session, "rpl").model_id)
    work(session)
    session.undo()
    assert session.scores.unavailable("rpl_energy") is not None
    session.redo()
    assert session.scores.unavailable("rpl_energy") is None


def test_a_new_image_gets_its_energy_with_its_embedding(session: Session) -> None:
    session.models.adopt(trained(session, "rpl").model_id)
    work(session)
    source = session.records[0].path
    Image.open(source).rotate(180).save(source.with_name("f.png"))
    session.project.sync_images()
    project = session.project
    with Session(project, start_worker=False).project:
        pass
    with Project.open(project.folder) as again:
        other = Session(again, start_worker=False)
        other.submit_embedding()
        work(other)
        newest = next(r for r in other.records if r.relative == "f.png")
        assert other.scores.score_map("rpl_energy", newest) is not None


def test_an_entropy_trained_base_invalidates_what_hangs_on_the_old_one(session: Session) -> None:
    session.models.adopt(trained(session, "rpl").model_id)
    work(session)
    old = session.models.header.heads[0].hash
    prototypes = [p.vector for p in session.shots.rule.prototypes]
    assert len(prototypes) == 1
    result = trained(session, "entropy", lambda_ood=0.5)
    session.models.adopt(result.model_id)
    assert session.models.header.heads[0].hash != old
    assert session.shots.rule.prototypes == (), "measured again when the images are embedded"
    assert session.view.output() is None
    assert session.queue.items() == []
    assert session.scores.calibrations is None
    assert session.scores.unavailable("rpl_energy") is not None
    work(session)
    assert len(session.shots.rule.prototypes) == 1
    assert not np.array_equal(session.shots.rule.prototypes[0].vector, prototypes[0])
    session.undo()
    assert session.models.header.heads[0].hash == old
    assert session.scores.unavailable("rpl_energy") is None


def test_results_of_another_base_are_refused_and_may_be_discarded(session: Session) -> None:
    block = trained(session, "rpl")
    entropy = trained(session, "entropy")
    session.models.adopt(entropy.model_id)
    with pytest.raises(StaleResultError, match="another base model"):
        session.models.adopt(block.model_id)
    session.models.discard(block.model_id)
    assert session.training.result("ood") is None


def test_without_objects_or_with_a_bad_folder_nothing_is_queued(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"source": "folder", "path": str(tmp_path / "empty")}, "is not a proxy folder"),
        ({"source": "coco", "path": str(tmp_path / "a.json")}, "the COCO file .* does not exist"),
        ({"method": "magic"}, "magic"),
        ({"method": "entropy", "lambda_ood": 1.5}, "1.5"),
        ({"ratio": 0.0}, "ratio"),
    ]
    for fields, reason in refused:
        with pytest.raises(ValueError, match=reason):
            session.training.ood(OodRequest(**fields))
    for record in session.records[:2]:
        session.go_to(record.id)
        session.labels.paint(np.full((72, 96), 1, np.uint8))
    with pytest.raises(ValueError, match="no annotated OoD object"):
        session.training.ood(OodRequest())
    assert all(row.kind != "ood" for row in session.worker.jobs())


def test_masks_of_another_size_end_the_job_in_one_line(session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "proxy"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(folder / "images" / "a.png")
    Image.fromarray(np.ones((40, 51), np.uint8)).save(folder / "masks" / "a.png")
    job = session.training.ood(OodRequest(source="folder", path=str(folder)))
    work(session)
    row = next(r for r in session.worker.jobs() if r.id == job)
    assert row.state == "failed"
    assert "has size (40, 51), its picture a.png (40, 50)" in (row.error or "")


def test_the_command_refuses_a_bad_folder_in_one_line(session: Session, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from owlabel.cli import app

    words = ["train-ood", str(session.project.folder), "--proxy", str(tmp_path / "nowhere")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "is not a proxy folder" in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
