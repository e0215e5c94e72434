"""The settings of auxiliary labels, checked in words."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass

EXTRACTORS = ("handmade", "model", "imagenet")
NETWORKS = ("resnet18", "resnet50", "vgg19")
ALGORITHMS = ("kmeans", "dbscan")
REMOVED = 255
"""The label of a pixel that belongs to no cluster."""
MOST_CLUSTERS = 254
MOST_SAMPLES = 1_000_000
KEY_PREFIX, CURRENT, SUMMARY = "aux-", "aux-current", "summary"
"""Names in the cache of a project: of all that belongs here, and of what was built last."""
VERSION = 2
"""Of the whole pipeline: what another one made is not read."""


@dataclass(frozen=True)
class AuxiliarySettings:
    """How auxiliary labels are made; the defaults are the CPU-sized ones.

    Attributes
    ----------
    extractor : {"handmade", "model", "imagenet"}
        Colour, gradients, position and local binary patterns; the decoder of a model of ours; or a
        torchvision network trained on ImageNet.
    weights : str
        "model": a checkpoint (in a project "" is the model in use).  "imagenet": the weights' file.
    network : str
        "imagenet": which network the weights belong to.
    classes : int
        M, the number of classes that are expected.
    clusters_per_class : float
        K = M times this, rounded (a half up); 1.5 in the paper.
    algorithm : {"kmeans", "dbscan"}
    samples : int
        Pixels that are clustered, at most 10^6.
    images : int
        Images that they come from at most, evenly spread; 5,000 in the paper.
    superpixels : int
        Of each image; 0 leaves voting out.
    outliers : float
        Share of the pixels of each cluster, the farthest, that are removed; 0.05 in the paper.
    subset : int
        DBSCAN: pixels that are clustered; 20,000 in the paper.
    eps : float
        DBSCAN: radius of a neighbourhood; 0 takes, of five quantiles of the distance to the 20th
        neighbour, the one whose number of clusters is nearest to K.
    seed : int

    References
    ----------
    .. [1] "Looking Beyond Single Images", supplement: k-means, K = 1.5 M, Tables 1 to 5.
    """

    extractor: str = "handmade"
    weights: str = ""
    network: str = "resnet50"
    classes: int = 10
    clusters_per_class: float = 1.5
    algorithm: str = "kmeans"
    samples: int = 200_000
    images: int = 5_000
    superpixels: int = 200
    outliers: float = 0.05
    subset: int = 20_000
    eps: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.extractor not in EXTRACTORS:
            raise ValueError(f"extractor must be one of {EXTRACTORS}, got {self.extractor!r}")
        if self.extractor == "imagenet" and not self.weights:
            raise ValueError("extractor imagenet needs the path of a weights file (weights)")
        if self.network not in NETWORKS:
            raise ValueError(f"network must be one of {NETWORKS}, got {self.network!r}")
        if not math.isfinite(self.clusters_per_class) or not math.isfinite(self.eps):
            raise ValueError(
                "clusters_per_class and eps must be numbers, got "
                f"{self.clusters_per_class} and {self.eps}"
            )
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {ALGORITHMS}, got {self.algorithm!r}")
        if not 2 <= self.clusters <= MOST_CLUSTERS:
            raise ValueError(
                f"classes x clusters_per_class must give 2 .. {MOST_CLUSTERS} clusters, "
                f"got {self.classes} x {self.clusters_per_class:g}"
            )
        if not self.clusters <= self.samples <= MOST_SAMPLES:
            raise ValueError(
                f"samples must lie in {self.clusters} (the clusters) .. {MOST_SAMPLES}, "
                f"got {self.samples}"
            )
        if not 0 <= self.outliers < 1:
            raise ValueError(f"outliers must lie in [0, 1), got {self.outliers}")
        if self.superpixels < 0 or self.superpixels > 65_535:
            raise ValueError(f"superpixels must lie in 0 .. 65535, got {self.superpixels}")
        if self.images < 1 or self.subset < self.clusters or self.eps < 0:
            raise ValueError(
                f"images and subset must be positive and eps not negative, got {self.images}, "
                f"{self.subset} and {self.eps}"
            )

    @property
    def clusters(self) -> int:
        """K."""
        return int(self.classes * self.clusters_per_class + 0.5)

    def key(self, extractor_hash: str) -> str:
        """Return the name under which these labels are cached; the path of a file is not in it."""
        plain = {**asdict(self), "weights": extractor_hash, "version": VERSION}
        text = json.dumps(plain, sort_keys=True)
        return KEY_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:16]
