"""Mean embeddings of shots, by revision and head; not in the history.

A revision that was read has a row of the class `READ`.  So a revision without shots is read once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select

from owlabel.project.storage.database import Database
from owlabel.project.storage.schema import ShotMeanRow

READ = -1


class ShotMeans:
    """Mean embeddings of the shots of one project.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_head(self, head_hash: str) -> dict[int, dict[int, NDArray[np.float64]]]:
        """Return ``{revision: {class: mean embedding}}`` under a head; a mean has shape (N,).

        A revision that was read but has no shot maps to an empty dict.
        """
        means: dict[int, dict[int, NDArray[np.float64]]] = {}
        query = select(ShotMeanRow).where(ShotMeanRow.head_hash == head_hash)
        with self._database.reading() as session:
            for row in session.scalars(query):
                of_revision = means.setdefault(row.revision_id, {})
                if row.class_id != READ and len(row.mean) % 8 == 0:
                    of_revision[row.class_id] = np.frombuffer(row.mean, "<f8").astype(np.float64)
        return means

    def store(
        self, revision_id: int, head_hash: str, means: Mapping[int, NDArray[np.float64]]
    ) -> None:
        """Store the mean embeddings, (N,) each, of the shots of a revision under a head."""
        of_revision = ShotMeanRow.revision_id == revision_id, ShotMeanRow.head_hash == head_hash
        with self._database.writing() as session:
            session.execute(delete(ShotMeanRow).where(*of_revision))
            session.add_all(
                ShotMeanRow(
                    revision_id=revision_id,
                    class_id=class_id,
                    head_hash=head_hash,
                    mean=np.ascontiguousarray(mean, "<f8").tobytes(),
                )
                for class_id, mean in {READ: np.zeros(0), **means}.items()
            )
