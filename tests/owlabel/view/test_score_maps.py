"""Scores of a project: what can be had and why not, their scale, when it is made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from owlabel.checkpoints.header import KEY, CheckpointHeader, read_header
from owlabel.cli import app
from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.calibrate import CalibrateJob, in_distribution
from owlabel.ood.registry import SCORES, available
from owlabel.project.store import Project
from owlabel.session.session import Session


def calibrate(session: Session, enough: int = 10_000) -> dict[str, Any]:
    folder = session.project.folder
    checkpoint = session.models.active.path.relative_to(folder).as_posix()
    result = run_to_end(CalibrateJob(checkpoint, enough).run(JobContext(folder, folder)))
    session.scores.forget()
    return result


def test_all_pixels_are_counted_until_enough_is_reviewed(session: Session) -> None:
    assert calibrate(session) == {"images": 4, "source": "all", "points": 4 * 12 * 16}
    for _ in range(2):
        session.labels.review()
        session.next_image()
    done = calibrate(session, enough=100)
    assert (done["images"], done["source"]) == (2, "reviewed")
    assert session.scores.calibrations is not None
    assert session.scores.calibrations.basis.reviewed == 2


def test_reviewed_pixels_of_novel_classes_and_void_are_not_usual() -> None:
    labels = np.zeros((8, 12), np.uint8)
    labels[:4], labels[4:, :6] = 2, 255
    usual = in_distribution(labels, (2, 4), classes=2)
    np.testing.assert_array_equal(usual, [[False] * 4, [False, False, True, True]])


def test_what_a_new_project_cannot_give_is_refused_in_words(session: Session) -> None:
    assert session.scores.unavailable("entropy") is None
    for name, words in (("sml", "owlabel scores"), ("rpl_energy", "train RPL")):
        assert words in (session.scores.unavailable(name) or "")
        with pytest.raises(ValueError, match=words):
            session.scores.current(name)
    with pytest.raises(ValueError, match="no score 'edss'"):
        session.scores.current("edss")
    calibrate(session)
    assert session.scores.current("sml") is not None


def test_a_softmax_model_has_no_metric_scores(toy: Any) -> None:
    header = read_header(toy.checkpoint)
    values = {**json.loads(header.to_json()), "kind": "softmax"}
    text = CheckpointHeader.from_json(json.dumps(values)).to_json()
    version = toy.project.active_model()
    save_file({"weight": np.zeros(1, np.float32)}, version.path, metadata={KEY: text})
    session = Session(toy.project, start_worker=False)
    missing = [n for n in SCORES if session.scores.unavailable(n) is not None]
    assert missing == ["eds", "eds_absolute", "mmsp", "mixture", "sml", "sml_smooth", "rpl_energy"]
    with pytest.raises(ValueError, match="needs a metric head"):
        session.scores.current("eds")
    assert "eds" not in session.scores.score_maps(session.record())


def test_all_scores_in_one_pass_agree_with_single_ones(session: Session) -> None:
    calibrate(session)
    maps = session.scores.score_maps(session.record())
    assert list(maps) == available({"metric head", "statistics"})
    for name, values in maps.items():
        np.testing.assert_allclose(values, session.scores.current(name), atol=1e-6)


def test_the_scale_is_the_same_in_all_images(session: Session) -> None:
    assert session.scores.false_alarms_shown("entropy") is None
    before = session.scores.limits("energy", session.scores.current("energy"))
    calibrate(session)
    scale = session.scores.calibration("energy")
    assert scale is not None
    limits = [session.scores.limits("energy", session.scores.current("energy"))]
    session.next_image()
    limits.append(session.scores.limits("energy", session.scores.current("energy")))
    assert limits == [(scale.low, scale.high)] * 2
    assert before != limits[0]
    alarms = [session.scores.false_alarms_shown("energy", f) for f in (0.0, 0.5, 1.0)]
    assert 48 * 64 >= alarms[0] >= alarms[1] >= alarms[2] >= 0


def test_the_threshold_of_the_queue_is_on_the_scale_of_its_score(session: Session) -> None:
    assert session.queue.threshold == session.settings.threshold == 0.5
    calibrate(session)
    scale = session.scores.calibration("entropy")
    assert scale is not None
    assert session.queue.threshold == pytest.approx(scale.value(0.5))


def test_beta_and_gamma_are_acts_that_can_be_undone(session: Session) -> None:
    told: list[int] = []
    session.scores.changed.connect(lambda: told.append(1))
    plain = session.scores.current("mixture")
    session.settings.set(beta=5, gamma=0.3)
    assert len(told) == 2, "one for each act"
    assert not np.array_equal(session.scores.current("mixture"), plain)
    session.undo()
    session.undo()
    np.testing.assert_array_equal(session.scores.current("mixture"), plain)
    session.settings.set(mmsp_norm="minmax")
    assert not np.array_equal(session.scores.current("mixture"), plain)
    session.undo()
    np.testing.assert_array_equal(session.scores.current("mixture"), plain)
    with pytest.raises(ValueError, match="minmax"):
        session.settings.set(mmsp_norm="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gamma"):
        session.settings.set(gamma=2)


def submitted(session: Session) -> list[str]:
    return [row.kind for row in session.worker.jobs() if row.state == "queued"]


def test_a_calibration_is_submitted_when_it_is_due_and_once(session: Session) -> None:
    session.calibration.submit()
    assert submitted(session) == ["calibrate"]
    session.calibration.submit()
    assert submitted(session) == ["calibrate"]  # in place of the first
    for row in session.worker.jobs():
        session.worker.cancel(row.id)
    calibrate(session)
    session.calibration.submit()
    assert submitted(session) == []
    for _ in range(3):
        session.labels.review()
        session.next_image()
    session.calibration.submit()
    assert submitted(session) == ["calibrate"]


def test_a_damaged_or_older_calibration_is_made_again(session: Session) -> None:
    calibrate(session)
    head = session.models.header.heads[0].hash
    session.project.cache.write(head, "calibration", {"joint": np.zeros(3)}, {"source": "all"})
    session.scores.forget()
    assert session.scores.calibrations is None
    session.calibration.submit()
    assert submitted(session) == ["calibrate"]


def test_nothing_embedded_is_nothing_to_calibrate(toy: Any) -> None:
    for record in toy.project.images():
        toy.project.cache.path("0" * 16, record.content_hash).unlink()
    session = Session(toy.project, start_worker=False)
    session.calibration.submit(always=True)
    assert submitted(session) == []
    assert calibrate(session) == {"images": 0}


Command = Callable[..., Any]


@pytest.fixture
def command(toy: Any) -> Command:
    folder = toy.project.folder
    toy.project.close()

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["scores", str(folder), *arguments])

    return run


def test_the_command_lists_every_score(command: Command) -> None:
    rows = json.loads(command("--json", "--image", "deer_1.png").stdout)
    assert [row["score"] for row in rows] == list(SCORES)
    entropy = next(row for row in rows if row["score"] == "entropy")
    assert entropy["missing"] == ""
    assert entropy["usual"] <= entropy["median"] <= entropy["highest"]
    assert "train RPL" in rows[-1]["missing"]
    assert rows[-1]["usual"] is None


def test_the_command_prints_a_table_for_people(command: Command) -> None:
    text = command().stdout
    assert "usual" in text
    assert "scale from 768 grid points of 4 images" in text
    assert "None" not in text


def test_the_command_refuses_in_words(command: Command) -> None:
    done = command("--score", "rpl_energy")
    assert done.exit_code == 1
    assert "needs a residual block" in " ".join(done.output.split())
    done = command("--score", "edss")
    assert done.exit_code == 1
    assert "no score 'edss'" in " ".join(done.output.split())


def test_the_scale_survives_the_session(command: Command, toy: Any) -> None:
    command()
    with Project.open(toy.project.folder) as project:
        again = Session(project, start_worker=False)
        assert again.scores.calibrations is not None
        assert again.scores.false_alarms_shown("entropy") is not None
