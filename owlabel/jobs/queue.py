"""The queue of jobs in a project's database: submit, claim, report, cancel and release jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from owlabel.jobs.job import Progress
from owlabel.jobs.registry import KINDS
from owlabel.jobs.worker_identity import is_alive
from owlabel.project.storage.schema import JobEntry, JobMetricRow
from owlabel.project.store import Project

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STALE_SECONDS = 10.0
"""A running job whose worker is silent for this long goes to another worker."""
MAX_ATTEMPTS = 3
"""Attempts at a job whose worker dies; a job that raises an error is not tried again."""


@dataclass(frozen=True)
class JobRow:
    """One job in the queue.

    Attributes
    ----------
    id : int
        Grows with every submitted job.
    kind : str
        A key of `owlabel.jobs.registry.KINDS`.
    state : str
        "queued", "running", "done", "failed" or "cancelled".
    done, total : int
        Steps done and in total; `total` is 0 while it is unknown.
    message : str
        One line for the annotator.
    result : dict or None
        The result of a finished job.
    error : str or None
        Why it failed, in one line.
    payload : mapping
        The job's fields.
    priority : int
        Jobs of a higher priority run first.
    attempts : int
        How often a worker claimed it.
    created, started, finished : float or None
        Seconds since 1970, UTC.
    eta_s : float or None
        Estimated seconds left, None while unknown; ignored by ``==``.
    cancelling : bool
        Whether somebody asked it to stop.
    """

    id: int
    kind: str
    state: str
    done: int
    total: int
    message: str
    result: dict[str, Any] | None
    error: str | None
    payload: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    attempts: int = 0
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    eta_s: float | None = field(default=None, compare=False)  # changes with the clock
    cancelling: bool = False


@dataclass(frozen=True)
class JobMetric:
    """Numbers of one step of a job; pass `id` as `since` to get later ones."""

    id: int
    step: int
    time: float
    metrics: Mapping[str, float]


class JobQueue:
    """The jobs of one project; any process may submit, watch and cancel them.

    Parameters
    ----------
    project : Project
        The open project.
    """

    def __init__(self, project: Project) -> None:
        self._database = project.database

    # -- for submitting processes ----------------------------------------------------------------

    def submit(self, kind: str, payload: Mapping[str, Any], priority: int | None = None) -> int:
        """Add a job to the queue and return its id; the job is on disk when this returns.

        Parameters
        ----------
        kind : str
        payload : mapping
        priority : int, optional
            Jobs of a higher priority run first; the kind's priority by default.

        Raises
        ------
        ValueError
            If the payload is not plain JSON.
        """
        try:
            plain = json.loads(json.dumps(dict(payload), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the payload of a {kind} job must be JSON: {error}") from error
        if priority is None:
            known = KINDS.get(kind)
            priority = 0 if known is None else known.priority
        with self._database.writing() as session:
            row = JobEntry(
                kind=kind,
                payload=plain,
                priority=priority,
                state=QUEUED,
                cancel=False,
                attempts=0,
                done=0,
                total=0,
                message="",
                result=None,
                created=time.time(),
            )
            session.add(row)
            session.flush()
            return row.id

    def get(self, job_id: int) -> JobRow:
        """Return one job; raises ValueError if no job has this id."""
        with self._database.reading() as session:
            return _as_row(_entry(session, job_id))

    def active(self) -> list[JobRow]:
        """Return the jobs that are queued or running, in the order in which they will run."""
        query = (
            select(JobEntry)
            .where(JobEntry.state.in_((QUEUED, RUNNING)))
            .order_by(JobEntry.state.desc(), JobEntry.priority.desc(), JobEntry.id)
        )
        with self._database.reading() as session:
            return [_as_row(entry) for entry in session.scalars(query)]

    def recent(self, limit: int = 50) -> list[JobRow]:
        """Return the newest jobs, all active jobs, and the newest job of each kind and state.

        Newest first.  So automatic jobs do not push a training out of the list.
        """
        by_kind = select(func.max(JobEntry.id)).group_by(JobEntry.kind, JobEntry.state)
        newest = select(JobEntry.id).order_by(JobEntry.id.desc()).limit(limit)
        active = select(JobEntry.id).where(JobEntry.state.in_((QUEUED, RUNNING)))
        with self._database.reading() as session:
            ids = {i for query in (by_kind, newest, active) for i in session.scalars(query)}
            query = select(JobEntry).where(JobEntry.id.in_(ids)).order_by(JobEntry.id.desc())
            return [_as_row(entry) for entry in session.scalars(query)]

    def cancel(self, job_id: int) -> None:
        """Cancel a job: at once if it is queued, at its next step if it is running."""
        with self._database.writing() as session:
            entry = _entry(session, job_id)
            if entry.state == QUEUED:
                entry.state, entry.finished = CANCELLED, time.time()
            elif entry.state == RUNNING:
                entry.cancel = True

    def events(self, job_id: int, since: int = 0) -> list[JobMetric]:
        """Return the numbers that a job reported after the metric with the id `since`."""
        query = (
            select(JobMetricRow)
            .where(JobMetricRow.job_id == job_id, JobMetricRow.id > since)
            .order_by(JobMetricRow.id)
        )
        with self._database.reading() as session:
            rows = list(session.scalars(query))
        return [JobMetric(row.id, row.step, row.time, row.metrics) for row in rows]

    # -- for workers -----------------------------------------------------------------------------

    def claim(self, worker: str, above: int | None = None) -> JobRow | None:
        """Take the next job; None if there is none.

        Parameters
        ----------
        worker : str
            Name of the worker, see `owlabel.jobs.worker_identity.worker_name`.
        above : int or None
            Take only a job of a higher priority than this.
        """
        if not self.claimable(above):
            return None
        with self._database.writing() as session:
            self._take_back_lost(session)
            entry = session.scalars(_next(above)).first()
            if entry is None:
                return None
            now = time.time()
            entry.state, entry.worker, entry.heartbeat = RUNNING, worker, time.monotonic()
            entry.attempts += 1
            entry.started, entry.started_done = now, None
            session.flush()
            return _as_row(entry)

    def claimable(self, above: int | None = None) -> bool:
        """Return whether `claim` could succeed, without taking the write lock."""
        with self._database.reading() as session:
            if session.scalars(_next(above)).first() is not None:
                return True
            return any(_is_lost(e) for e in session.scalars(_running()))

    def _take_back_lost(self, session: Session) -> None:
        for entry in list(session.scalars(_running())):
            if not _is_lost(entry):
                continue
            if entry.cancel:
                entry.state, entry.finished = CANCELLED, time.time()
            elif entry.attempts >= MAX_ATTEMPTS:
                entry.state, entry.finished = FAILED, time.time()
                entry.error = f"the worker died {entry.attempts} times while it ran this job"
            else:
                entry.state, entry.worker = QUEUED, None
        session.flush()

    def heartbeat(self, worker: str) -> None:
        """Store that a worker and all its jobs are alive."""
        with self._database.writing() as session:
            for entry in session.scalars(_running(worker)):
                entry.heartbeat = time.monotonic()

    def report(self, job_id: int, worker: str, steps: Sequence[Progress]) -> str:
        """Store progress, oldest step first; return "run", "cancel" or "lost".

        "lost" means that another worker has the job now: stop without changing its state.
        """
        with self._database.writing() as session:
            entry = _entry(session, job_id)
            if entry.worker != worker or entry.state != RUNNING:
                return "lost"
            entry.heartbeat = time.monotonic()
            for step in steps:
                _store_step(session, entry, step)
            return "cancel" if entry.cancel else "run"

    def finish(self, job_id: int, worker: str, result: Mapping[str, Any]) -> None:
        """Store the result; raises ValueError unless it is plain JSON."""
        plain = json.loads(json.dumps(dict(result)))
        with self._database.writing() as session:
            entry = _entry(session, job_id)
            if entry.worker == worker and entry.state == RUNNING:
                entry.state, entry.result, entry.finished = DONE, plain, time.time()
                entry.done = max(entry.done, entry.total)

    def end(self, job_id: int, worker: str, state: str, error: str | None = None) -> None:
        """Mark a job as failed, with a one-line reason, or as cancelled."""
        with self._database.writing() as session:
            entry = _entry(session, job_id)
            if entry.worker == worker and entry.state == RUNNING:
                entry.state, entry.error, entry.finished = state, error, time.time()

    def release(self, worker: str) -> None:
        """Put all running jobs of a worker back into the queue without counting an attempt."""
        with self._database.writing() as session:
            for entry in list(session.scalars(_running(worker))):
                entry.state, entry.worker = QUEUED, None
                entry.attempts -= 1
                if entry.cancel:
                    entry.state, entry.finished = CANCELLED, time.time()


def _entry(session: Session, job_id: int) -> JobEntry:
    entry = session.get(JobEntry, job_id)
    if entry is None:
        raise ValueError(f"no job has the id {job_id}")
    return entry


def _next(above: int | None) -> Any:
    query = select(JobEntry).where(JobEntry.state == QUEUED)
    if above is not None:
        query = query.where(JobEntry.priority > above)
    return query.order_by(JobEntry.priority.desc(), JobEntry.id).limit(1)


def _running(worker: str | None = None) -> Any:
    query = select(JobEntry).where(JobEntry.state == RUNNING)
    return query if worker is None else query.where(JobEntry.worker == worker)


def _is_lost(entry: JobEntry) -> bool:
    """Return whether a running job has lost its worker: it is silent or its process is gone."""
    # all processes of a machine share the monotonic clock, and nobody can set it; it restarts at a
    # reboot, which also ends every worker
    silent = abs(time.monotonic() - (entry.heartbeat or 0.0)) > STALE_SECONDS
    return silent or not is_alive(entry.worker or "")


def _store_step(session: Session, entry: JobEntry, step: Progress) -> None:
    if entry.started_done is None and step.done > 0:  # loading does not count for the pace
        entry.started_done, entry.started = step.done, time.time()
    entry.done, entry.total = step.done, step.total
    entry.message = step.message or entry.message
    if step.metrics:
        metrics = {str(k): float(v) for k, v in step.metrics.items()}
        session.add(
            JobMetricRow(job_id=entry.id, step=step.done, time=time.time(), metrics=metrics)
        )


def _as_row(entry: JobEntry) -> JobRow:
    return JobRow(
        id=entry.id,
        kind=entry.kind,
        state=entry.state,
        done=entry.done,
        total=entry.total,
        message=entry.message,
        result=entry.result,
        error=entry.error,
        payload=entry.payload,
        priority=entry.priority,
        attempts=entry.attempts,
        created=entry.created,
        started=entry.started,
        finished=entry.finished,
        eta_s=_eta(entry),
        cancelling=entry.cancel and entry.state == RUNNING,
    )


def _eta(entry: JobEntry) -> float | None:
    """Return the seconds left at the pace of this attempt, or None if unknown."""
    if entry.state != RUNNING or entry.started is None or entry.started_done is None:
        return None
    steps = entry.done - entry.started_done
    if steps <= 0 or entry.total <= entry.done:
        return None
    pace = max(time.time() - entry.started, 0.0) / steps
    return pace * (entry.total - entry.done)
