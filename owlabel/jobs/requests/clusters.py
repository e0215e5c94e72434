"""How the pixels and the OoD candidates of a data set can be clustered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from owlabel.clusters.settings import MOST_SAMPLES, AuxiliarySettings
from owlabel.jobs.requests.request import Request, Shown

CLASSES_FROM = 4
"""M where nobody says it: the project's classes, at least this many."""
EXTRACTORS = {
    "model": "the model in use",
    "handmade": "colour and texture",
    "imagenet": "an ImageNet network",
}


class ClusterRequest(Request):
    """Group the pixels of all images, and the OoD candidates; see `AuxiliarySettings`."""

    extractor: Annotated[
        Literal["model", "handmade", "imagenet"],
        Field(title="Features", description="What describes a pixel."),
        Shown(words=EXTRACTORS),
    ] = "model"
    weights: Annotated[
        str, Field(title="Weights", description="File of the weights of an ImageNet network.")
    ] = ""
    network: Annotated[
        Literal["resnet18", "resnet50", "vgg19"],
        Field(title="Network", description="ImageNet network that the weights belong to."),
    ] = "resnet50"
    classes: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            title="Classes expected",
            description="M, the number of classes expected; 0: as many as the project has.",
        ),
    ] = 0
    clusters_per_class: Annotated[
        float,
        Field(
            gt=0,
            le=254,
            title="Clusters per class",
            description="K / M: clusters for each expected class; 1.5 in the paper.",
        ),
        Shown(step=0.5, option="--factor"),
    ] = 1.5
    superpixels: Annotated[
        int,
        Field(
            ge=0,
            le=65_535,
            title="Superpixels",
            description="Superpixels of each image; 0: pixels do not vote.",
        ),
        Shown(step=50),
    ] = 200
    outliers: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Outliers",
            description="Share of each cluster's pixels, the farthest, that is removed; 0.05 in "
            "the paper.",
        ),
        Shown(step=0.01),
    ] = 0.05
    algorithm: Annotated[
        Literal["kmeans", "dbscan"], Field(title="Algorithm", description="Clustering algorithm.")
    ] = "kmeans"
    samples: Annotated[
        int,
        Field(
            ge=2,
            le=MOST_SAMPLES,
            title="Samples",
            description="Pixels that the clusters are fitted to.",
        ),
        Shown(step=10_000),
    ] = 200_000
    kinds: Annotated[
        int,
        Field(
            ge=0,
            le=200,
            title="Groups of unknown",
            description="Clusters of OoD candidates at most; 0: none.",
        ),
    ] = 8

    def settings(self, classes: int) -> dict[str, Any]:
        """Return the fields of `AuxiliarySettings` for a project with so many classes.

        Raises
        ------
        ValueError
            If the values do not fit together, or there is no file of weights.
        """
        settings = self.model_dump(exclude={"kinds"})
        settings["classes"] = self.classes or max(classes, CLASSES_FROM)
        if self.weights:
            path = Path(self.weights).expanduser()
            if not path.is_file():
                raise ValueError(f"there is no file of weights {self.weights}")
            settings["weights"] = str(path.resolve())
        AuxiliarySettings(**settings)
        return settings
