"""CheckedFields of auxiliary labels."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from owlabel.checked_fields import CheckedFields, Seed, Shown

EXTRACTORS = {
    "model": "the model in use",
    "handmade": "colour and texture",
    "imagenet": "an ImageNet network",
}
NetworkName = Literal["resnet18", "resnet50", "vgg19"]
NETWORKS: tuple[str, ...] = get_args(NetworkName)
REMOVED = 255
"""Label of a pixel without cluster."""
MOST_CLUSTERS = 254
MOST_SAMPLES = 1_000_000
KEY_PREFIX, CURRENT, SUMMARY = "aux-", "aux-current", "summary"
"""Names in the cache of a project: prefix of auxiliary labels, latest build, and its summary."""
VERSION = 2
"""Version of the whole pipeline; results of other versions are ignored."""
Extractor = Annotated[
    Literal["model", "handmade", "imagenet"],
    Field(title="Features", description="What describes a pixel."),
    Shown(words=EXTRACTORS),
]
Network = Annotated[
    NetworkName,
    Field(title="Network", description="ImageNet network that the weights belong to."),
]
ClustersPerClass = Annotated[
    float,
    Field(
        gt=0,
        le=254,
        title="Clusters per class",
        description="K / M: clusters for each expected class; 1.5 in the paper.",
    ),
    Shown(step=0.5, option="--factor"),
]
Superpixels = Annotated[
    int,
    Field(
        ge=0,
        le=65_535,
        title="Superpixels",
        description="Superpixels of each image; 0: pixels do not vote.",
    ),
    Shown(step=50),
]
Outliers = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        title="Outliers",
        description="Share of each cluster's pixels, the farthest, that is removed; 0.05 in "
        "the paper.",
    ),
    Shown(step=0.01),
]
Algorithm = Annotated[
    Literal["kmeans", "dbscan"], Field(title="Algorithm", description="Clustering algorithm.")
]
Samples = Annotated[
    int,
    Field(
        ge=2,
        le=MOST_SAMPLES,
        title="Samples",
        description="Pixels that the clusters are fitted to.",
    ),
    Shown(step=10_000),
]


class AuxiliarySettings(CheckedFields):
    """CheckedFields of auxiliary labels; the defaults suit a CPU.

    Attributes
    ----------
    extractor : {"handmade", "model", "imagenet"}
        Source of the features.  "handmade": colour, gradients, position and local binary patterns.
        "model": the decoder of an OWLabel model.  "imagenet": a torchvision network trained on
        ImageNet.
    weights : str
        "model": a checkpoint; in a project, "" means the model in use.  "imagenet": the file of the
        weights.
    network : str
        "imagenet": the network of the weights.
    classes : int
        M, the expected number of classes.
    clusters_per_class : float
        K = M times this, rounded half up; 1.5 in the paper.
    algorithm : {"kmeans", "dbscan"}
    samples : int
        Number of sampled pixels, at most 10^6.
    images : int
        Largest number of sampled images, evenly spread; 5,000 in the paper.
    superpixels : int
        Superpixels of each image; 0 turns voting off.
    outliers : float
        Share of each cluster's pixels, the farthest ones, to remove; 0.05 in the paper.
    subset : int
        DBSCAN: number of clustered pixels; 20,000 in the paper.
    eps : float
        DBSCAN: radius of a neighbourhood.  0 tries five quantiles of the distance to the 20th
        neighbour and uses the one whose number of clusters is nearest to K.
    seed : int

    References
    ----------
    .. [1] "Looking Beyond Single Images", supplement: k-means, K = 1.5 M, Tables 1 to 5.
    """

    extractor: Extractor = "handmade"
    weights: str = ""
    network: Network = "resnet50"
    classes: Annotated[int, Field(ge=1)] = 10
    clusters_per_class: ClustersPerClass = 1.5
    algorithm: Algorithm = "kmeans"
    samples: Samples = 200_000
    images: Annotated[int, Field(ge=1)] = 5_000
    superpixels: Superpixels = 200
    outliers: Outliers = 0.05
    subset: int = 20_000
    eps: Annotated[float, Field(ge=0)] = 0.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits_together(self) -> AuxiliarySettings:
        if self.extractor == "imagenet" and not self.weights:
            raise ValueError("extractor imagenet needs the path of a weights file (weights)")
        if not 2 <= self.clusters <= MOST_CLUSTERS:
            raise ValueError(
                f"classes x clusters_per_class must give 2 .. {MOST_CLUSTERS} clusters, "
                f"got {self.classes} x {self.clusters_per_class:g}"
            )
        for name, pixels in (("samples", self.samples), ("subset", self.subset)):
            if pixels < self.clusters:
                least = f"{self.clusters} (clusters)"
                raise ValueError(f"{name} must be at least {least}, got {pixels}")
        return self

    @property
    def clusters(self) -> int:
        """K."""
        return int(self.classes * self.clusters_per_class + 0.5)

    def key(self, extractor_hash: str) -> str:
        """Return the cache name of these labels; it does not depend on the path of a file."""
        plain = {**self.model_dump(), "weights": extractor_hash, "version": VERSION}
        text = json.dumps(plain, sort_keys=True)
        return KEY_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:16]
