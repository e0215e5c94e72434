"""Calibrates the scores of a data set in the background, with NumPy and the cache only."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.pending_images import thinned
from owlabel.ood.calibration import Basis, CalibrationSet, Calibrator
from owlabel.ood.standardized_logits import ClassStatistics
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables.catalog import inside
from owlabel.view.model_outputs import Reader
from owlabel.view.score_maps import CALIBRATION, basis_of, residual_hash

MOST_IMAGES = 2000
"""Most images used, evenly spread; they hold about ten million grid points."""
ENOUGH = 10_000
"""Grid points of reviewed images that are enough to use only reviewed images."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CalibrateJob:
    """Count the scores of reviewed in-distribution pixels, or of all if there are too few.

    There are two passes: first the statistics of the largest logit by class, then every score.

    Attributes
    ----------
    checkpoint : str
        The model, relative to the project's folder.
    enough : int
        Reviewed in-distribution grid points that are enough to leave out all others.
    """

    checkpoint: str
    enough: int = ENOUGH

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Calibrate and cache the result; yields after each image of each pass."""
        with Project.open(context.project) as project:
            header = read_header(inside(project.folder, self.checkpoint))
            reader = Reader(project, header)
            basis = basis_of(project, reader)
            records = [r for r in project.images() if r.error is None and reader.embedded(r)]
            reviewed = thinned([r for r in records if r.state == "reviewed"], MOST_IMAGES)
            points = sum(int(m.sum()) for _, m in self._pixels(project, header, reviewed))
            source = "reviewed" if points >= self.enough else "all"
            chosen = reviewed if source == "reviewed" else thinned(records, MOST_IMAGES)
            calibration = yield from self._count(project, header, chosen, source, basis)
            if calibration is None:
                return {"images": 0}
            head = header.heads[0].hash
            project.cache.write(head, CALIBRATION, calibration.arrays(), calibration.metadata())
        return {"images": calibration.images, "source": source, "points": calibration.points}

    def _count(
        self,
        project: Project,
        header: CheckpointHeader,
        chosen: Sequence[ImageRecord],
        source: str,
        basis: Basis,
    ) -> Generator[Progress, None, CalibrationSet | None]:
        """Run the two passes over the chosen images; return None if no image can be read."""
        classes, length = header.heads[0].outputs, header.prototype_length
        total = 2 * len(chosen)
        statistics = ClassStatistics(classes)
        for done, (embedding, mask) in enumerate(self._pixels(project, header, chosen, source), 1):
            statistics.update(2 * length * embedding, mask)
            yield Progress(done, total, "statistics of the logits")
        calibrator = Calibrator(classes, length, statistics)
        residual = residual_hash(project, header)
        points = images = 0
        for record in chosen:
            for embedding, mask in self._pixels(project, header, [record], source):
                calibrator.update(embedding, mask, _residual_energy(project, residual, record))
                points, images = points + int(mask.sum()), images + 1
            yield Progress(len(chosen) + images, total, "quantiles of the scores")
        quantiles = calibrator.quantiles()
        if not quantiles:
            return None
        return CalibrationSet(
            quantiles, calibrator.joint, statistics, source, images, points, basis
        )

    def _pixels(
        self,
        project: Project,
        header: CheckpointHeader,
        records: Sequence[ImageRecord],
        source: str = "reviewed",
    ) -> Iterator[tuple[NDArray[np.float32], Mask]]:
        """Yield the embedding (N, h, w) and the mask of counted pixels (h, w) of each image."""
        head = header.heads[0]
        for record in records:
            arrays = project.cache.read(head.hash, record.content_hash)
            if arrays is None:
                continue
            embedding = arrays["embedding"].astype(np.float32)
            shape = (embedding.shape[1], embedding.shape[2])
            if source == "all":
                yield embedding, np.ones(shape, bool)
                continue
            review = project.reviewed(record.id)
            if review is not None:
                yield embedding, in_distribution(review[0], shape, head.outputs)


def in_distribution(labels: NDArray[np.uint8], shape: tuple[int, int], classes: int) -> Mask:
    """Return whether the central pixel of each grid cell has a class that the model knows.

    Parameters
    ----------
    labels : ndarray of uint8, shape (H, W)
        Reviewed labels; novel classes and void are not in-distribution.
    shape : tuple of int
        (h, w) of the grid.
    classes : int
        N; base classes have the ids 0 .. N - 1.

    Returns
    -------
    ndarray of bool, shape (h, w)
    """
    middle = [
        ((np.arange(points) + 0.5) * pixels / points).astype(np.intp)
        for points, pixels in zip(shape, labels.shape, strict=True)
    ]
    return np.asarray(labels[np.ix_(*middle)] < classes)


def _residual_energy(project: Project, residual: str, record: ImageRecord) -> NDArray[Any] | None:
    """Return the residual energy of an image, (h, w), or None if it is not in the cache."""
    arrays = project.cache.read(residual, record.content_hash) if residual else None
    return None if arrays is None else arrays["energy"].astype(np.float32)
