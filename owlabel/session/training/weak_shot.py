"""Asking for masks of tagged classes: weak-shot training (SimFormer) in the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owlabel.session.background.calibration import Calibrating

if TYPE_CHECKING:
    from owlabel.jobs.requests.weak_shot import WeakShotRequest

KIND = "weak_shot"


class TagTraining(Calibrating):
    """An editor whose tags can be turned into proposed masks; `Session` has the worker."""

    def train_from_tags(self, request: WeakShotRequest | None = None) -> int:
        """Learn masks of the tagged novel classes in the worker; return the job's id.

        What comes out are proposals for review, never labels.

        Raises
        ------
        ValueError
            If no image is tagged with a novel class.
        """
        from owlabel.jobs.requests.weak_shot import WeakShotRequest

        request = request or WeakShotRequest()
        novel = {c.id for c in self.classes.classes if c.novel}
        counts = self.project.tags.counts()
        if not any(counts.get(i, {}).get("present") for i in novel):
            raise ValueError("no image is tagged with a novel class: tag at least 20 images first")
        payload = {"checkpoint": self._relative(self.model.path), "course": request.course()}
        return self._submit(KIND, payload)
