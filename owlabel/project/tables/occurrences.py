"""The images in which novel classes occur according to a rule; not in the history.

A rule (prototypes, threshold, heads) has a key.  An image to which the rule was applied has one row
for the class `SCANNED` and one row for each novel class, with 0 pixels if it does not occur.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import case, delete, func, insert, select

from owlabel.project.storage.database import Database
from owlabel.project.storage.schema import FindingRow
from owlabel.project.tables.candidate_rows import store_claims

SCANNED = -1


class Occurrences:
    """Occurrences of the novel classes of one project.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def store(
        self,
        key: str,
        image_id: int,
        pixels: Mapping[int, int],
        claims: Mapping[int, int | None] | None = None,
    ) -> None:
        """Store the pixel counts of novel classes in an image, and the candidates they explain.

        Parameters
        ----------
        key : str
            Key of the rule.
        image_id : int
        pixels : mapping
            Pixel counts by class id; 0 if the class does not occur.
        claims : mapping, optional
            See `Candidates.claim`.
        """
        counts = {SCANNED: 0, **{int(c): int(n) for c, n in pixels.items()}}
        rows = [
            {"key": key, "image_id": image_id, "class_id": class_id, "pixels": count}
            for class_id, count in counts.items()
        ]
        with self._database.writing() as session:
            session.execute(
                delete(FindingRow).where(FindingRow.key == key, FindingRow.image_id == image_id)
            )
            session.execute(insert(FindingRow), rows)
            store_claims(session, claims or {})

    def image_counts(self, key: str) -> dict[int, int]:
        """Return for each class id the number of images in which it occurs."""
        images = func.count(case((FindingRow.pixels > 0, 1))).label("images")
        query = (
            select(FindingRow.class_id, images)
            .where(FindingRow.key == key, FindingRow.class_id != SCANNED)
            .group_by(FindingRow.class_id)
        )
        with self._database.reading() as session:
            return {row.class_id: row.images for row in session.execute(query)}

    def scanned(self, key: str) -> set[int]:
        """Return the ids of the images to which the rule was applied."""
        scanned = FindingRow.key == key, FindingRow.class_id == SCANNED
        with self._database.reading() as session:
            return set(session.scalars(select(FindingRow.image_id).where(*scanned)))
