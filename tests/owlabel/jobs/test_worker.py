"""The worker as a process: killed, orphaned, asked to end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from owlabel.jobs import drain as drain_module
from owlabel.jobs.job import Progress
from owlabel.jobs.queue import JobQueue, JobRow
from owlabel.jobs.worker import start_worker
from owlabel.jobs.worker_identity import worker_name
from owlabel.project.store import Project

pytestmark = pytest.mark.usefixtures("counting")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(**options: object) -> subprocess.Popen[bytes]:
        started.append(start_worker(project.folder, **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def _wait_for(queue: JobQueue, job_id: int, ready: Callable[[JobRow], bool]) -> JobRow:
    limit = time.monotonic() + 40
    while not ready(row := queue.get(job_id)):
        assert time.monotonic() < limit, row
        time.sleep(0.02)
    return row


def test_a_killed_worker_s_job_is_resumed_by_the_next(
    queue: JobQueue, project: Project, start: Start
) -> None:
    job_id = queue.submit("count", {"steps": 40, "pause": 0.03})
    worker = start()
    _wait_for(queue, job_id, lambda row: row.done > 3)
    worker.kill()
    worker.wait()
    start()
    row = _wait_for(queue, job_id, lambda row: row.state == "done")
    assert row.attempts == 2
    assert row.result is not None
    assert row.result["began"] > 3
    diary = (project.folder / "diary").read_text().splitlines()
    assert diary == [f"count {n}" for n in range(40)]


@pytest.mark.slow
def test_a_job_that_kills_its_worker_fails_after_three(queue: JobQueue, start: Start) -> None:
    job_id = queue.submit("count", {"die_at": 1})
    for _ in range(3):
        assert start(once=True).wait(30) == 9
    assert start(once=True).wait(30) == 0
    assert queue.get(job_id).state == "failed"


def test_a_running_job_is_cancelled_and_overtaken(
    queue: JobQueue, project: Project, start: Start
) -> None:
    job_id = queue.submit("count", {"steps": 2000, "pause": 0.02})
    worker = start()
    _wait_for(queue, job_id, lambda row: row.done > 0)
    urgent = queue.submit("count", {"name": "urgent", "steps": 1}, priority=9)
    _wait_for(queue, urgent, lambda row: row.state == "done")
    assert queue.get(job_id).state == "running"
    queue.cancel(job_id)
    _wait_for(queue, job_id, lambda row: row.state == "cancelled")
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == 19
    worker.terminate()
    assert worker.wait(5) == 0


@pytest.mark.parametrize("pause", [0.05, 30.0])
def test_a_worker_ends_soon_after_its_owner_and_gives_its_job_back(
    queue: JobQueue, start: Start, pause: float
) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    job_id = queue.submit("count", {"steps": 500, "pause": pause})
    worker = start(owner=owner.pid)
    _wait_for(queue, job_id, lambda row: row.state == "running")
    owner.kill()  # not waited for: a zombie owner is a dead one
    worker.wait(6)
    owner.wait()
    row = queue.get(job_id)
    assert (row.state, row.attempts) == ("queued", 0)


def test_a_worker_s_threads_wait_asleep(project: Project, start: Start) -> None:
    worker = start()
    while "worker begins" not in (project.folder / "worker.log").read_text():
        time.sleep(0.05)
    with open(f"/proc/{worker.pid}/environ") as file:
        assert "OMP_WAIT_POLICY=PASSIVE" in file.read().split("\0")


def test_a_worker_on_a_folder_that_is_no_project_ends_with_a_line(tmp_path: object) -> None:
    worker = start_worker(str(tmp_path), once=True)
    assert worker.wait(30) == 1
    with open(f"{tmp_path}/worker.log") as log:
        assert "not a project" in log.read()


def test_no_worker_is_started_while_another_has_the_only_job(
    queue: JobQueue, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    monkeypatch.setattr(drain_module, "start_worker", lambda folder, once: started.append(folder))
    job_id = queue.submit("counting", {})
    assert queue.claim(worker_name()).id == job_id
    looks = iter(drain_module.drain(project))
    assert next(looks).id == job_id
    queue.report(job_id, worker_name(), [Progress(1, 2, "")])
    assert next(looks).done == 1
    queue.finish(job_id, worker_name(), {})
    assert list(looks) == []
    assert started == []
