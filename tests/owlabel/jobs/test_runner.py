"""Running jobs in this process: results, failures, cancel, pre-emption, resume."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest
import torch

from owlabel.jobs import runner as runner_module
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.queue import JobQueue
from owlabel.jobs.runner import Runner, one_line
from owlabel.project.store import Project

pytestmark = pytest.mark.usefixtures("counting")


@pytest.fixture
def runner(project: Project, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(runner_module, "REPORT_SECONDS", 0.0)
    return Runner(project)


def _diary(project: Project) -> list[str]:
    return (project.folder / "diary").read_text().splitlines()


def test_a_job_runs_to_its_result(runner: Runner, queue: JobQueue, project: Project) -> None:
    job_id = queue.submit("count", {"steps": 3})
    assert runner.step()
    row = queue.get(job_id)
    assert (row.state, row.result, row.done, row.total) == ("done", {"began": 0}, 3, 3)
    assert [m.step for m in queue.events(job_id)] == [1, 2, 3]
    assert not (project.folder / "work" / str(job_id)).exists()
    assert not runner.step()


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("count", {"fail_at": 2}, "RuntimeError: cannot count any further"),
        ("count", {"unknown": 2}, "payload does not fit"),
        ("os:system", {}, "unknown kind"),
        ("missing", {}, "unknown kind"),
    ],
)
def test_what_a_job_raises_becomes_one_line(
    runner: Runner, queue: JobQueue, kind: str, payload: dict[str, Any], reason: str
) -> None:
    job_id = queue.submit(kind, payload)
    runner.step()
    row = queue.get(job_id)
    assert row.state == "failed"
    assert reason in str(row.error)
    assert "\n" not in str(row.error)
    assert row.attempts == 1
    assert not runner.step()


def test_a_full_gpu_is_said_with_the_remedy() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. ...")
    assert "start with OWLABEL_DEVICE=cpu" in one_line(error)


def test_after_a_job_the_gpu_memory_is_given_back(
    runner: Runner, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(True))
    queue.submit("count", {"fail_at": 1})
    queue.submit("count", {"steps": 1})
    while runner.step():
        pass
    assert given_back == [True, True]


def test_a_result_that_is_no_json_is_a_failure(
    runner: Runner, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd:
        def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
            yield Progress(1, 1)
            return {"object": object()}

    monkeypatch.setattr(runner_module, "make_job", lambda kind, payload: Odd())
    job_id = queue.submit("odd", {})
    runner.step()
    assert queue.get(job_id).state == "failed"


class _Meddler:
    """A job that does something to the queue at its second step."""

    def __init__(self, act: Any, closed: list[bool]) -> None:
        self.act, self.closed = act, closed

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        try:
            for step in range(5):
                if step == 1:
                    self.act()
                yield Progress(step + 1, 5)
        finally:
            self.closed.append(True)
        return {}


def _meddle(monkeypatch: pytest.MonkeyPatch, act: Any) -> list[bool]:
    closed: list[bool] = []
    real = runner_module.make_job
    meddler = _Meddler(act, closed)
    monkeypatch.setattr(
        runner_module, "make_job", lambda k, p: meddler if k == "meddle" else real(k, p)
    )
    return closed


def test_a_cancelled_job_stops_at_its_next_step(
    runner: Runner, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = queue.submit("meddle", {})
    closed = _meddle(monkeypatch, lambda: queue.cancel(job_id))
    runner.step()
    row = queue.get(job_id)
    assert (row.state, row.done) == ("cancelled", 2)
    assert closed == [True]


def test_a_job_that_another_worker_took_is_dropped(
    runner: Runner, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steal() -> None:
        queue.release(runner.name)
        assert queue.claim("elsewhere:1:1") is not None

    job_id = queue.submit("meddle", {})
    closed = _meddle(monkeypatch, steal)
    runner.step()
    assert queue.get(job_id).state == "running"
    assert queue.get(job_id).done == 1
    assert closed == [True]


def test_an_urgent_job_goes_first_and_the_other_goes_on(
    runner: Runner, queue: JobQueue, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hurry() -> None:
        queue.submit("count", {"name": "same", "steps": 1}, priority=0)
        queue.submit("count", {"name": "urgent", "steps": 2}, priority=1)

    job_id = queue.submit("meddle", {})
    _meddle(monkeypatch, hurry)
    runner.step()
    assert queue.get(job_id).state == "done"
    assert _diary(project) == ["urgent 0", "urgent 1"]  # only the one that may overtake
    runner.step()
    assert _diary(project)[-1] == "same 0"


def test_a_worker_that_shall_stop_stops_at_the_next_step_and_another_resumes(
    project: Project, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    first = Runner(project, stopping)
    job_id = queue.submit("count", {"steps": 4})
    stopping.set()
    first.step()
    assert queue.get(job_id).done == 1
    queue.release(first.name)
    Runner(project).step()
    assert queue.get(job_id).result == {"began": 1}
    assert _diary(project) == [f"count {n}" for n in range(4)]
