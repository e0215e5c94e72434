"""Decide when to calibrate the scores over the data set."""

from __future__ import annotations

from typing import Any

from owlabel.ood.calibration import Basis
from owlabel.session.core.worker_link import WorkerLink
from owlabel.view.score_maps import ScoreMaps
from owlabel.view.view import View

FIRST_FROM = 4
"""Number of embedded images before the first calibration; smaller data sets need all."""


class CalibrationSchedule:
    """Decides when a calibration is due: after a few images, then after larger changes.

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
        """Return the payload of a calibration job if one is due, else None.

        Parameters
        ----------
        always : bool
            Whether to calibrate even if little has changed.
        """
        embedded, total = self._view.progress
        reviewed = sum(r.state == "reviewed" for r in self._view.images.records)
        few = self.first and embedded < min(FIRST_FROM, total)
        outgrown = self._scores.calibration_due(Basis(embedded, reviewed), total) and not few
        if not embedded or not (outgrown or always):
            return None
        return {"checkpoint": self._worker.relative(self._view.model.path)}

    def due_in_background(self) -> dict[str, Any] | None:
        """Return the same as `due`, but None while a calibration waits or runs."""
        return None if self._worker.active("calibrate") else self.due()

    def submit(self, *, always: bool = False) -> None:
        """Submit a calibration if one is due."""
        payload = self.due(always=always)
        if payload is not None:
            self._worker.submit("calibrate", payload, first=self.first)
