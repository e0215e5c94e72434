"""The readable images of a project, in order, kept in memory."""

from __future__ import annotations

from collections.abc import Iterable

from owlabel.project.store import ImageRecord, Project


class ImageList:
    """The records of the readable images, in natural order of their names.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def read(self) -> None:
        """Read all records from the database again."""
        self.by_id = {r.id: r for r in self._project.images() if r.error is None}
        self.ids = list(self.by_id)
        self._positions = {image_id: i for i, image_id in enumerate(self.ids)}

    def update(self, image_ids: Iterable[int]) -> None:
        """Read the records of a few images again."""
        for image_id in self.by_id.keys() & set(image_ids):
            self.by_id[image_id] = self._project.image(image_id)

    def record(self, image_id: int | None) -> ImageRecord:
        """Return the record of an image; raises ValueError if no readable image has this id."""
        record = None if image_id is None else self.by_id.get(image_id)
        if record is None:
            raise ValueError(f"no readable image has the id {image_id}")
        return record

    @property
    def records(self) -> list[ImageRecord]:
        """All readable images, in order."""
        return list(self.by_id.values())

    def position(self, image_id: int) -> tuple[int, int]:
        """Return the position of an image, counted from 0, and the number of images."""
        return self._positions[self.record(image_id).id], len(self.ids)

    def neighbour(self, image_id: int, by: int) -> int:
        """Return the id of the image `by` positions further on; after the last comes the first."""
        return self.ids[(self._positions[image_id] + by) % len(self.ids)]
