"""How the pixels and the OoD candidates of a data set can be clustered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from owlabel.clusters.settings import AuxiliarySettings

CLASSES_FROM = 4
"""M where nobody says it: the project's classes, at least this many."""


@dataclass(frozen=True)
class ClusterRequest:
    """What an annotator asks for; see `AuxiliarySettings`.

    Attributes
    ----------
    extractor : {"model", "handmade", "imagenet"}
    weights, network : str
        Of "imagenet"; "model" with "" takes the model in use.
    classes : int
        M; 0 takes the number of classes of the project.
    clusters_per_class, superpixels, outliers, algorithm, samples
        As there.
    kinds : int
        Clusters of OoD candidates, at most; 0 makes none.
    """

    extractor: str = "model"
    weights: str = ""
    network: str = "resnet50"
    classes: int = 0
    clusters_per_class: float = 1.5
    superpixels: int = 200
    outliers: float = 0.05
    algorithm: str = "kmeans"
    samples: int = 200_000
    kinds: int = 8

    def settings(self, classes: int) -> dict[str, Any]:
        """Return the fields of `AuxiliarySettings` for a project of so many classes.

        Raises
        ------
        ValueError
            If a value is out of range, or there is no file of weights.
        """
        if not 0 <= self.kinds <= 200:
            raise ValueError(f"kinds must lie in 0 .. 200, got {self.kinds}")
        if self.weights and not Path(self.weights).expanduser().is_file():
            raise ValueError(f"there is no file of weights {self.weights}")
        plain = {k: v for k, v in vars(self).items() if k != "kinds"}
        plain["classes"] = self.classes or max(classes, CLASSES_FROM)
        if self.weights:
            plain["weights"] = str(Path(self.weights).expanduser().resolve())
        AuxiliarySettings(**plain)
        return plain
