"""Read images and cached embeddings of a project; the last few stay in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.images import files as images
from owlabel.novel.label_maps import ModelOutput
from owlabel.project.store import ImageRecord, Project

K = TypeVar("K")
V = TypeVar("V")


class Recent(LRUCache[K, V]):
    """A cache in memory that keeps the values used last.

    Parameters
    ----------
    maxsize : int
        The number of values to keep, at least 1.
    """

    def fetch(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of `key`; if it is missing, call `make` and keep the result."""
        if key not in self:
            self[key] = make()
        return self[key]


class Reader:
    """Read the images of a project and the cached outputs of one model.

    Parameters
    ----------
    project : Project
        The project with the images and the cache.
    header : CheckpointHeader
        The header of the model.
    """

    def __init__(self, project: Project, header: CheckpointHeader) -> None:
        self.project = project
        self.header = header
        self._images: Recent[int, NDArray[np.uint8]] = Recent(4)
        self._outputs: Recent[int, ModelOutput] = Recent(4)

    def image(self, record: ImageRecord) -> NDArray[np.uint8]:
        """Return an image, uint8 (H, W, 3); raises ImageError if it cannot be read."""
        return self._images.fetch(record.id, lambda: images.read(record.path))

    def embedded(self, record: ImageRecord) -> bool:
        """Return whether the cache holds the base head's embedding of an image."""
        return self.project.cache.has(self.header.heads[0].hash, record.content_hash)

    def output(self, record: ImageRecord) -> ModelOutput | None:
        """Return the model's output for an image, or None if the image is not embedded yet.

        PLM heads without a cached output are left out.
        """
        if record.id not in self._outputs:
            output = self._read_output(record)
            if output is None:
                return None
            if len(output.heads) < len(self.header.heads) - 1:
                return output  # incomplete: read it again next time
            self._outputs[record.id] = output
        return self._outputs[record.id]

    def _read_output(self, record: ImageRecord) -> ModelOutput | None:
        base = self._embedding(self.header.heads[0].hash, record)
        if base is None or record.shape is None:
            return None
        heads = []
        for head in self.header.heads[1:]:
            embedding = self._embedding(head.hash, record)
            if embedding is not None and head.class_id is not None:
                heads.append((head.class_id, embedding))
        return ModelOutput(record.shape, base, tuple(heads))

    def _embedding(self, head_hash: str, record: ImageRecord) -> NDArray[np.float32] | None:
        if not self.project.cache.has(head_hash, record.content_hash):
            return None
        arrays = self.project.cache.read(head_hash, record.content_hash)
        if arrays is None:
            return None
        return arrays["embedding"].astype(np.float32)
