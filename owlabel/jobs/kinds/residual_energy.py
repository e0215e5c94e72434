"""Computes the missing energy of the residual path (RPL) for the images of a project."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.jobs.job import JobContext, Progress
from owlabel.jobs.pending_images import nearest_first, read_or_store_error, waiting_images
from owlabel.project.store import ImageRecord, Project
from owlabel.project.tables.catalog import inside
from owlabel.view.score_maps import residual_of

if TYPE_CHECKING:
    from owlabel.models.backbones import Features
    from owlabel.models.segmenter import Segmenter


class Residuals:
    """The residual block in use for a model, if any; fills the cache one image at a time.

    Parameters
    ----------
    project : Project
    header : CheckpointHeader
        Header of the model.
    """

    def __init__(self, project: Project, header: CheckpointHeader) -> None:
        self._project, self._block = project, None
        block_file = residual_of(project, header)
        self.hash = "" if block_file is None else block_file.header.hash
        if block_file is not None:
            from owlabel.models.device import chosen_device  # torch: only while a job runs
            from owlabel.models.residual_block import load_block

            block = load_block(block_file.path, header.heads[0].hash)[0]
            self._block = block.to(chosen_device())

    def missing(self, record: ImageRecord) -> bool:
        """Return whether the energy of an image is needed but not in the cache."""
        return bool(self.hash) and not self._project.cache.has(self.hash, record.content_hash)

    def store(
        self, segmenter: Segmenter, record: ImageRecord, features: Features, shape: tuple[int, int]
    ) -> None:
        """Compute the energy of an image of this shape from its backbone features and cache it."""
        if self._block is None:
            return
        from owlabel.models.residual_block import residual_energy

        energy: NDArray[np.float16] = residual_energy(segmenter, self._block, features, shape)
        self._project.cache.write(self.hash, record.content_hash, {"energy": energy})


@dataclass(frozen=True)
class ResidualJob:
    """Cache the energy of the block in use; the embedding job does so for new images.

    Attributes
    ----------
    checkpoint : str
        The model, relative to the project's folder.
    image_ids : sequence of int or None
        Only these images; None for all.
    """

    checkpoint: str
    image_ids: Sequence[int] | None = None

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Compute all missing energies, beginning at the image in focus; yields after each."""
        from owlabel.models.device import chosen_device
        from owlabel.models.embed import image_features
        from owlabel.models.weights import load

        with Project.open(context.project) as project:
            path: Path = inside(project.folder, self.checkpoint)
            residuals = Residuals(project, read_header(path))
            waiting = waiting_images(project, self.image_ids, residuals.missing)
            total = len(waiting)
            if not waiting:
                return {"images": 0}
            yield Progress(0, total, "loading the model")
            segmenter = load(path)[0].to(chosen_device())
            for done, record in enumerate(nearest_first(waiting, project), start=1):
                image = read_or_store_error(project, record)
                if image is not None:
                    features = image_features(segmenter, image)
                    residuals.store(segmenter, record, features, (image.shape[0], image.shape[1]))
                yield Progress(done, total, record.relative)
        return {"images": total}
