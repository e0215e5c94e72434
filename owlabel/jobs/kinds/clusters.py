"""The cluster jobs: build the clusters of a project, and propose masks from named clusters."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.clusters.assignment import Floats, fit, nearest, unit_length
from owlabel.clusters.auxiliary_settings import SUMMARY, AuxiliarySettings
from owlabel.clusters.examples import Summary
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.kinds.auxiliary_labels import Auxiliary, Build, Picture, extractor
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables import candidate_details
from owlabel.project.tables.catalog import inside
from owlabel.view.clusters import catalog
from owlabel.view.clusters.catalog import CandidateClusters, ClusterSet
from owlabel.view.clusters.proposals import Proposer

LEAST_PER_KIND = 3
"""Fewest candidates per cluster; with too few candidates there are fewer clusters."""
MOST_CANDIDATES = 100_000
SUMMARISED = 5_000
"""Most images used for counts and examples."""
STEP = 10_000
"""Candidates whose distances to all centres are computed at once."""


@dataclass(frozen=True)
class AuxiliaryLabelsJob:
    """Cluster the pixels of all images, and the OoD candidates, by their features.

    Attributes
    ----------
    checkpoint : str
        The model in use, relative to the project's folder.  Its candidates are clustered.  If the
        extractor is "model" without another file, its decoder gives the features.
    settings : mapping
        Fields of `ClusterRequest` except `kinds`, as its `settings` returns them.
    kinds : int
        Most clusters of candidates; 0 for none.
    """

    checkpoint: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    kinds: int = 8

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Build the clusters, reusing cached results; yields after each image.

        Raises
        ------
        ValueError
            If a setting is out of range, weights cannot be used, or no image can be read.
        """
        yield Progress(0, 0, "reading the images")
        with Project.open(context.project) as project:
            built = yield from build_clusters(project, self, context.work)
            return {"key": built.key, "clusters": built.clusters, "kinds": built.kinds} | (
                catalog.agreement(project, built) or {}
            )

    def chosen(self, project: Project) -> AuxiliarySettings:
        """Return the settings, with the model in use unless they name another one."""
        request = ClusterRequest(**self.settings, kinds=self.kinds)
        settings = AuxiliarySettings(**request.settings(request.classes))
        if settings.extractor == "model" and not settings.weights:
            return settings.replace(weights=str(inside(project.folder, self.checkpoint)))
        return settings


def build_clusters(
    project: Project, job: AuxiliaryLabelsJob, work: Path, *, keep_named: bool = False
) -> Generator[Progress, None, ClusterSet]:
    """Build auxiliary labels, their summary and the clusters of candidates; see the job.

    The window then shows the new clusters, unless `keep_named` is set and a cluster in it has a
    name.
    """
    from owlabel.checkpoints.header import read_header

    settings = job.chosen(project)
    header = read_header(inside(project.folder, job.checkpoint))
    head = header.heads[0].hash
    records = [r for r in project.images() if r.error is None and r.shape is not None]
    source = extractor(settings)
    pool = Pool(project, head, settings.key(source.hash), records) if job.kinds else None
    pictures = project_pictures(records)
    build = Build(pictures, settings, source, project.cache, work, pool)
    auxiliary = yield from build.run()
    yield from _summarise(project, auxiliary, records)
    kinds = 0 if pool is None else pool.group(settings, job.kinds)
    stored = settings.replace(weights=_kept(settings))
    length = header.prototype_length
    clusters = ClusterSet(auxiliary.key, stored, len(auxiliary.clusters), head, kinds, length)
    shown = catalog.current(project.cache)
    if not (keep_named and shown is not None and catalog.names(project, shown.key)):
        clusters.store(project.cache)
    return clusters


def project_pictures(records: Sequence[ImageRecord]) -> list[Picture]:
    """Return the files of images, one for each content."""
    return list({r.content_hash: Picture(r.content_hash, r.path) for r in records}.values())


def _kept(settings: AuxiliarySettings) -> str:
    """Return the name of the weights file to store, without its folder."""
    return Path(settings.weights).name if settings.weights else ""


def _summarise(
    project: Project, auxiliary: Auxiliary, records: Sequence[ImageRecord]
) -> Generator[Progress, None, None]:
    """Count every cluster and store examples of it, from evenly spread images."""
    summary = Summary(len(auxiliary.clusters))
    count = min(len(records), SUMMARISED)
    chosen = [records[i] for i in np.linspace(0, len(records) - 1, count).round().astype(int)]
    for done, record in enumerate(chosen, start=1):
        labels = auxiliary.read(record.content_hash)
        if labels is not None:
            summary.update(record.id, labels)
        yield Progress(done, count, "examples of each cluster")
    project.cache.write(auxiliary.key, SUMMARY, summary.arrays())


class Pool:
    """Mean features of the candidates of each image, stored in the cache.

    Parameters
    ----------
    project : Project
    head_hash : str
        Hash of the head that proposed the candidates.
    key : str
        Key of the auxiliary labels with the same features.
    records : sequence of ImageRecord
    """

    def __init__(
        self, project: Project, head_hash: str, key: str, records: Sequence[ImageRecord]
    ) -> None:
        self._project, self._head, self._key = project, head_hash, key
        self._records = {r.content_hash: r for r in records}

    def _name(self, content_hash: str) -> str:
        return f"{content_hash}-{self._head}"

    def _ids(self, content_hash: str) -> list[int]:
        record = self._records[content_hash]
        rows = candidate_details.details(self._project.database, self._head, record.id)
        return [row.id for row in rows if row.mask is not None]

    def done(self, picture: Picture) -> bool:
        """Return whether all current candidates of an image are pooled."""
        arrays = self._project.cache.read(self._key, self._name(picture.content_hash))
        known = set() if arrays is None else set(arrays["ids"].tolist())
        return set(self._ids(picture.content_hash)) <= known

    def look(self, picture: Picture, features: Floats) -> None:
        """Average the features (D, h, w) over each candidate of the image and cache the means."""
        record = self._records[picture.content_hash]
        masks = catalog.candidate_masks(self._project, self._head, record)
        ids = self._ids(picture.content_hash)
        vectors = np.zeros((len(ids), len(features)), np.float32)
        for row, candidate_id in enumerate(ids):
            if candidate_id in masks:
                vectors[row] = pooled(features, masks[candidate_id])
        if ids:
            arrays: dict[str, NDArray[Any]] = {"ids": np.array(ids, np.int64), "vectors": vectors}
            self._project.cache.write(self._key, self._name(picture.content_hash), arrays)

    def group(self, settings: AuxiliarySettings, kinds: int) -> int:
        """Cluster all candidates into at most `kinds` groups; return the number of groups."""
        ids, images, vectors = self._all()
        different = len(np.unique(vectors, axis=0))
        kinds = min(kinds, len(vectors) // LEAST_PER_KIND, different)
        if kinds < 2:
            return 0
        few = settings.replace(
            classes=kinds, clusters_per_class=1.0, algorithm="kmeans", outliers=0.0
        )
        rng = np.random.default_rng(settings.seed)
        sample = vectors[np.sort(rng.permutation(len(vectors))[:MOST_CANDIDATES])]
        clusters = fit(sample, few)
        units = unit_length(vectors)
        labels, _ = nearest(units, clusters.centres)
        near = [
            catalog.nearness(units[i : i + STEP], clusters.centres)
            for i in range(0, len(units), STEP)
        ]
        groups = CandidateClusters(ids, images, labels, np.concatenate(near))
        self._project.cache.write(self._key, f"candidates-{self._head}", groups.arrays())
        return kinds

    def _all(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Return ids (n,), images (n,) and vectors (n, D) of the current candidates."""
        ids, images, vectors = [], [], []
        for content_hash, record in self._records.items():
            arrays = self._project.cache.read(self._key, self._name(content_hash))
            if arrays is None:
                continue
            there = np.isin(arrays["ids"], self._ids(content_hash)) & arrays["vectors"].any(axis=1)
            ids.append(arrays["ids"][there])
            images.append(np.full(int(there.sum()), record.id, np.int64))
            vectors.append(arrays["vectors"][there])
        if not ids:
            none = np.zeros(0, np.int64)
            return none, none, np.zeros((0, 1), np.float32)
        return np.concatenate(ids), np.concatenate(images), np.concatenate(vectors)


def pooled(features: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return the mean of features (D, h, w) over a mask (H, W), weighted by the mask's area."""
    h, w = features.shape[1:]
    weight = cv2.resize(mask.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
    total = float(weight.sum())
    if total == 0:
        return np.zeros(len(features), np.float32)
    return np.asarray((features * weight).sum(axis=(1, 2)) / total, np.float32)


@dataclass(frozen=True)
class ClusterProposalsJob:
    """Propose masks of the named clusters in all images, replacing open cluster proposals.

    Attributes
    ----------
    key : str
        Key of the named auxiliary labels.  If others have been built since, nothing is proposed.
    names : mapping of str to int
        Class ids by cluster.
    """

    key: str
    names: Mapping[str, int]

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Store the proposals of one image after the other; yields after each image."""
        with Project.open(context.project) as project:
            clusters = catalog.current(project.cache)
            if clusters is None or clusters.key != self.key:
                return {"proposals": 0, "images": 0}
            known = project.classes().names
            named = {k: int(c) for k, c in self.names.items() if int(c) in known}
            records = [r for r in project.images() if r.error is None]
            proposer = Proposer(project, clusters, named)
            count = images = 0
            for done, record in enumerate(records, start=1):
                items = []
                if record.state != "reviewed":
                    items = proposer.items(record)
                if items or project.proposals.open("cluster", record.id):
                    project.proposals.write(record.id, "cluster", _origin(named), items)
                count, images = count + len(items), images + bool(items)
                yield Progress(done, len(records), record.relative)
            return {"proposals": count, "images": images}


def _origin(named: Mapping[str, int]) -> str:
    return f"cluster {', '.join(sorted(named))}"[:80]
