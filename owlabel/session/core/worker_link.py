"""The link from a session to its worker process: submit, watch and cancel jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psygnal import Signal

from owlabel.jobs.queue import JobQueue, JobRow
from owlabel.jobs.registry import KINDS
from owlabel.jobs.worker import start_worker
from owlabel.jobs.worker_identity import lives_here
from owlabel.project.store import Project


@dataclass(frozen=True)
class JobChanges:
    """How the jobs have changed since the last check.

    Attributes
    ----------
    rows : tuple of JobRow
        Jobs that were submitted, started, ended or failed.
    kinds : frozenset of str
        Kinds of the jobs with any change, progress included.
    """

    rows: tuple[JobRow, ...]
    kinds: frozenset[str]


class WorkerLink:
    """The jobs of a project, and the worker process that runs them.

    Parameters
    ----------
    project : Project
    runs : bool
        Whether this session has a worker. Without one, jobs wait in the queue.
    """

    changed = Signal()
    """A job was submitted, made progress or ended."""

    def __init__(self, project: Project, *, runs: bool) -> None:
        self._project, self.runs = project, runs
        self._queue = JobQueue(project)
        self._process: subprocess.Popen[bytes] | None = None
        ended = [r for r in self._queue.recent() if r.state not in ("queued", "running")]
        self._seen: dict[int, tuple[Any, ...]] = {r.id: (r.state,) for r in ended}
        self._cancel_foreign_exports()

    def start(self) -> None:
        """Start the worker process if this session has one and it is not running."""
        if self.runs and (self._process is None or self._process.poll() is not None):
            self._process = start_worker(self._project.folder)

    def restart_if_dead(self) -> bool:
        """Start the worker again if it died with jobs left; return whether it was started.

        The queue counts the attempts of each job.
        """
        died = self._process is not None and self._process.poll() is not None
        if died and self._queue.active():
            self.start()
            return True
        return False

    def close(self) -> None:
        """Stop the worker process."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def submit(self, kind: str, payload: Mapping[str, Any], *, first: bool = False) -> int:
        """Submit a job and return its id.

        If `JobKind.replaces` is set, waiting and running jobs of the same kind are cancelled.

        Parameters
        ----------
        kind : str
            A name in `owlabel.jobs.registry.KINDS`.
        payload : mapping
            The fields of the job.
        first : bool
            Whether the project has no result of this kind yet.

        Raises
        ------
        ValueError
            If there is no kind of job with this name.
        """
        job_kind = KINDS.get(kind)
        if job_kind is None:
            raise ValueError(f"there is no kind of job {kind!r}: choose one of {', '.join(KINDS)}")
        if job_kind.replaces:
            for row in self.active(kind):
                self._queue.cancel(row.id)
        job_id = self._queue.submit(kind, dict(payload), priority=job_kind.priority_of(first=first))
        self.start()
        self.changed.emit()
        return job_id

    def relative(self, path: Path) -> str:
        """Return a path relative to the project folder, as jobs store it."""
        return path.relative_to(self._project.folder).as_posix()

    def active(self, kind: str | None = None) -> list[JobRow]:
        """Return the waiting and running jobs, of one kind or of all kinds."""
        return [row for row in self._queue.active() if kind in (None, row.kind)]

    def jobs(self) -> list[JobRow]:
        """Return the jobs of this project, newest first."""
        return self._queue.recent()

    def metrics(self, job_id: int, since: int = 0) -> list[Any]:
        """Return the measures that a job has reported after its event `since`."""
        return self._queue.events(job_id, since)

    def cancel(self, job_id: int) -> None:
        """Cancel a job; it stops at its next step."""
        self._queue.cancel(job_id)
        self.changed.emit()

    def changes(self) -> JobChanges | None:
        """Return how the jobs changed since the last call, or None if nothing changed."""
        rows = self.jobs()
        now = {r.id: (r.state, r.done, r.total, r.message, r.error) for r in rows}
        if now == self._seen:
            return None
        before, self._seen = self._seen, now
        changed = tuple(r for r in rows if r.state != before.get(r.id, (None,))[0])
        return JobChanges(changed, frozenset(r.kind for r in rows if now[r.id] != before.get(r.id)))

    def _cancel_foreign_exports(self) -> None:
        """Cancel exports that no process of this machine waits for: they must not write files."""
        for row in self.active("export"):
            if not lives_here(str(row.payload.get("asked_by", ""))):
                self._queue.cancel(row.id)
