"""Settings for learning masks from tags."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from owlabel.checked_fields import CheckedFields, Minutes, Seed, Shown, Steps


class WeakShotRequest(CheckedFields):
    """Learn masks of the tagged novel classes (SimFormer)."""

    iterations: Annotated[
        Steps, Field(title="Steps", description="Training steps."), Shown(step=100)
    ] = 600
    minutes: Minutes = 0.0
    retrain: Annotated[
        int,
        Field(
            ge=0,
            le=1_000_000,
            title="Re-train",
            description="Steps of a second training on the masks of the first and on what you "
            "accepted; 0: none.",
        ),
        Shown(step=100),
    ] = 0
    seed: Seed = 0

    def course(self) -> dict[str, Any]:
        """Return the fields of the job's course."""
        return self.model_dump()
