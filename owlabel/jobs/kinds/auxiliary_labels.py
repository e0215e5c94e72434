"""Auxiliary labels of many images: sample, cluster and label; streamed, cached and resumable."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from owlabel.clusters.assignment import Clusters, Floats, fit
from owlabel.clusters.auxiliary_settings import AuxiliarySettings
from owlabel.clusters.handmade import handmade_features
from owlabel.clusters.label_maps import AuxiliaryMap, label_image, sample_pixels
from owlabel.images.files import ImageError, read
from owlabel.jobs.job import Progress
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel.view.clusters.catalog import read_map

FITTED = "clusters"
"""Cache key of the centres and limits, in place of an image's hash."""
SAVE_EVERY = 32
"""Images whose sampled pixels share one file in the work folder."""


class Picture(NamedTuple):
    """One image file: the hash of its content and its path."""

    content_hash: str
    path: Path


@dataclass(frozen=True)
class Extractor:
    """A function from an image (H, W, 3) to features (D, h, w), and a hash that identifies it."""

    hash: str
    features: Callable[[NDArray[np.uint8]], Floats]


class Witness(Protocol):
    """Uses the features of every image while they are in memory."""

    def done(self, picture: Picture) -> bool:
        """Return whether this image was already used."""
        ...

    def look(self, picture: Picture, features: Floats) -> None:
        """Use the features (D, h, w) of an image."""
        ...


@dataclass(frozen=True)
class Auxiliary:
    """The auxiliary labels of a set of images.

    Attributes
    ----------
    key : str
        Their key in the cache.
    clusters : Clusters
    cache : FeatureCache
    broken : tuple of str
        Why images were skipped, one line each.
    """

    key: str
    clusters: Clusters
    cache: FeatureCache
    broken: tuple[str, ...] = ()

    def read(self, content_hash: str) -> AuxiliaryMap | None:
        """Return the labels of an image, or None if it has none."""
        return read_map(self.cache, self.key, content_hash)


def read_clusters(cache: FeatureCache, key: str) -> Clusters | None:
    """Return the cached clusters, or None if none were fitted."""
    arrays = cache.read(key, FITTED)
    return None if arrays is None else Clusters(arrays["centres"], arrays["limits"])


def extractor(settings: AuxiliarySettings) -> Extractor:
    """Return the extractor of the settings; raises ValueError if its weights cannot be used."""
    if settings.extractor == "handmade":
        return Extractor("handmade", handmade_features)
    from owlabel.models import dense_features  # imports torch, so only for a network

    if settings.extractor == "imagenet":
        return Extractor(*dense_features.imagenet(settings.network, Path(settings.weights)))
    return Extractor(*dense_features.decoder(Path(settings.weights)))


@dataclass
class Build:
    """Builds the auxiliary labels of images, reusing results in the cache and the work folder.

    Attributes
    ----------
    pictures : sequence of Picture
    settings : AuxiliarySettings
    source : Extractor
    cache : FeatureCache
    work : Path
        Holds sampled pixels until the clusters are fitted.
    witness : Witness or None
    """

    pictures: Sequence[Picture]
    settings: AuxiliarySettings
    source: Extractor
    cache: FeatureCache
    work: Path
    witness: Witness | None = None
    broken: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The key of everything in the cache."""
        return self.settings.key(self.source.hash)

    def run(self) -> Generator[Progress, None, Auxiliary]:
        """Sample, fit and label; yields after each image.

        Raises
        ------
        ValueError
            If no image can be read, or the sample cannot be clustered.
        """
        if not self.pictures:
            raise ValueError("the project has no readable image: choose another folder")
        clusters = read_clusters(self.cache, self.key)
        if clusters is None:
            clusters = yield from self._fit()
        yield from self._label(clusters)
        return Auxiliary(self.key, clusters, self.cache, tuple(self.broken))

    # -- clusters ----------------------------------------------------------------------------

    def _fit(self) -> Generator[Progress, None, Clusters]:
        """Sample pixels of evenly spread images and cluster them."""
        chosen = self._chosen()
        each = max(1, self.settings.samples // len(chosen))
        groups = [chosen[i : i + SAVE_EVERY] for i in range(0, len(chosen), SAVE_EVERY)]
        for number, group in enumerate(groups):
            path = self._sample_file(number)
            if path.exists():
                continue
            samples = []
            for index in group:
                features = self._features(self.pictures[index])
                if features is not None:
                    rng = np.random.default_rng([self.settings.seed, index])
                    samples.append(sample_pixels(features, each, rng))
                done = number * SAVE_EVERY + len(samples)
                yield Progress(done, len(chosen), "sampling pixels")
            _save(path, samples)
        stored = [np.load(self._sample_file(i), allow_pickle=False) for i in range(len(groups))]
        stored = [sample for sample in stored if sample.size]
        if not stored:
            raise ValueError(f"no image can be read: {self.broken[0] if self.broken else ''}")
        yield Progress(len(chosen), len(chosen), "clustering")
        clusters = fit(np.concatenate(stored), self.settings)
        arrays = {"centres": clusters.centres, "limits": clusters.limits}
        self.cache.write(self.key, FITTED, arrays)
        for number in range(len(groups)):
            self._sample_file(number).unlink(missing_ok=True)
        return clusters

    def _chosen(self) -> list[int]:
        count = min(len(self.pictures), self.settings.images, self.settings.samples)
        places = np.linspace(0, len(self.pictures) - 1, count).round().astype(int)
        return [int(i) for i in places]

    def _sample_file(self, number: int) -> Path:
        return self.work / f"sample-{self.key}-{number:05d}.npy"

    # -- labels ------------------------------------------------------------------------------

    def _label(self, clusters: Clusters) -> Generator[Progress, None, None]:
        waiting = [picture for picture in self.pictures if self._missing(picture)]
        before = len(self.pictures) - len(waiting)
        for done, picture in enumerate(waiting, start=1):
            self._label_one(picture, clusters)
            yield Progress(before + done, len(self.pictures), "auxiliary labels")

    def _missing(self, picture: Picture) -> bool:
        witnessed = self.witness is None or self.witness.done(picture)
        return not (witnessed and self.cache.has(self.key, picture.content_hash))

    def _label_one(self, picture: Picture, clusters: Clusters) -> None:
        image = self._image(picture)
        if image is None:
            return
        features = self.source.features(image)
        if self.witness is not None and not self.witness.done(picture):
            self.witness.look(picture, features)
        if not self.cache.has(self.key, picture.content_hash):
            labels = label_image(features, image, clusters, self.settings)
            self.cache.write(self.key, picture.content_hash, labels.arrays())

    def _image(self, picture: Picture) -> NDArray[np.uint8] | None:
        try:
            return read(picture.path)
        except ImageError as error:
            if str(error) not in self.broken:
                self.broken.append(str(error))
            return None

    def _features(self, picture: Picture) -> Floats | None:
        image = self._image(picture)
        return None if image is None else self.source.features(image)


def _save(path: Path, samples: list[Floats]) -> None:
    """Write sampled pixels (n, D) completely or not at all; no sample gives an empty array."""
    values: NDArray[Any] = np.concatenate(samples) if samples else np.zeros((0, 0), np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    partial.replace(path)
