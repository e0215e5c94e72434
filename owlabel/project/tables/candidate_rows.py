"""The OoD candidates that a model proposed in the images of a project; not in the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Text, delete, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from owlabel.project.storage.database import Database
from owlabel.project.storage.records import CandidateRow
from owlabel.project.storage.schema import CandidateEntry, ImageRow, from_texts
from owlabel.project.tables.candidate_details import pack_features, pack_mask, unpack_features
from owlabel.project.tables.catalog import image_row

if TYPE_CHECKING:
    from owlabel.ood.candidates import Candidate


class Candidates:
    """The candidates of one project, by the hash of the head that proposed them.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(
        self,
        image_id: int,
        head_hash: str,
        candidates: Sequence[Candidate],
        segments: NDArray[np.int32] | None = None,
        features: NDArray[np.float64] | None = None,
    ) -> None:
        """Store the candidates of an image under a head, replacing earlier ones.

        Parameters
        ----------
        image_id : int
        head_hash : str
        candidates : sequence of Candidate
        segments : ndarray of int32, shape (h, w), optional
            Candidate i has the id i + 1.
        features : ndarray of float64, shape (k, n), optional
            Row i belongs to candidate i.

        Raises
        ------
        ValueError
            If no image has this id.
        """
        rows = [
            {
                "image_id": image_id,
                "head_hash": head_hash,
                "score": float(c.score),
                "area": int(c.area),
                "box": [int(v) for v in c.box],
                "peak": [int(v) for v in c.peak],
                "likely_class": int(c.likely_class),
                "rank": float(c.rank),
                "claimed_by": None,
                "mask": None if segments is None else pack_mask(segments == i + 1),
                "features": None if features is None else pack_features(features[i]),
            }
            for i, c in enumerate(candidates)
        ]
        with self._database.writing() as session:
            image_row(session, image_id).proposed = True
            session.execute(
                delete(CandidateEntry).where(
                    CandidateEntry.image_id == image_id, CandidateEntry.head_hash == head_hash
                )
            )
            if rows:
                session.execute(insert(CandidateEntry), rows)

    def ranked(
        self,
        head_hash: str,
        limit: int = 200,
        image_id: int | None = None,
        to_review: bool = False,
    ) -> list[CandidateRow]:
        """Return candidates of existing images: unclaimed ones first, then by rank, highest first.

        An index gives the unclaimed ones by rank, so the time does not grow with their number.

        Parameters
        ----------
        head_hash : str
        limit : int
            The largest number of rows; -1 sets no limit.
        image_id : int, optional
            Only candidates of this image.
        to_review : bool
            Only candidates of images that are not reviewed.
        """
        entry = CandidateEntry
        query = (
            select(
                type_coerce(entry.box, Text), type_coerce(entry.peak, Text), entry.id,
                entry.image_id, entry.score, entry.area, entry.likely_class, entry.rank,
                entry.claimed_by, entry.features,
            )
            .join(ImageRow, ImageRow.id == entry.image_id)
            .where(entry.head_hash == head_hash, ~ImageRow.gone)
            .order_by(entry.rank.desc(), entry.id.desc())  # backwards through the index, no sorting
        )  # fmt: skip
        if image_id is not None:
            query = query.where(entry.image_id == image_id)
        if to_review:
            query = query.where(ImageRow.state != "reviewed")
        ranked: list[CandidateRow] = []
        with self._database.reading() as session:
            for claimed in (entry.claimed_by.is_(None), entry.claimed_by.is_not(None)):
                left = limit - len(ranked) if limit >= 0 else -1
                if left:
                    rows = session.execute(query.where(claimed).limit(left)).all()
                    boxes, peaks = (from_texts([str(row[i]) for row in rows]) for i in (0, 1))
                    ranked += [_row(*values) for values in zip(boxes, peaks, rows, strict=True)]
        return ranked

    def claim(self, claims: Mapping[int, int | None]) -> None:
        """Store which class explains each candidate, by its row id; None for no class."""
        with self._database.writing() as session:
            store_claims(session, claims)

    def forget_claims(self, head_hash: str) -> None:
        """Store that no class explains any candidate under a head."""
        claimed = CandidateEntry.head_hash == head_hash, CandidateEntry.claimed_by.is_not(None)
        with self._database.writing() as session:
            session.execute(update(CandidateEntry).where(*claimed).values(claimed_by=None))


def store_claims(session: Session, claims: Mapping[int, int | None]) -> None:
    """Store which class explains each candidate; ids without a row are skipped."""
    for candidate_id, class_id in claims.items():
        session.execute(
            update(CandidateEntry)
            .where(CandidateEntry.id == candidate_id)
            .values(claimed_by=class_id)
        )


def _row(box: Sequence[int], peak: Sequence[int], row: Sequence[Any]) -> CandidateRow:
    from owlabel.ood.candidates import Candidate

    row_id, image_id, score, area, likely_class, rank, claimed_by, features = row[2:]
    row0, col0, row1, col1 = box
    place, top = (row0, col0, row1, col1), (peak[0], peak[1])
    candidate = Candidate(score, area, place, top, likely_class, rank)
    return CandidateRow(row_id, image_id, candidate, claimed_by, unpack_features(features))
