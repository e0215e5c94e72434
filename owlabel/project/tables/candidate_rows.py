"""What models found in the images: candidates, novel classes, means of shots; no history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Text, case, delete, func, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from owlabel.project.storage.records import CandidateRow
from owlabel.project.storage.schema import (
    CandidateEntry,
    FindingRow,
    ImageRow,
    ShotMeanRow,
    from_texts,
)
from owlabel.project.tables.candidate_details import pack_features, pack_mask, unpack_features

if TYPE_CHECKING:
    from owlabel.ood.candidates import Candidate

_LOOKED_AT = -1


def replace_candidates(
    session: Session,
    image_id: int,
    head_hash: str,
    candidates: Sequence[Candidate],
    segments: NDArray[np.int32] | None = None,
    features: NDArray[np.float64] | None = None,
) -> None:
    """Store the candidates of an image under a head in place of the earlier ones.

    Candidate i has the id i + 1 in `segments` (h, w), and row i of `features` (k, n).
    """
    session.execute(
        delete(CandidateEntry).where(
            CandidateEntry.image_id == image_id, CandidateEntry.head_hash == head_hash
        )
    )
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
    if rows:
        session.execute(insert(CandidateEntry), rows)


def candidates(
    session: Session,
    head_hash: str,
    limit: int,
    image_id: int | None = None,
    to_review: bool = False,
) -> list[CandidateRow]:
    """Return candidates of images that are there: unclaimed first, then the highest rank.

    Of one image where it is given, and only of images that are not reviewed if so wanted; -1 sets
    no limit.  The unclaimed ones come by rank from an index, so that the best of a million cost
    what the best of a thousand do.
    """
    entry = CandidateEntry
    query = (
        select(
            type_coerce(entry.box, Text), type_coerce(entry.peak, Text), entry.id, entry.image_id,
            entry.score, entry.area, entry.likely_class, entry.rank, entry.claimed_by,
            entry.features,
        )
        .join(ImageRow, ImageRow.id == entry.image_id)
        .where(entry.head_hash == head_hash, ~ImageRow.gone)
        .order_by(entry.rank.desc(), entry.id.desc())  # backwards through the index, no sorting
    )  # fmt: skip
    if image_id is not None:
        query = query.where(entry.image_id == image_id)
    if to_review:
        query = query.where(ImageRow.state != "reviewed")
    found: list[CandidateRow] = []
    for claimed in (entry.claimed_by.is_(None), entry.claimed_by.is_not(None)):
        left = limit - len(found) if limit >= 0 else -1
        if left:
            rows = session.execute(query.where(claimed).limit(left)).all()
            boxes, peaks = (from_texts([str(row[i]) for row in rows]) for i in (0, 1))
            found += [_row(*parts) for parts in zip(boxes, peaks, rows, strict=True)]
    return found


def _row(box: Sequence[int], peak: Sequence[int], row: Sequence[Any]) -> CandidateRow:
    from owlabel.ood.candidates import Candidate

    row_id, image_id, score, area, likely_class, rank, claimed_by, features = row[2:]
    row0, col0, row1, col1 = box
    place, top = (row0, col0, row1, col1), (peak[0], peak[1])
    candidate = Candidate(score, area, place, top, likely_class, rank)
    return CandidateRow(row_id, image_id, candidate, claimed_by, unpack_features(features))


def forget_claims(session: Session, head_hash: str) -> None:
    """Say of every candidate under a head that no class explains it."""
    claimed = CandidateEntry.head_hash == head_hash, CandidateEntry.claimed_by.is_not(None)
    session.execute(update(CandidateEntry).where(*claimed).values(claimed_by=None))


def set_claims(session: Session, claims: Mapping[int, int | None]) -> None:
    """Say which class explains each candidate, None for none; missing ones are passed over."""
    for candidate_id, class_id in claims.items():
        session.execute(
            update(CandidateEntry)
            .where(CandidateEntry.id == candidate_id)
            .values(claimed_by=class_id)
        )


def set_findings(session: Session, key: str, image_id: int, pixels: Mapping[int, int]) -> None:
    """Store how many pixels of each novel class an image has under the rule `key`, or 0."""
    session.execute(
        delete(FindingRow).where(FindingRow.key == key, FindingRow.image_id == image_id)
    )
    counts = {_LOOKED_AT: 0, **{int(c): int(n) for c, n in pixels.items()}}
    session.execute(
        insert(FindingRow),
        [
            {"key": key, "image_id": image_id, "class_id": class_id, "pixels": count}
            for class_id, count in counts.items()
        ],
    )


def found(session: Session, key: str) -> dict[int, int]:
    """Return class id to number of images in which the rule `key` found it, 0 for nowhere."""
    query = (
        select(FindingRow.class_id, func.count(case((FindingRow.pixels > 0, 1))).label("images"))
        .where(FindingRow.key == key, FindingRow.class_id != _LOOKED_AT)
        .group_by(FindingRow.class_id)
    )
    return {row.class_id: row.images for row in session.execute(query)}


def looked_at(session: Session, key: str) -> set[int]:
    """Return the images that the rule `key` has been applied to."""
    query = select(FindingRow.image_id).where(
        FindingRow.key == key, FindingRow.class_id == _LOOKED_AT
    )
    return set(session.scalars(query))


def shot_means(session: Session, head_hash: str) -> dict[int, dict[int, NDArray[np.float64]]]:
    """Return revision to class to mean embedding, (N,), of every shot known under a head.

    A revision without any shot is there with an empty dict once it was looked at.
    """
    known: dict[int, dict[int, NDArray[np.float64]]] = {}
    for row in session.scalars(select(ShotMeanRow).where(ShotMeanRow.head_hash == head_hash)):
        of_revision = known.setdefault(row.revision_id, {})
        if row.class_id != _LOOKED_AT and len(row.mean) % 8 == 0:
            of_revision[row.class_id] = np.frombuffer(row.mean, "<f8").astype(np.float64)
    return known


def store_shot_means(
    session: Session,
    revision_id: int,
    head_hash: str,
    means: Mapping[int, NDArray[np.float64]],
) -> None:
    """Store the mean embedding, (N,), of every shot of a revision under a head."""
    of_revision = (ShotMeanRow.revision_id == revision_id, ShotMeanRow.head_hash == head_hash)
    session.execute(delete(ShotMeanRow).where(*of_revision))
    session.add_all(
        ShotMeanRow(
            revision_id=revision_id,
            class_id=class_id,
            head_hash=head_hash,
            mean=np.ascontiguousarray(mean, "<f8").tobytes(),
        )
        for class_id, mean in {_LOOKED_AT: np.zeros(0), **means}.items()
    )
