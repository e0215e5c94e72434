"""When the novel classes are searched for in the whole data set."""

from __future__ import annotations

from typing import Any

from owlabel.session.core.worker_link import WorkerLink
from owlabel.session.review.queue import ReviewQueue
from owlabel.view.view import View


class NovelSearch:
    """Has the worker apply the rule for novel classes to every image.

    Parameters
    ----------
    view : View
    queue : ReviewQueue
        Its candidates are claimed by the classes that explain them.
    worker : WorkerLink
    """

    def __init__(self, view: View, queue: ReviewQueue, worker: WorkerLink) -> None:
        self._view, self._queue, self._worker = view, queue, worker
        shots = view.shots
        self.wanted = bool(shots.rule.prototypes or shots.trained_heads)

    def due(self) -> dict[str, Any] | None:
        """Return the payload of a search where the rule changed and is new, else None."""
        wanted, self.wanted = self.wanted, False
        return self._payload() if wanted and not self._view.shots.occurrences else None

    def submit(self) -> None:
        """Queue a search; without any novel class, forget what candidates were claimed by."""
        payload = self._payload()
        if payload is not None:
            self._worker.submit("relabel", payload)

    def _payload(self) -> dict[str, Any] | None:
        shots = self._view.shots
        prototypes = [[p.class_id, p.vector.tolist()] for p in shots.rule.prototypes]
        if prototypes or shots.trained_heads:
            return {
                "head_hash": self._view.header.heads[0].hash,
                "prototypes": prototypes,
                "key": shots.key,
                "lambda_novel": shots.lambda_novel,
                "heads": shots.trained_heads,
            }
        self._queue.forget_claims()
        self._queue.changed.emit()
        return None
