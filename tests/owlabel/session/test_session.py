from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from owlabel.classes import UNSET, VOID, Source
from owlabel.jobs.queue import JobQueue
from owlabel.jobs.requests.plm import PlmRequest
from owlabel.project.store import Project
from owlabel.session.session import Session, StaleResultError

CENTRE = (24, 34)


def labelled_deer(session: Session) -> int:
    session.labels.click(*CENTRE)
    return session.labels.accept("deer").id


def test_a_click_and_a_name_make_a_class(session: Session) -> None:
    deer = labelled_deer(session)
    labels = session.labels.of()
    assert labels.labels[CENTRE] == deer
    assert labels.source[CENTRE] == Source.HUMAN
    assert session.classes.by_id(deer).novel


def test_the_class_is_found_in_another_image_at_once(session: Session) -> None:
    deer = labelled_deer(session)
    session.next_image()
    assert session.labels.prediction().labels[CENTRE] == deer
    assert session.labels.prediction().source[CENTRE] == Source.NPM
    session.next_image()
    assert (
        session.labels.prediction().labels == deer
    ).mean() < 0.1  # the seam at the horizon, no more


def test_every_act_survives_a_restart(session: Session) -> None:
    deer = labelled_deer(session)
    session.labels.review()
    folder = session.project.folder
    session.close()
    again = Session(Project.open(folder), start_worker=False)
    assert again.labels.of().labels[CENTRE] == deer
    assert again.record().state == "reviewed"
    assert len(again.shots.rule.prototypes) == 1
    again.close()


def test_undo_takes_everything_back_and_redo_does_it_again(session: Session) -> None:
    start = session.labels.of().labels.copy()
    labelled_deer(session)
    after = session.labels.of().labels.copy()
    session.undo()
    assert np.array_equal(session.labels.of().labels, start)
    assert session.classes.find("deer") is None
    assert session.labels.clicks, "the click that was accepted is pending again"
    session.redo()
    assert np.array_equal(session.labels.of().labels, after)


def test_an_image_that_turns_out_unreadable_is_none_of_those_left(toy: Any) -> None:
    record = toy.project.images()[1]
    shutil.rmtree(toy.project.cache.folder)
    session = Session(toy.project, start_worker=False)
    toy.project.set_image_error(record.id, "cut off")  # as the worker does
    session.reload_images()
    assert session.progress == (0, 3)
    assert [r.error for r in session.broken] == ["cut off"]
    toy.project.sync_images()
    assert [r.error for r in session.broken] == ["cut off"], "the file is the same"
    record.path.write_bytes(b"other bytes")
    toy.project.sync_images()
    assert [r.error == "cut off" for r in session.broken] == [False], "looked at again"


def test_the_current_image_that_turns_out_unreadable_is_left(toy: Any) -> None:
    session = Session(toy.project, start_worker=False)
    first, second = (r.id for r in session.records[:2])
    toy.project.set_image_error(first, "cut off")
    session._use_job(SimpleNamespace(kind="embed", state="done", result={}))  # type: ignore[arg-type]
    assert session.image_id == second
    session.previous_image()
    assert session.position(session.image_id or 0) == (2, 3)


def test_undo_of_an_image_that_is_gone_brings_it_not_back(toy: Any) -> None:
    session = Session(toy.project, start_worker=False)
    gone = session.record()
    painted = session.labels.human().copy()
    painted[0, 0] = 1
    session.labels.paint(painted)
    gone.path.unlink()
    toy.project.sync_images()
    session.reload_images()
    session.undo()
    assert gone.id not in [r.id for r in session.records]
    assert (toy.project.human_labels(gone.id) == UNSET).all()


def test_reviewing_twice_is_one_act(session: Session) -> None:
    session.labels.review()
    session.labels.review()
    session.undo()
    assert session.record().state != "reviewed"
    session.labels.review(False)
    assert session.can_redo is not None, "nothing was done since"


def test_without_any_shot_left_no_candidate_is_claimed(session: Session) -> None:
    table, head = session.project.candidates, session.models.header.heads[0].hash
    deer = labelled_deer(session)
    table.claim({table.ranked(head)[0].id: deer})
    session.undo()
    session.search.submit()
    assert {row.claimed_by for row in table.ranked(head)} == {None}


def test_before_the_worker_has_counted_no_file_is_looked_for(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(toy.project.cache.folder)
    session = Session(toy.project, start_worker=False)
    assert session.progress == (0, 4)
    session.submit_embedding()
    monkeypatch.setattr(session.view.reader, "embedded", None)
    assert session.progress == (0, 4)


def test_undo_works_across_a_restart(session: Session) -> None:
    labelled_deer(session)
    folder = session.project.folder
    session.close()
    again = Session(Project.open(folder), start_worker=False)
    again.undo()
    assert again.classes.find("deer") is None
    assert (again.labels.human() == UNSET).all()
    again.close()


def test_pending_clicks_survive_a_restart(session: Session) -> None:
    session.labels.click(*CENTRE)
    area = session.labels.region.area
    folder = session.project.folder
    session.close()
    again = Session(Project.open(folder), start_worker=False)
    assert again.labels.region is not None
    assert again.labels.region.area == area
    again.close()


def test_a_human_pixel_is_never_written_by_a_model(session: Session) -> None:
    painted = session.labels.human().copy()
    painted[20:24, 26:30] = 1
    session.labels.paint(painted)
    labelled_deer(session)
    assert (session.labels.human()[20:24, 26:30] == 1).all()
    assert (session.labels.of().labels[20:24, 26:30] == 1).all()


def test_paint_refuses_what_is_no_class(session: Session) -> None:
    painted = session.labels.human().copy()
    painted[0, 0] = 77
    with pytest.raises(ValueError, match="77"):
        session.labels.paint(painted)
    assert (session.labels.human() == UNSET).all()


def test_a_click_outside_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="outside"):
        session.labels.click(48, 0)


def test_a_name_without_a_region_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="click an object first"):
        session.labels.accept("deer")


def test_a_bad_name_leaves_the_region_pending(session: Session) -> None:
    session.labels.click(*CENTRE)
    with pytest.raises(ValueError, match="class name"):
        session.labels.accept("  ")
    assert session.labels.region is not None
    assert (session.labels.human() == UNSET).all()


def test_the_queue_leads_to_the_object_and_forgets_it_when_named(session: Session) -> None:
    session.queue.next()
    first = session.queue.shown
    assert first.record.relative.startswith("deer")
    session.labels.click(*first.peak)
    session.labels.accept("deer")
    assert first.key not in [item.key for item in session.queue.items()]


def test_known_after_all_leaves_the_queue_and_keeps_the_models_class(session: Session) -> None:
    session.queue.next()
    peak, key = session.queue.shown.peak, session.queue.shown.key
    expected = session.labels.prediction().labels[peak]
    session.labels.mark_known()
    assert session.labels.human()[peak] == expected
    assert key not in [item.key for item in session.queue.items()]


def test_ignored_pixels_are_void(session: Session) -> None:
    session.labels.click(*CENTRE)
    session.labels.mark_ignore()
    assert session.labels.of().labels[CENTRE] == VOID


def test_a_reviewed_image_stays_as_it_was_seen(session: Session) -> None:
    session.next_image()
    session.labels.review()
    seen = session.labels.of().labels.copy()
    session.previous_image()
    labelled_deer(session)
    session.next_image()
    assert np.array_equal(session.labels.of().labels, seen)


def test_an_edit_reopens_a_reviewed_image(session: Session) -> None:
    session.labels.review()
    labelled_deer(session)
    assert session.record().state == "edited"


def test_lambda_zero_finds_nothing_more(session: Session) -> None:
    deer = labelled_deer(session)
    session.settings.set(lambda_novel=0.0)
    assert deer not in session.labels.prediction().labels
    session.undo()
    assert session.settings.lambda_novel == 1.5


def test_the_order_of_shots_does_not_matter(toy: Any) -> None:
    session = Session(toy.project, start_worker=False)
    ids = [r.id for r in session.records][:2]
    vectors = []
    for order in (ids, ids[::-1]):
        for image_id in order:
            session.go_to(image_id)
            session.labels.click(*CENTRE)
            session.labels.accept("deer")
        vectors.append(session.shots.rule.prototypes[0].vector)
        for _ in range(4):
            session.undo()
    assert np.array_equal(vectors[0], vectors[1])


def test_a_model_trained_from_another_one_is_refused(session: Session, stranger: Path) -> None:
    version = session.project.add_model(stranger, "other", "plm", None, {})
    with pytest.raises(StaleResultError, match="not trained from the model in use"):
        session.models.adopt(version.id)


def test_a_colour_is_changed_and_taken_back(session: Session) -> None:
    told: list[int] = []
    session.classes_changed.connect(lambda: told.append(1))
    session.labels.recolor_class(1, (1, 2, 3))
    assert session.classes.by_id(1).color == (1, 2, 3)
    assert tuple(session.project.classes().palette()[1]) == (1, 2, 3)
    assert (len(told), session.can_undo) == (1, "colour of sky")
    session.labels.recolor_class(1, (1, 2, 3))  # no act: it is so already
    session.undo()
    assert session.classes.by_id(1).color == (70, 130, 180)
    session.redo()
    assert session.classes.by_id(1).color == (1, 2, 3)


@pytest.mark.parametrize(("class_id", "color"), [(9, (1, 2, 3)), (1, (1, 2, 256))])
def test_a_colour_must_be_one_of_a_class(
    session: Session, class_id: int, color: tuple[int, int, int]
) -> None:
    with pytest.raises(ValueError, match=str(color[2]) if class_id == 1 else "9"):
        session.labels.recolor_class(class_id, color)


def test_retraining_needs_a_shot(session: Session) -> None:
    with pytest.raises(ValueError, match="is not a novel class"):
        session.training.plm(PlmRequest(class_name="deer"))


def test_distances_name_every_class(session: Session) -> None:
    labelled_deer(session)
    assert set(session.scores.distances(*CENTRE)) == {"road", "sky", "deer"}
    assert session.scores.distances(*CENTRE)["deer"] < 1.5


def test_an_export_that_waits_in_a_project_from_elsewhere_is_dropped(toy: Any) -> None:
    queue = JobQueue(toy.project)
    job_id = queue.submit("export", {"folder": "/etc", "format": "masks", "overwrite": True})
    Session(toy.project, start_worker=False)
    assert queue.get(job_id).state == "cancelled"


def test_an_export_that_another_window_waits_for_is_left(toy: Any, tmp_path: Path) -> None:
    first = Session(toy.project, start_worker=False)
    job_id = first.export(tmp_path / "out", "masks", which="all")
    Session(toy.project, start_worker=False)
    assert first.worker._queue.get(job_id).state == "queued"


def test_a_killed_worker_is_started_again(toy: Any) -> None:
    session = Session(toy.project)
    told: list[str] = []
    session.message.connect(lambda _level, text: told.append(text))
    session._dues[1].checked = monotonic()  # the scale of the scores is no business of this test
    os.kill(session.worker._process.pid, signal.SIGKILL)
    session.worker._process.wait()
    session.poll()
    assert session.worker._process.poll() is not None, "there is nothing to do"
    session.worker._queue.submit("relabel", {"head_hash": "0" * 16, "prototypes": []})
    session.poll()
    assert session.worker._process.poll() is None
    assert "started again" in told[0]
    session.worker._process.kill()
    session.worker._process.wait()
