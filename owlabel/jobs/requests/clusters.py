"""Settings for clustering the pixels and the OoD candidates of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from owlabel.checked_fields import CheckedFields
from owlabel.clusters.auxiliary_settings import (
    Algorithm,
    AuxiliarySettings,
    ClustersPerClass,
    Extractor,
    Network,
    Outliers,
    Samples,
    Superpixels,
)

CLASSES_FROM = 4
"""Smallest default of M; the default is the project's number of classes, at least this."""


class ClusterRequest(CheckedFields):
    """Cluster the pixels of all images, and the OoD candidates; see `AuxiliarySettings`."""

    extractor: Extractor = "model"
    weights: Annotated[
        str, Field(title="Weights", description="File of the weights of an ImageNet network.")
    ] = ""
    network: Network = "resnet50"
    classes: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            title="Classes expected",
            description="M, the number of classes expected; 0: as many as the project has.",
        ),
    ] = 0
    clusters_per_class: ClustersPerClass = 1.5
    superpixels: Superpixels = 200
    outliers: Outliers = 0.05
    algorithm: Algorithm = "kmeans"
    samples: Samples = 200_000
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
        """Return the fields of `AuxiliarySettings` for a project with this number of classes.

        Raises
        ------
        ValueError
            If the values do not fit together, or the weights file does not exist.
        """
        settings = self.model_dump(exclude={"kinds"})
        settings["classes"] = self.classes or max(classes, CLASSES_FROM)
        if self.weights:
            path = Path(self.weights).expanduser()
            if not path.is_file():
                raise ValueError(f"the weights file {self.weights} does not exist")
            settings["weights"] = str(path.resolve())
        AuxiliarySettings(**settings)
        return settings
