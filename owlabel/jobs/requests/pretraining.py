"""Settings for pre-training on the unlabelled images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from owlabel.checked_fields import CheckedFields, Shown, Steps
from owlabel.jobs.requests.clusters import ClusterRequest

STARTS = {"model": "the model in use", "random": "random weights"}


class PretrainRequest(CheckedFields):
    """Contrast the pixels of all images with each other, then train on labels."""

    clusters: Annotated[
        ClusterRequest,
        Field(
            strict=False,  # the event log holds a mapping
            title="Clusters",
            description="The auxiliary labels that pixels are contrasted by.",
        ),
    ] = ClusterRequest()
    iterations: Annotated[
        Steps,
        Field(title="Contrast steps", description="Steps of contrastive pre-training."),
        Shown(step=50),
    ] = 300
    tuning: Annotated[
        Steps,
        Field(
            title="Label steps",
            description="Steps of training on labels afterwards, so that the result can label.",
        ),
        Shown(step=50),
    ] = 200
    start: Annotated[
        Literal["model", "random"],
        Field(title="Start from", description="Weights that the training begins with."),
        Shown(words=STARTS),
    ] = "model"

    def check(self, images: int) -> None:
        """Check that a project has enough images.

        Raises
        ------
        ValueError
            If there are fewer than two images.
        """
        if images < 2:
            raise ValueError(
                f"pre-training contrasts images with each other: it needs at least two images, got "
                f"{images}"
            )
