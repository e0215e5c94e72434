"""The labels of all images at one moment, to read while people keep labelling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from owlabel.classes import ClassTable, Labels
from owlabel.project.history.action import class_table
from owlabel.project.storage.records import ImageRecord
from owlabel.project.storage.schema import ImageRow
from owlabel.project.tables.catalog import select_records

if TYPE_CHECKING:
    from owlabel.project.store import Project


@dataclass(frozen=True)
class FrozenImage:
    """An image with the revisions of its labels, which never change.

    Attributes
    ----------
    record : ImageRecord
        The image at that moment.
    review : tuple of int or None
        Revisions of the reviewed labels and of their sources; None if it was not reviewed.
    """

    record: ImageRecord
    review: tuple[int, int] | None

    def reviewed(self, project: Project) -> tuple[Labels, Labels] | None:
        """Return the reviewed labels and their sources, or None without a review."""
        if self.review is None:
            return None
        labels, source = self.review
        return project.revision(labels), project.revision(source)


def snapshot(project: Project) -> tuple[ClassTable, list[FrozenImage]]:
    """Return the classes and the readable images of a project, read in one transaction."""
    with project.database.reading() as session:
        query = select(ImageRow.id, ImageRow.review_labels_id, ImageRow.review_source_id)
        reviews = {
            image_id: (labels, source)
            for image_id, labels, source in session.execute(query)
            if labels is not None and source is not None
        }
        records = select_records(session, project.images_root)
        images = []
        for record in records:
            review = reviews.get(record.id)
            if record.state == "reviewed" and review is None:
                record = replace(record, state="edited")
            if record.error is None:
                images.append(FrozenImage(record, review))
        return class_table(session), images
