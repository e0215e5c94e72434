"""A kind of job that a package adds runs in a worker and answers in the session."""

from __future__ import annotations

from typing import Any

import pytest

from owlabel.jobs.drain import drain
from owlabel.jobs.queue import JobQueue
from owlabel.session.session import Session


@pytest.mark.usefixtures("package")
def test_it_runs_in_a_worker_and_its_end_reaches_the_session(toy: Any) -> None:
    session = Session(toy.project, start_worker=False)
    told: list[tuple[str, str]] = []
    session.message.connect(lambda *words: told.append(words))
    queue = JobQueue(toy.project)
    job_id = queue.submit("greet", {"name": "you"})
    assert queue.get(job_id).priority == 7
    list(drain(toy.project))
    row = queue.get(job_id)
    assert (row.state, row.result) == ("done", {"words": "hello you"}), row.error
    session.poll()
    assert told == [("info", f"hello you from job {job_id}")]
    session.poll()
    assert len(told) == 1


def test_without_its_package_a_job_fails_in_words(toy: Any) -> None:
    session = Session(toy.project, start_worker=False)
    told: list[tuple[str, str]] = []
    session.message.connect(lambda *words: told.append(words))
    job_id = JobQueue(toy.project).submit("greet", {"name": "you"})
    list(drain(toy.project))
    session.poll()
    assert JobQueue(toy.project).get(job_id).state == "failed"
    assert [kind for kind, _ in told] == ["error"]
    assert "unknown kind of job: 'greet'" in told[0][1]
