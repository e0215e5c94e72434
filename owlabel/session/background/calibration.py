"""When the scores are calibrated over the data set again."""

from __future__ import annotations

from typing import Any

from owlabel.ood.calibration import Basis
from owlabel.session.core.worker_link import WorkerLink
from owlabel.view.score_maps import ScoreMaps
from owlabel.view.view import View

FIRST_FROM = 4
"""Images that are embedded before the first calibration, unless there are no more."""


class CalibrationSchedule:
    """Decides when calibration is due: after a few images, and when much has changed since.

    Parameters
    ----------
    view : View
    scores : ScoreMaps
    worker : WorkerLink
    """

    def __init__(self, view: View, scores: ScoreMaps, worker: WorkerLink) -> None:
        self._view, self._scores, self._worker = view, scores, worker

    @property
    def first(self) -> bool:
        """Whether the scores were never calibrated."""
        return self._scores.calibrations is None

    def due(self, *, always: bool = False) -> dict[str, Any] | None:
        """Return the payload of a calibration where one is due, else None.

        Parameters
        ----------
        always : bool
            Also where little has changed since the last one.
        """
        embedded, total = self._view.progress
        reviewed = sum(r.state == "reviewed" for r in self._view.images.records)
        few = self.first and embedded < min(FIRST_FROM, total)
        outgrown = self._scores.due(Basis(embedded, reviewed), total) and not few
        if not embedded or not (outgrown or always):
            return None
        return {"checkpoint": self._worker.relative(self._view.model.path)}

    def due_in_background(self) -> dict[str, Any] | None:
        """Return as `due`, but None while a calibration waits or runs."""
        return None if self._worker.active("calibrate") else self.due()

    def submit(self, *, always: bool = False) -> None:
        """Queue a calibration where one is due."""
        payload = self.due(always=always)
        if payload is not None:
            self._worker.submit("calibrate", payload, first=self.first)
