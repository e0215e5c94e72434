"""Decide when to fit the meta classifier, which finds false candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.fit_meta_classifier import JudgeJob
from owlabel.project.history.changes_elsewhere import last_event
from owlabel.project.tables.candidate_details import details
from owlabel.session.core.worker_link import WorkerLink
from owlabel.session.review.queue import ReviewQueue
from owlabel.view.review_decisions import MIN_DECISIONS, REFIT_AFTER, HumanLabels, decide
from owlabel.view.view import View


class MetaClassifierFit:
    """Collects the decisions on candidates and submits fits of the classifier.

    Parameters
    ----------
    view : View
    queue : ReviewQueue
        Uses the classifier.
    worker : WorkerLink
    """

    def __init__(self, view: View, queue: ReviewQueue, worker: WorkerLink) -> None:
        self._view, self._queue, self._worker = view, queue, worker
        self.forget()

    def forget(self) -> None:
        """Drop the decisions of this session; another model has other candidates."""
        self._changed: dict[int, dict[int, bool]] = {}  # image id to decisions on its candidates
        self._rows: dict[int, list[int]] = {}  # image id to its candidates

    @property
    def decisions(self) -> dict[int, bool]:
        """Row id of each candidate with a decision, to whether it is false."""
        now = dict(self._queue.decided)
        for image_id, decided in self._changed.items():
            for row_id in self._rows[image_id]:
                now.pop(row_id, None)
            now |= decided
        return now

    @property
    def new_decisions(self) -> int:
        """Number of candidates whose decision has changed since the last fit."""
        fitted, now = self._queue.decided, self.decisions
        return sum(fitted.get(i) != now.get(i) for i in {*fitted, *now})

    @property
    def due(self) -> bool:
        """Whether to fit: once there are enough decisions of each kind, then after every few."""
        false = list(self.decisions.values())
        if min(sum(false), len(false) - sum(false)) < MIN_DECISIONS:
            return False
        classifier = self._queue.classifier
        first = classifier is None or classifier.keeps_all
        return self.new_decisions >= (1 if first else REFIT_AFTER)

    def fit(self) -> None:
        """Fit the classifier to all decisions, in the worker or, without one, at once."""
        job = JudgeJob(self._worker.relative(self._view.model.path))
        if self._worker.runs:
            if not self._worker.active("judge"):
                self._worker.submit("judge", asdict(job))
            return
        folder = self._view.project.folder
        run_to_end(job.run(JobContext(folder, folder)))
        self.use_fitted()

    def fit_if_outdated(self) -> None:
        """Fit again if labels changed in another session or under another model."""
        labelled = any(r.state in ("edited", "reviewed") for r in self._view.images.records)
        if labelled and self._queue.event != last_event(self._view.project.database):
            self.fit()

    def use_fitted(self) -> None:
        """Use the new classifier; items on the screen stay in their places."""
        self._queue.read_classifier()
        self._queue.changed.emit()

    def collect(self, image_ids: Iterable[int]) -> None:
        """Collect the decisions on images whose labels changed; fit again after enough of them."""
        for image_id in sorted(self._view.images.by_id.keys() & set(image_ids)):
            self._collect(image_id)

    def _collect(self, image_id: int) -> None:
        view = self._view
        output = view.output(image_id)
        if output is None:
            return
        head = view.header.heads[0]
        candidates = details(view.project.database, head.hash, image_id)
        frozen = view.project.reviewed(image_id)
        reviewed: Any = None if frozen is None else np.asarray(frozen[0])
        labels = HumanLabels(view.human(image_id), reviewed, head.outputs)
        self._rows[image_id] = [candidate.id for candidate in candidates]
        self._changed[image_id] = decide(candidates, output.embedding, labels)
        if self.due:
            self.fit()
