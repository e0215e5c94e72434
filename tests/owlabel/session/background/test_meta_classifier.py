"""A session that learns which candidates are false: rows, refits, undo, hiding, order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from owlabel.checkpoints.header import FORMAT, KEY, CheckpointHeader, HeadInfo
from owlabel.classes import ClassTable, LabelClass
from owlabel.ood.candidates import Candidate
from owlabel.project.store import CandidateRow, Project
from owlabel.project.tables import candidate_details
from owlabel.session.session import Session
from owlabel.view import queue_order
from owlabel.view.review_decisions import candidate_features, collect_rows

HEAD = "0" * 16
GRID, SHAPE = (12, 16), (48, 64)
BASE = ClassTable((LabelClass(0, "road", (9, 9, 9)), LabelClass(1, "sky", (7, 7, 7))))
BLOCK, SEAM = (6, 8), (1, 3)
"""Grid points in the middle of the large candidate, and of the small one."""


def embedding(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A large uncertain block (a deer) and a small rather certain spot in every picture."""
    rng = np.random.default_rng(seed)
    f = np.zeros((2, *GRID), np.float32)
    f[0] = 3
    segments = np.zeros(GRID, np.int32)
    segments[4:9, 5:12], segments[0:3, 2:5] = 1, 2
    f[:, segments == 1] = 1.0 + rng.uniform(-0.02, 0.02, (2, 35))
    f[:, segments == 2] = np.array([[2.4], [0.2]]) + rng.uniform(-0.02, 0.02, (2, 9))
    return f, segments


def candidate(where: tuple[int, int], rank: float) -> Candidate:
    row, col = (4 * where[0] + 2, 4 * where[1] + 2)
    return Candidate(0.9, 100, (row - 8, col - 8, row + 8, col + 8), (row, col), 0, rank)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    images = tmp_path / "street"
    images.mkdir()
    for i in range(14):
        Image.fromarray(np.full((*SHAPE, 3), i, np.uint8)).save(images / f"{i:02}.png")
    header = CheckpointHeader(
        FORMAT, "toy", "toy", {}, BASE, 3.0, "metric", (0.0,) * 3, (1.0,) * 3, 2048,
        (HeadInfo(None, 2, HEAD),),
    )  # fmt: skip
    path = tmp_path / "toy.safetensors"
    save_file({"weight": np.zeros(1, np.float32)}, path, metadata={KEY: header.to_json()})
    made = Project.create(tmp_path / "street.owlabel", images, path)
    for i, record in enumerate(made.images()):
        f, segments = embedding(i)
        made.cache.write(HEAD, record.content_hash, {"embedding": f.astype(np.float16)}, {})
        found = [candidate(BLOCK, 0.5 + i / 100), candidate(SEAM, 0.6 + i / 100)]
        made.candidates.replace(
            record.id, HEAD, found, segments=segments, features=candidate_features(f, 3.0, segments)
        )
    yield made
    made.close()


@pytest.fixture
def session(project: Project) -> Session:
    made = Session(project, start_worker=False)
    made.settings.set(threshold=0.0)
    return made


def decide(session: Session, image: int, real: bool) -> None:
    """Name the deer of a picture, or say that its spot is known after all."""
    session.go_to(session.records[image].id)
    rows = session.project.candidates.ranked(HEAD, image_id=session.image_id)
    large, small = sorted(rows, key=lambda row: row.id)
    if real:
        session.labels.click(*large.candidate.peak)
        session.labels.accept("deer")
    else:
        session.labels.mark_known(peak=small.candidate.peak)


def ten(session: Session) -> None:
    for i in range(5):
        decide(session, i, real=True)
        decide(session, i, real=False)


def test_nothing_is_hidden_before_anything_was_decided(session: Session) -> None:
    items = session.queue.items()
    assert len(items) == 28
    assert {item.false for item in items} == {None}
    assert session.queue.hidden == 0
    assert session.queue.explain(items[0]) is None


def test_five_of_each_kind_are_enough_and_the_false_ones_go(session: Session) -> None:
    ten(session)
    known = session.queue.classifier
    assert known is not None
    assert (known.true, known.false) == (5, 5)
    items = session.queue.items()
    assert session.queue.hidden == 9
    assert len(items) == 9
    assert all(item.false < 0.5 and item.peak[0] > 20 for item in items)
    why = session.queue.explain(items[0])
    assert why is not None
    assert why.real[0].weight < 0


def test_it_is_fitted_again_after_ten_more(session: Session) -> None:
    ten(session)
    for i in range(5, 9):
        decide(session, i, real=True)
        decide(session, i, real=False)
    decide(session, 9, real=True)
    assert session.meta_classifier.new_decisions == 9
    assert session.queue.classifier.true == 5
    decide(session, 9, real=False)
    assert session.meta_classifier.new_decisions == 0
    assert session.queue.classifier.true == 10


def test_undo_takes_the_row_away(session: Session) -> None:
    ten(session)
    session.undo()
    assert session.meta_classifier.new_decisions == 1
    session.meta_classifier.fit()
    assert session.queue.classifier.keeps_all, "four rows of one kind are too few"
    session.redo()
    assert session.queue.classifier.false == 5


def test_ignore_makes_no_row(session: Session) -> None:
    session.labels.mark_ignore(peak=session.queue.items()[0].peak)
    assert session.meta_classifier.decisions == {}


def test_a_reviewed_image_decides_about_all_its_candidates(session: Session) -> None:
    decide(session, 0, real=True)
    session.labels.review()
    large, small = sorted(i for i in session.meta_classifier.decisions)
    assert session.meta_classifier.decisions == {large: False, small: True}


def test_a_new_session_knows_what_was_learnt(session: Session, project: Project) -> None:
    ten(session)
    again = Session(project, start_worker=False)
    assert again.queue.classifier.false == 5
    assert len(again.queue.items()) == len(session.queue.items())


def test_the_slider_is_an_act_and_hides_nothing_at_one(session: Session) -> None:
    ten(session)
    session.settings.set(hide_above=1.0)
    assert session.queue.hidden == 0
    assert len(session.queue.items()) == 18
    session.undo()
    assert session.queue.hide_above == 0.5
    session.queue.reveal_hidden(True)
    assert len(session.queue.items()) == 18
    assert session.queue.hidden == 9
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        session.settings.set(hide_above=2)


def test_what_is_pinned_keeps_its_place(session: Session) -> None:
    before = [item.key for item in session.queue.items()]
    session.queue.pin(before[:20])
    ten(session)
    now = [item.key for item in session.queue.items()]
    still = [i for i in before[:20] if i in now]
    assert now[: len(still)] == still
    assert session.queue.hidden < 9
    session.queue.rank()
    assert [item.key for item in session.queue.items()] != now
    session.queue.items()
    assert session.queue.hidden == 9


def test_candidates_of_an_older_project_are_described_when_needed(
    session: Session, project: Project
) -> None:
    first, count = candidate_details.spread(project.database, HEAD, 10**6)
    assert len(first) == count
    bare = [candidate_details.Details(d.id, d.image_id, d.peak, d.mask, None) for d in first]
    cut = first[1]
    bare[1] = candidate_details.Details(cut.id, cut.image_id, cut.peak, cut.mask, np.zeros(3))
    candidate_details.store(project.database, bare)
    assert project.candidates.ranked(HEAD)[0].features is None
    ten(session)
    assert session.queue.classifier.true == 5
    for old, new in zip(
        first, candidate_details.spread(project.database, HEAD, 10**6)[0], strict=True
    ):
        np.testing.assert_allclose(old.features, new.features, atol=2e-3)  # from 16-bit embeddings


def test_a_fit_reads_what_was_decided_and_some_of_the_others(
    session: Session, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ten(session)
    every, count = candidate_details.spread(project.database, HEAD, 10**6)
    some, again = candidate_details.spread(project.database, HEAD, count // 3)
    assert again == count
    assert count // 4 <= len(some) <= count // 3
    assert {one.id for one in some} < {one.id for one in every}
    monkeypatch.setattr("owlabel.view.review_decisions.POPULATION", count // 3)
    *_, rows = collect_rows(project, session.models.header)
    assert len(rows.population) == len(some)
    assert rows.candidates == count
    assert (
        dict(zip(rows.ids.tolist(), rows.false.tolist(), strict=True))
        == session.meta_classifier.decisions
    )


def test_a_stored_classifier_that_was_damaged_counts_as_none(
    session: Session, project: Project
) -> None:
    from owlabel.view.review_decisions import classifier_key

    candidate_details.store_judge(
        project.database, classifier_key(HEAD), {"classifier": {"mean": 3}}
    )
    session.queue.read_classifier()
    assert session.queue.classifier is None


def test_masks_survive_packing() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 30), bool)
    mask[3:11, 5:28] = rng.random((8, 23)) < 0.5
    segments = np.zeros((20, 30), np.int32)
    assert candidate_details.put_mask(segments, candidate_details.pack_mask(mask), 7)
    np.testing.assert_array_equal(segments == 7, mask)
    assert not candidate_details.put_mask(segments[:5], candidate_details.pack_mask(mask), 7)
    assert not candidate_details.put_mask(segments, b"", 7)
    with pytest.raises(ValueError, match="empty"):
        candidate_details.pack_mask(np.zeros((2, 2), bool))


def test_the_command_fits_and_measures(session: Session, project: Project) -> None:
    from typer.testing import CliRunner

    from owlabel.cli import app

    folder = str(project.folder)
    few = CliRunner().invoke(app, ["meta", folder])
    assert "too few" in few.stdout, few.output
    ten(session)
    done = CliRunner().invoke(app, ["meta", folder, "--json"])
    found = json.loads(done.stdout)
    assert (found["candidates"], found["real"], found["false"]) == (28, 5, 5)
    assert set(found["held_out"]) == {"one candidate", "one image"}
    assert found["held_out"]["one image"]["auroc"] == 1
    assert "one image" in CliRunner().invoke(app, ["meta", folder]).stdout


def test_what_another_session_decided_is_caught_up_with(session: Session, project: Project) -> None:
    ten(session)
    decide(session, 6, real=True)
    again = Session(project, start_worker=False)
    assert again.queue.classifier.true == 5
    again.meta_classifier.fit_if_outdated()
    assert again.queue.classifier.true == 6
    event = again.queue.event
    again.meta_classifier.fit_if_outdated()
    assert again.queue.event == event


def test_the_queue_looks_further_where_the_best_are_decided(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = session.project.candidates.ranked(HEAD)[0]
    rows = [replace(some, id=1000 - i) for i in range(35)]
    asked: list[int] = []

    def ranked(_head: str, limit: int, to_review: bool) -> list[CandidateRow]:
        assert to_review
        asked.append(limit)
        return rows[:limit]

    monkeypatch.setattr(queue_order, "MIN_SCANNED", 3)
    monkeypatch.setattr(session.project.candidates, "ranked", ranked)
    last = rows[-1].id
    records = {some.image_id: session.record(some.image_id)}
    found = session.queue.ranked(1, records, lambda row, _record: row.id == last, {})
    assert ([item.segment.id for item in found], asked) == ([last], [10, 100])
    found = session.queue.ranked(1, records, lambda *_: False, {})
    assert found == []
