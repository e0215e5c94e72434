"""When the usual scores of the data set are looked for again, in the background."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

from owlabel.jobs.queue import JobQueue
from owlabel.ood.calibration import Basis
from owlabel.session.edits.labels import Editor

FIRST_FROM = 4
"""Pictures that are embedded before the first calibration, unless there are no more."""
EVERY = 2.0
"""Seconds between two looks whether the scale is still good."""


class Calibrating(Editor):
    """An editor that keeps the scale of its scores up to date; `Session` has the worker."""

    _jobs: JobQueue
    _with_worker: bool
    _scale_looked = 0.0

    def _submit(self, kind: str, payload: dict[str, Any], *, first: bool = False) -> int:
        """Queue a job."""
        raise NotImplementedError

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.project.folder).as_posix()

    def submit_calibration(self, *, always: bool = False) -> None:
        """Queue a job, where one is due: find the usual scores of the data set.

        Parameters
        ----------
        always : bool
            Also where little has changed since.
        """
        embedded, total = self.progress
        reviewed = sum(r.state == "reviewed" for r in self.records)
        first = self.scoring.calibrations is None
        few = first and embedded < min(FIRST_FROM, total)
        due = self.scoring.due(Basis(embedded, reviewed), total) and not few
        if embedded and (due or always):
            payload = {"checkpoint": self._relative(self.model.path)}
            self._submit("calibrate", payload, first=first)

    def _calibrate_if_due(self) -> None:
        """Look every few seconds whether the scale of the scores is still good."""
        if not self._with_worker or monotonic() - self._scale_looked < EVERY:
            return
        self._scale_looked = monotonic()
        if not any(row.kind == "calibrate" for row in self._jobs.active()):
            self.submit_calibration()
