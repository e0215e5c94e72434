"""Asking for masks of tagged classes: weak-shot training (SimFormer) in the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from owlabel.calibrating import Calibrating

KIND = "weak_shot"
TRAIN = 0
"""Priority: after everything that the annotator waits for."""


@dataclass(frozen=True)
class WeakShotRequest:
    """What an annotator asks for.

    Attributes
    ----------
    iterations : int
        Steps of the training, at least 1.
    minutes : float
        Wall time at most; 0 is no limit.
    retrain : int
        Steps of the re-training on its own pseudo labels; 0 leaves it out.
    seed : int
    """

    iterations: int = 600
    minutes: float = 0.0
    retrain: int = 0
    seed: int = 0

    def check(self) -> None:
        """Refuse at once what could not be trained; raises ValueError."""
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if self.minutes < 0 or self.retrain < 0:
            raise ValueError(
                f"minutes and retrain must not be negative, got {self.minutes} and {self.retrain}"
            )

    def course(self) -> dict[str, Any]:
        """Return the fields of the job's course."""
        return {
            "iterations": self.iterations, "minutes": float(self.minutes),
            "retrain": self.retrain, "seed": self.seed,
        }  # fmt: skip


class TagTraining(Calibrating):
    """An editor whose tags can be turned into proposed masks; `Session` has the worker."""

    def train_from_tags(self, request: WeakShotRequest | None = None) -> int:
        """Learn masks of the tagged novel classes in the worker; return the job's id.

        What comes out are proposals for review, never labels.

        Raises
        ------
        ValueError
            If the request makes no sense, or no image is tagged with a novel class.
        """
        request = request or WeakShotRequest()
        request.check()
        novel = {c.id for c in self.classes.classes if c.novel}
        counts = self.project.tags.counts()
        if not any(counts.get(i, {}).get("present") for i in novel):
            raise ValueError("no image is tagged with a novel class: tag at least 20 images first")
        payload = {"checkpoint": self._relative(self.model.path), "course": request.course()}
        return self._submit(KIND, payload, TRAIN)
