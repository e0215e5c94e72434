"""Looking for a novel class in all images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from owlabel.classes import UNSET
from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.find_novel import RelabelJob
from owlabel.novel import occurrences
from owlabel.ood.candidates import Candidate
from owlabel.project.store import Project

HEAD = "basehead"
DEER = (7, (1.5, 1.5))


def _write(project: Project, image_id: int, deer: bool) -> None:
    """Road (class 0) everywhere; a deer, where wanted, in the upper left quarter of 16 x 24."""
    grid = np.zeros((2, 8, 12), np.float16)
    grid[0] = 3
    if deer:
        grid[:, :4, :6] = 1.5
    project.cache.write(HEAD, project.image(image_id).content_hash, {"embedding": grid})
    candidate = Candidate(0.9, 96, (0, 0, 8, 12), (3, 3), 0, 0.9)
    project.candidates.replace(image_id, HEAD, [candidate])


@pytest.fixture
def embedded(project: Project) -> Project:
    _write(project, 1, deer=True)
    _write(project, 2, deer=False)
    return project


def _run(project: Project, tmp_path: Path, **fields: Any) -> dict[str, Any]:
    job = RelabelJob(**{"head_hash": HEAD, "prototypes": [DEER], "key": "rule", **fields})
    return run_to_end(job.run(JobContext(project.folder, tmp_path)))


def test_the_class_is_found_where_it_is(embedded: Project, tmp_path: Path) -> None:
    result = _run(embedded, tmp_path)
    assert result == {"key": "rule", "found": {"7": 1}}
    assert embedded.occurrences.image_counts("rule") == {7: 1}
    assert embedded.occurrences.scanned("rule") == {1, 2}


def test_what_the_class_explains_leaves_the_queue(embedded: Project, tmp_path: Path) -> None:
    _run(embedded, tmp_path)
    claims = {row.image_id: row.claimed_by for row in embedded.candidates.ranked(HEAD)}
    assert claims == {1: 7, 2: None}
    _run(embedded, tmp_path, prototypes=[], key="none")
    assert {row.claimed_by for row in embedded.candidates.ranked(HEAD)} == {None}


def test_a_smaller_lambda_finds_nothing(embedded: Project, tmp_path: Path) -> None:
    far = [(7, (1.5, 0.5))]
    assert _run(embedded, tmp_path, prototypes=far, lambda_novel=0.5)["found"] == {"7": 0}
    assert _run(embedded, tmp_path, prototypes=far, key="b", lambda_novel=1.5)["found"] == {"7": 1}


def test_the_shots_say_how_large_a_find_must_be(
    embedded: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occurrences, "IMAGE_SHARE", 1)  # so small an image would find anything
    assert _run(embedded, tmp_path, key="no shot")["found"] == {"7": 0}
    shot = np.full((16, 24), UNSET, np.uint8)
    shot[:8, :16] = 7  # 128 pixels: a find must have 32, and the claim has about 96
    with embedded.action("paint", {}, "paint") as action:
        action.set_labels(1, shot)
    assert _run(embedded, tmp_path, key="one shot")["found"] == {"7": 1}


def test_classes_with_a_head_are_counted_too(embedded: Project, tmp_path: Path) -> None:
    for image_id, sofa in ((1, False), (2, True)):
        grid = np.zeros((3, 8, 12), np.float16)
        grid[0] = 3
        if sofa:
            grid[:, 2:6, 2:8] = np.array([0, 0, 3])[:, None, None]
        embedded.cache.write("sofahead", embedded.image(image_id).content_hash, {"embedding": grid})
    heads = [(8, "sofahead")]
    assert _run(embedded, tmp_path, heads=heads)["found"] == {"7": 1, "8": 1}
    assert _run(embedded, tmp_path, heads=heads, prototypes=[], key="b")["found"] == {"8": 1}


def test_an_image_that_a_head_has_not_seen_yet_waits(embedded: Project, tmp_path: Path) -> None:
    assert _run(embedded, tmp_path, heads=[(8, "sofahead")])["found"] == {}
    assert embedded.occurrences.scanned("rule") == set()


def test_it_goes_on_where_it_stopped(embedded: Project, tmp_path: Path) -> None:
    job = RelabelJob(HEAD, [DEER], key="rule")
    steps = job.run(JobContext(embedded.folder, tmp_path))
    next(steps)
    steps.close()
    assert embedded.occurrences.scanned("rule") == {1}
    assert _run(embedded, tmp_path)["found"] == {"7": 1}


def test_the_key_follows_the_rule() -> None:
    first, second = RelabelJob(HEAD, [DEER]), RelabelJob(HEAD, [(7, (1.5, 1.25))])
    assert first.occurrence_key() == RelabelJob(HEAD, [DEER]).occurrence_key()
    assert first.occurrence_key() != second.occurrence_key()
