"""The queue: order, claims, lost workers, cancel, progress."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from owlabel.jobs import queue as queue_module
from owlabel.jobs.job import Progress
from owlabel.jobs.queue import CANCELLED, FAILED, JobQueue
from owlabel.jobs.worker_identity import is_alive, lives_here, started_at, worker_name

ME = worker_name()
DEAD = ME.rpartition(":")[0] + ":1"  # this process's number, begun at another time


def test_a_job_is_stored_as_submitted(queue: JobQueue) -> None:
    row = queue.get(queue.submit("count", {"steps": 3}, priority=2))
    assert (row.kind, row.state, row.payload, row.priority) == ("count", "queued", {"steps": 3}, 2)
    assert queue.active() == [row]


def test_payloads_that_are_no_json_are_refused(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="JSON"):
        queue.submit("count", {"path": Path("x")})


def test_the_highest_priority_goes_first_then_the_oldest(queue: JobQueue) -> None:
    a, b, c = (queue.submit("count", {}, priority=p) for p in (0, 5, 5))
    claimed = [queue.claim(ME) for _ in range(3)]
    assert [row.id for row in claimed if row] == [b, c, a]
    assert queue.claim(ME) is None


def test_only_a_higher_priority_overtakes(queue: JobQueue) -> None:
    queue.submit("count", {}, priority=3)
    assert queue.claim(ME, above=3) is None
    assert queue.claim(ME, above=2) is not None


def test_a_queued_job_is_cancelled_at_once_a_running_one_is_asked(queue: JobQueue) -> None:
    first, second = queue.submit("count", {}), queue.submit("count", {})
    queue.cancel(second)
    assert queue.get(second).state == CANCELLED
    queue.claim(ME)
    queue.cancel(first)
    assert queue.get(first).cancelling
    assert queue.report(first, ME, [Progress(1, 3)]) == "cancel"


def test_progress_and_numbers_are_kept_in_order(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    queue.claim(ME)
    queue.report(job_id, ME, [Progress(1, 4, "a", {"loss": 0.5}), Progress(2, 4, "b")])
    queue.report(job_id, ME, [Progress(3, 4, "c", {"loss": 0.25})])
    metrics = queue.events(job_id)
    assert [(m.step, m.metrics) for m in metrics] == [(1, {"loss": 0.5}), (3, {"loss": 0.25})]
    assert [m.step for m in queue.events(job_id, since=metrics[0].id)] == [3]
    row = queue.get(job_id)
    assert (row.done, row.total, row.message) == (3, 4, "c")
    assert row.eta_s is not None
    assert row.eta_s >= 0


def test_the_time_left_is_known_from_the_second_step_on(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    queue.claim(ME)
    for done, known in ((0, False), (5, False), (6, True), (10, False)):
        queue.report(job_id, ME, [Progress(done, 10)])
        assert (queue.get(job_id).eta_s is not None) == known


def test_a_job_whose_worker_is_gone_is_given_to_another(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    queue.claim(DEAD)
    row = queue.claim(ME)
    assert row is not None
    assert (row.id, row.attempts) == (job_id, 2)
    assert queue.report(job_id, DEAD, [Progress(1, 2)]) == "lost"
    queue.finish(job_id, DEAD, {"from": "the dead"})
    assert queue.get(job_id).state == "running"


def test_a_living_worker_keeps_its_job_while_its_heart_beats(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.submit("count", {})
    queue.claim(ME)
    assert queue.claim("elsewhere:1:1") is None
    monkeypatch.setattr(queue_module, "STALE_SECONDS", 0.05)
    time.sleep(0.1)
    queue.heartbeat(ME)
    assert queue.claim("elsewhere:1:1") is None
    time.sleep(0.1)
    assert queue.claim("elsewhere:1:1") is not None


def test_a_job_that_kills_three_workers_has_failed(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    for _ in range(3):
        assert queue.claim(DEAD) is not None
    assert queue.claim(DEAD) is None
    row = queue.get(job_id)
    assert row.state == FAILED
    assert "died 3 times" in str(row.error)


def test_a_job_given_back_costs_no_attempt(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    for _ in range(5):
        queue.claim(ME)
        queue.release(ME)
    row = queue.get(job_id)
    assert (row.state, row.attempts) == ("queued", 0)


def test_a_cancelled_job_of_a_lost_worker_stays_cancelled(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    queue.claim(DEAD)
    queue.cancel(job_id)
    assert queue.claim(ME) is None
    assert queue.get(job_id).state == CANCELLED


def test_an_ended_job_stays_as_it_ended(queue: JobQueue) -> None:
    job_id = queue.submit("count", {})
    queue.claim(ME)
    queue.finish(job_id, ME, {"n": 1})
    queue.end(job_id, ME, FAILED, "late")
    queue.cancel(job_id)
    row = queue.get(job_id)
    assert (row.state, row.result, row.error) == ("done", {"n": 1}, None)
    assert queue.active() == []
    assert queue.recent() == [row]


def test_a_training_is_not_pushed_out_of_sight(queue: JobQueue) -> None:
    running = queue.submit("plm", {}, priority=9)
    assert queue.claim(worker_name()).id == running
    waiting = queue.submit("ood", {})
    others = [queue.submit("relabel", {}, priority=5) for _ in range(60)]
    assert [row.id for row in queue.recent(2)] == [*reversed(others), waiting, running]
    for job_id in others:
        queue.cancel(job_id)
    assert {row.id for row in queue.recent(2)} == {*others[-2:], waiting, running}
    queue.finish(running, worker_name(), {})
    assert [(row.id, row.state) for row in queue.recent(2)][-1] == (running, "done")


def test_an_unknown_job_is_named(queue: JobQueue) -> None:
    with pytest.raises(ValueError, match="17"):
        queue.get(17)


def test_a_process_is_alive_only_under_its_own_start() -> None:
    assert is_alive(ME)
    assert not is_alive(DEAD)
    assert is_alive("another-machine:1:1")
    assert not is_alive("")
    assert lives_here(ME)
    for name in (DEAD, "another-machine:1:1", "", "x", ME.removesuffix(ME[-1])):
        assert not lives_here(name)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux only")
def test_a_start_is_given_in_the_ticks_that_older_versions_stored() -> None:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert started_at(os.getpid()) == fields[19]


def test_a_zombie_and_an_id_out_of_range_have_no_start() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()  # ends with the process, which nobody has waited for yet
        deadline = time.monotonic() + 10
        while started_at(process.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert started_at(process.pid) is None
    for pid in (0, -1, 10**20):
        assert started_at(pid) is None
