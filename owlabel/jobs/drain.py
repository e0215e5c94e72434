"""Run all queued jobs of a project to their end, without a window."""

from __future__ import annotations

import time
from collections.abc import Iterator

from owlabel.jobs.queue import JobQueue, JobRow
from owlabel.jobs.worker import start_worker
from owlabel.project.store import Project

LOOK_SECONDS = 0.1


def drain(project: Project) -> Iterator[JobRow]:
    """Start a worker that ends when no job is left, and yield each change of a job's row.

    If a window's worker also runs on the project, either worker may run the jobs.

    Raises
    ------
    ValueError
        If the worker fails while jobs are left; its log has the reason.
    """
    queue = JobQueue(project)
    seen: dict[int, JobRow] = {}
    while queue.active():
        worker = start_worker(project.folder, once=True) if queue.claimable() else None
        while True:
            time.sleep(LOOK_SECONDS)
            for row in queue.active():
                if seen.get(row.id) != row:
                    seen[row.id] = row
                    yield row
            if worker is None or worker.poll() is not None:
                break
        if worker is not None and worker.returncode:
            raise ValueError(
                f"the worker of {project.folder} ended with exit code {worker.returncode}: see "
                "worker.log there"
            )
