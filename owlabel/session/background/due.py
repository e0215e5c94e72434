"""Jobs that a session submits by itself: each says when it is due, one loop asks them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from owlabel.session.core.worker_link import WorkerLink

Payload = dict[str, Any]


@dataclass
class Due:
    """One kind of job that follows from what is known of the project.

    Attributes
    ----------
    kind : str
        A name in `owlabel.jobs.registry.KINDS`.
    payload : callable
        Returns the fields of the job where it is due, else None.
    every : float
        Seconds between two questions.
    first : callable
        Tells whether the project has no result of this kind yet.
    """

    kind: str
    payload: Callable[[], Payload | None]
    every: float = 0.0
    first: Callable[[], bool] = lambda: False
    asked: float = 0.0


def submit_due(dues: Sequence[Due], worker: WorkerLink) -> None:
    """Submit the jobs that are due and not in the queue already."""
    for due in dues:
        if due.every and monotonic() - due.asked < due.every:
            continue
        due.asked = monotonic()
        payload = due.payload()
        if payload is not None:
            worker.submit(due.kind, payload, first=due.first())
