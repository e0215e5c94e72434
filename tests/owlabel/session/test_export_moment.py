"""An export holds what stood when it began, and all that was reviewed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.export import ExportJob
from owlabel.project.store import Project
from owlabel.session.session import Session

CENTRE = (24, 34)


def begun(session: Session, folder: Path, **fields: Any) -> Generator[Any, None, dict[str, Any]]:
    context = JobContext(session.project.folder, session.project.folder)
    return ExportJob(str(folder), **fields).run(context)


def review_all(session: Session) -> None:
    for record in session.records:
        session.go_to(record.id)
        session.labels.review()


@pytest.mark.parametrize("loss", ["another model", "no cache"])
def test_reviewed_pictures_need_no_model(
    session: Session, stranger: Path, tmp_path: Path, loss: str
) -> None:
    review_all(session)
    before = run_to_end(begun(session, tmp_path / "a"))
    if loss == "another model":
        session.models.switch(session.project.add_model(stranger, "other", "base", None, {}).id)
    else:
        shutil.rmtree(session.project.folder / "cache")
    after = run_to_end(begun(session, tmp_path / "b"))
    assert before["images"] == after["images"] == 4
    maps = [sorted((tmp_path / name).rglob("*.png")) for name in "ab"]
    same = [a.read_bytes() == b.read_bytes() for a, b in zip(*maps, strict=True)
            if "provenance" not in a.parts]  # fmt: skip
    assert same
    assert all(same)


def test_what_is_done_meanwhile_is_not_in_it(session: Session, tmp_path: Path) -> None:
    review_all(session)
    second, last = session.records[1], session.records[-1]
    steps = begun(session, tmp_path / "a")
    next(steps)
    session.go_to(last.id)
    painted = session.labels.human().copy()
    painted[:4] = 1
    session.labels.paint(painted)  # reopens it
    session.go_to(second.id)
    session.labels.click(*CENTRE)
    session.labels.accept("deer")  # a class that the export does not know
    session.labels.review()
    assert run_to_end(steps)["images"] == 4
    card = json.loads(next((tmp_path / "a" / "provenance").rglob("empty_2.json")).read_text())
    assert card["state"] == "reviewed"
    assert run_to_end(begun(session, tmp_path / "b", which="all"))["images"] == 4
    with Project.open(session.project.folder) as project:
        assert (project.human_labels(last.id)[:4] == 1).all()


def test_nothing_to_export_is_said_before(session: Session, tmp_path: Path) -> None:
    shutil.rmtree(session.project.folder / "cache")
    with pytest.raises(ValueError, match="no image has labels yet"):
        ExportJob(str(tmp_path / "a"), which="all").check(session.project)
    session.labels.paint(np.ones_like(session.labels.human()))
    ExportJob(str(tmp_path / "a"), which="all").check(session.project)
