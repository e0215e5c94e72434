"""Runs jobs one step at a time and handles progress, cancelling, pre-emption and failure."""

from __future__ import annotations

import gc
import logging
import shutil
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from owlabel.jobs.job import Job, JobContext, Progress
from owlabel.jobs.queue import CANCELLED, FAILED, JobQueue, JobRow
from owlabel.jobs.registry import KINDS, imported
from owlabel.jobs.worker_identity import worker_name
from owlabel.project.store import Project, ProjectError

REPORT_SECONDS = 0.2
"""Seconds between two writes of progress, with a check for cancelling and pre-emption."""
GPU_IS_FULL = (
    "the memory of the GPU is full: close other programs that use it, choose smaller crops or "
    "batches, or start with OWLABEL_DEVICE=cpu"
)
_log = logging.getLogger("owlabel.worker")
Steps = Generator[Progress, None, dict[str, Any]]


def make_job(kind: str, payload: dict[str, Any]) -> Job:
    """Return the job of a queue row.

    Raises
    ------
    ValueError
        If the kind is unknown or the payload does not fit it.
    """
    known = KINDS.get(kind)
    if known is None:
        raise ValueError(
            f"unknown kind of job: {kind!r}; the package that adds it is missing or broken"
        )
    make = imported(known.target)
    try:
        job: Job = make(**payload)
    except TypeError as error:
        raise ValueError(f"the payload does not fit a {kind} job: {error}") from error
    return job


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters; unexpected errors get their type."""
    text = " ".join(str(error).split()) or type(error).__name__
    if type(error).__name__ == "OutOfMemoryError":  # of torch, which may not be installed
        return GPU_IS_FULL
    known = isinstance(error, ValueError | OSError)
    return (text if known else f"{type(error).__name__}: {text}")[:300]


def _free_gpu_memory() -> None:
    """Free the GPU memory that the models of a job used."""
    torch = sys.modules.get("torch")  # only a job imports it
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


class Runner:
    """Runs the jobs of a project in this thread.

    Parameters
    ----------
    project : Project
        The open project.
    stopping : threading.Event
        Another thread sets it to end the worker at the next step.
    """

    def __init__(self, project: Project, stopping: threading.Event | None = None) -> None:
        self.queue = JobQueue(project)
        self.name = worker_name()
        self._folder = project.folder
        self._stopping = stopping or threading.Event()
        self._depth = 0

    @property
    def busy(self) -> bool:
        """Whether at least one job is running."""
        return self._depth > 0

    def step(self, above: int | None = None) -> bool:
        """Claim one job and run it to its end; return False if no job was waiting.

        Parameters
        ----------
        above : int or None
            Take only a job of a higher priority than this.
        """
        row = self.queue.claim(self.name, above)
        if row is None:
            return False
        self._depth += 1
        try:
            self._run(row)
        finally:
            self._depth -= 1
        return True

    def _work(self, job_id: int) -> Path:
        return self._folder / "work" / str(job_id)

    def _run(self, row: JobRow) -> None:
        """Run one job; an error marks it as failed."""
        _log.info("job %d (%s) begins, attempt %d", row.id, row.kind, row.attempts)
        try:
            work = self._work(row.id)
            work.mkdir(parents=True, exist_ok=True)
            job = make_job(row.kind, dict(row.payload))
            self._drive(row, job.run(JobContext(self._folder, work)))
        except (Exception, SystemExit) as error:  # noqa: BLE001
            _log.exception("job %d (%s) failed", row.id, row.kind)
            self._try_to_end(row, one_line(error))
        finally:
            _free_gpu_memory()

    def _try_to_end(self, row: JobRow, reason: str) -> None:
        """Mark a job as failed; try again if the database cannot be written (a full disk)."""
        for pause in (0.0, 1.0, 5.0):
            time.sleep(pause)
            try:
                self.queue.end(row.id, self.name, FAILED, reason)
                shutil.rmtree(self._work(row.id), ignore_errors=True)
                return
            except ProjectError as error:
                _log.warning("job %d: %s", row.id, error)

    def _drive(self, row: JobRow, steps: Steps) -> None:
        """Take steps until the job is done, cancelled or lost, or the worker must stop."""
        waiting: list[Progress] = []
        reported = 0.0
        try:
            while True:
                try:
                    waiting.append(next(steps))
                except StopIteration as end:
                    self._done(row, waiting, end.value)
                    return
                if self._stopping.is_set():
                    self.queue.report(row.id, self.name, waiting)
                    return  # the worker releases all its jobs
                if time.monotonic() - reported >= REPORT_SECONDS:
                    if not self._report(row, waiting):
                        return
                    waiting, reported = [], time.monotonic()
        finally:
            steps.close()

    def _report(self, row: JobRow, waiting: list[Progress]) -> bool:
        """Store progress and run more urgent jobs first; return False if this job must stop."""
        answer = self.queue.report(row.id, self.name, waiting)
        if answer == "cancel":
            self.queue.end(row.id, self.name, CANCELLED)
            shutil.rmtree(self._work(row.id), ignore_errors=True)
            _log.info("job %d cancelled", row.id)
        if answer == "lost":
            _log.warning("job %d now belongs to another worker", row.id)
        if answer != "run":
            return False
        while not self._stopping.is_set() and self.step(above=row.priority):
            pass
        return True

    def _done(self, row: JobRow, waiting: list[Progress], result: Any) -> None:
        if waiting:
            self.queue.report(row.id, self.name, waiting)
        self.queue.finish(row.id, self.name, result or {})
        shutil.rmtree(self._work(row.id), ignore_errors=True)
        _log.info("job %d done", row.id)
