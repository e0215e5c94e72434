"""The loop that submits the background jobs of a session when they are due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from owlabel.session.core.worker_link import WorkerLink

Payload = dict[str, Any]


@dataclass
class Due:
    """One kind of job that a session submits when the state of the project requires it.

    Attributes
    ----------
    kind : str
        A name in `owlabel.jobs.registry.KINDS`.
    payload : callable
        Returns the fields of the job if it is due, else None.
    every : float
        Smallest time in seconds between two checks.
    first : callable
        Returns whether the project has no result of this kind yet.
    """

    kind: str
    payload: Callable[[], Payload | None]
    every: float = 0.0
    first: Callable[[], bool] = lambda: False
    checked: float = 0.0


def submit_due(dues: Sequence[Due], worker: WorkerLink) -> None:
    """Submit the jobs that are due; skip those that were checked a short time ago."""
    for due in dues:
        if due.every and monotonic() - due.checked < due.every:
            continue
        due.checked = monotonic()
        payload = due.payload()
        if payload is not None:
            worker.submit(due.kind, payload, first=due.first())
