"""Decide when to search the whole data set for the novel classes."""

from __future__ import annotations

from typing import Any

from owlabel.session.core.worker_link import WorkerLink
from owlabel.session.review.queue import ReviewQueue
from owlabel.view.view import View


class NovelSearch:
    """Submits searches that apply the rule for novel classes to every image.

    Parameters
    ----------
    view : View
    queue : ReviewQueue
        The classes claim its candidates.
    worker : WorkerLink
    """

    def __init__(self, view: View, queue: ReviewQueue, worker: WorkerLink) -> None:
        self._view, self._queue, self._worker = view, queue, worker
        shots = view.shots
        self.wanted = bool(shots.rule.prototypes or shots.trained_heads)

    def take_due(self) -> dict[str, Any] | None:
        """Return the payload of a search once after the rule has changed, else None.

        Without any novel class, clear the claims on candidates instead.
        """
        wanted, self.wanted = self.wanted, False
        return self._take_payload() if wanted and not self._view.shots.occurrences else None

    def submit(self) -> None:
        """Submit a search, or clear the claims on candidates if there is no novel class."""
        payload = self._take_payload()
        if payload is not None:
            self._worker.submit("relabel", payload)

    def _take_payload(self) -> dict[str, Any] | None:
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
        self._queue.clear_claims()
        self._queue.changed.emit()
        return None
