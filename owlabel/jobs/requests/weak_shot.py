"""What learning masks from tags can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
