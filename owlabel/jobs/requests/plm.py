"""Settings for training a head for a novel class (PLM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from owlabel.checked_fields import CheckedFields, Seed, Shown, Steps
from owlabel.classes import LabelClass

PLM_STEPS = 500
"""Steps of DMLNet, supplement B.1."""


class PlmRequest(CheckedFields):
    """Train a head for one novel class on its shots."""

    class_name: Annotated[
        str, Field(min_length=1, title="Class", description="The novel class to train.")
    ]
    iterations: Annotated[
        Steps, Field(title="Steps", description="Training steps; 500 in the paper."), Shown(step=50)
    ] = PLM_STEPS
    seed: Seed = 0

    def payload(
        self,
        checkpoint: str,
        model_name: str,
        novel: LabelClass,
        shots: Sequence[Mapping[str, int | None]],
    ) -> dict[str, Any]:
        """Return the fields of the job.

        Parameters
        ----------
        checkpoint : str
            The model in use, relative to the project's folder.
        model_name : str
            Name of the model in use; the new model's name starts with it.
        novel : LabelClass
            The project's class with this name.
        shots : sequence of mapping
            ``image_id`` and ``revision_id`` of each image that holds the class.
        """
        return {
            "checkpoint": checkpoint,
            "class_id": novel.id,
            "class_name": novel.name,
            "color": list(novel.color),
            "shots": [dict(shot) for shot in shots],
            "iterations": self.iterations,
            "lr": None,
            "seed": self.seed,
            "name": f"{model_name} + {novel.name}",
        }
