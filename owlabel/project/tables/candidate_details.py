"""Details of a candidate: its mask on the grid and its features.  Both can be recomputed."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, func, or_, select, update

from owlabel.project.storage.schema import CandidateEntry, ImageRow, MetaRow

if TYPE_CHECKING:
    from owlabel.project.storage.database import Database

Segments = NDArray[np.int32]
Doubles = NDArray[np.float64]

_BOX = struct.Struct("<4H")


@dataclass(frozen=True)
class Details:
    """A candidate as input of the meta classifier, which finds false candidates.

    Attributes
    ----------
    id, image_id : int
        Ids of the candidate's row and of its image.
    peak : tuple of int
        (row, col) in pixels of the image.
    mask : bytes or None
        See `pack_mask`; None if an older version stored the candidate.
    features : ndarray of float64, shape (n,), or None
        See `owlabel.ood.segment_features`.
    """

    id: int
    image_id: int
    peak: tuple[int, int]
    mask: bytes | None
    features: Doubles | None


def pack_mask(inside: NDArray[np.bool_]) -> bytes:
    """Return a mask (h, w) as bytes: its bounding box and the pixels in it, one bit each.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        raise ValueError("an empty mask cannot be stored")
    top, left = int(rows[0]), int(cols[0])
    box = inside[top : rows[-1] + 1, left : cols[-1] + 1]
    return _BOX.pack(top, left, *box.shape) + np.packbits(box).tobytes()


def put_mask(segments: Segments, packed: bytes, number: int) -> bool:
    """Write `number` into the pixels of a packed mask; return False if it does not fit the map."""
    if len(packed) < _BOX.size:
        return False
    top, left, rows, cols = _BOX.unpack_from(packed)
    bits = np.frombuffer(packed, np.uint8, offset=_BOX.size)
    target = segments[top : top + rows, left : left + cols]
    if target.shape != (rows, cols) or 8 * bits.size < rows * cols:
        return False
    target[np.unpackbits(bits, count=rows * cols).reshape(rows, cols).astype(bool)] = number
    return True


def pack_features(features: Doubles) -> bytes:
    """Return features (n,) as bytes."""
    return np.ascontiguousarray(features, "<f8").tobytes()


def unpack_features(stored: bytes | None) -> Doubles | None:
    """Return the features in some bytes, (n,), or None if they are missing or truncated."""
    if stored is None or len(stored) % 8:
        return None
    return np.frombuffer(stored, "<f8").astype(np.float64)


def details(database: Database, head_hash: str, image_id: int) -> list[Details]:
    """Return the candidates of an image under a head, by id; none if the image is gone."""
    query = _columns(_there(head_hash)).where(CandidateEntry.image_id == image_id)
    with database.reading() as session:
        return [_unpacked(row) for row in session.execute(query.order_by(CandidateEntry.id))]


def spread(database: Database, head_hash: str, most: int) -> tuple[list[Details], int]:
    """Return about `most` candidates of a project, evenly spread by id, and the total number.

    If there are at most `most`, all are returned.
    """
    there = _there(head_hash)
    with database.reading() as session:
        count = session.scalar(there.with_only_columns(func.count())) or 0
        query = _columns(there)
        if count > most:
            query = query.where(CandidateEntry.id % math.ceil(count / most) == 0)
        query = query.order_by(CandidateEntry.image_id, CandidateEntry.id)
        return [_unpacked(row) for row in session.execute(query)], count


def unfinished(database: Database, head_hash: str, columns: int) -> list[int]:
    """Return the images with a candidate that lacks its mask or has not `columns` features."""
    query = _there(head_hash).with_only_columns(CandidateEntry.image_id).distinct()
    with database.reading() as session:
        features, mask = CandidateEntry.features, CandidateEntry.mask
        missing = or_(features.is_(None), func.length(features) != 8 * columns, mask.is_(None))
        return list(session.scalars(query.where(missing)))


def _there(head_hash: str) -> Select[Any]:
    """Return the query for all candidates under a head in existing images."""
    query = select(CandidateEntry.id).join(ImageRow, ImageRow.id == CandidateEntry.image_id)
    return query.where(CandidateEntry.head_hash == head_hash, ~ImageRow.gone)


def _columns(query: Select[Any]) -> Select[Any]:
    return query.with_only_columns(
        CandidateEntry.id, CandidateEntry.image_id, CandidateEntry.peak, CandidateEntry.mask,
        CandidateEntry.features,
    )  # fmt: skip


def _unpacked(row: Any) -> Details:
    peak = (int(row.peak[0]), int(row.peak[1]))
    return Details(row.id, row.image_id, peak, row.mask, unpack_features(row.features))


def store(database: Database, rows: Iterable[Details]) -> None:
    """Store mask and features of candidates; rows that are gone are skipped."""
    with database.writing() as session:
        for row in rows:
            features = None if row.features is None else pack_features(row.features)
            session.execute(
                update(CandidateEntry)
                .where(CandidateEntry.id == row.id)
                .values(mask=row.mask, features=features)
            )


def store_judge(database: Database, key: str, value: dict[str, Any]) -> None:
    """Store a fitted meta classifier as plain JSON under its key, replacing an earlier one."""
    with database.writing() as session:
        session.merge(MetaRow(key=f"judge {key}", value=value))


def judge(database: Database, key: str) -> dict[str, Any] | None:
    """Return the meta classifier stored under a key, or None."""
    with database.reading() as session:
        row = session.get(MetaRow, f"judge {key}")
        return None if row is None or not isinstance(row.value, dict) else row.value
