"""Label maps in the database: PNG patches on a parent map, checked by a chain of sha256.

An edit changes a small part of a large map, so a revision stores only the box that changed.  The
digest of a revision covers its parent's digest, so a map that is read without an error is bit by
bit the map that was written.
"""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import zlib
from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
from cachetools import LRUCache
from PIL import Image, UnidentifiedImageError
from sqlalchemy.orm import Session

from owlabel.classes import UNSET, Labels
from owlabel.images.decoding import pixel_limit
from owlabel.project.storage.records import ProjectError
from owlabel.project.storage.schema import RevisionRow

MAX_DEPTH = 16
"""Longest chain of patches; after it the whole map is written again."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UNSET = np.uint8(UNSET)
_PILLOWS_LIMIT = Image.MAX_IMAGE_PIXELS or 0
_BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)
Box = tuple[int, int, int, int]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_png(labels: Labels) -> bytes:
    """Return an 8-bit grey PNG of a label map, shape (H, W).

    Label maps consist of runs.  Without a row filter, zlib's run-length strategy takes 3.4 ms at
    2048x1024; the encoders of imaging libraries take 8 to 12 ms and the file is not smaller.
    """
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # (H, 1 + W), each row begins with filter 0
    rows[:, 1:] = labels
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    packed = packer.compress(rows.data) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def decode_png(png: bytes, shape: tuple[int, int]) -> Labels:
    """Return the label map of a PNG, which must be 8-bit grey and of this shape.

    Raises
    ------
    ProjectError
        If it is damaged, not a PNG, or has another mode or shape.  The shape is checked first, so
        that a hostile file cannot make the program allocate much memory.
    """
    large = shape[0] * shape[1] > _PILLOWS_LIMIT
    try:
        with (
            pixel_limit() if large else nullcontext(),
            Image.open(io.BytesIO(png), formats=["PNG"]) as image,
        ):
            if image.size != shape[::-1] or image.mode != "L":
                raise ProjectError(
                    f"a label map must be L {shape}, got {image.mode} {image.size[::-1]}"
                )
            return np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError, zlib.error, *_BOMBS) as error:
        raise ProjectError(f"a label map is damaged: {error}") from error


def changed_box(before: Labels | np.uint8, after: Labels) -> Box:
    """Return the box (row0, col0, row1, col1) of all pixels that differ, (0, 0, 0, 0) if none."""
    differs = before != after  # (H, W)
    rows = np.flatnonzero(differs.any(axis=1))
    if rows.size == 0:
        return 0, 0, 0, 0
    row0, row1 = int(rows[0]), int(rows[-1]) + 1
    cols = np.flatnonzero(differs[row0:row1].any(axis=0))
    return row0, int(cols[0]), row1, int(cols[-1]) + 1


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def check_labels(labels: Labels) -> None:
    """Raise ValueError unless the array is uint8 of shape (H, W) with H, W >= 1."""
    if labels.dtype != np.uint8 or labels.ndim != 2 or labels.size == 0:
        raise ValueError(
            f"a label map must be uint8 of shape (H, W), got {labels.dtype} {labels.shape}"
        )


def _digest(row: RevisionRow, parent: str) -> str:
    place = (row.image_id, row.height, row.width, row.row, row.col)
    head = struct.pack(">5q", *place)
    return hashlib.sha256(parent.encode() + head + row.png).hexdigest()


class Revisions:
    """Reads and writes label maps; keeps the last few decoded, because they never change.

    Parameters
    ----------
    kept : int
        Number of maps kept in memory.
    """

    def __init__(self, kept: int = 12) -> None:
        self._maps: LRUCache[int, Labels] = LRUCache(kept)
        self._lock = threading.Lock()

    def remember(self, revision_id: int, labels: Labels) -> None:
        """Keep a committed map in memory and make it read-only."""
        labels.flags.writeable = False
        with self._lock:
            self._maps[revision_id] = labels

    def _recall(self, revision_id: int) -> Labels | None:
        with self._lock:
            return self._maps.get(revision_id)

    def read(self, session: Session, revision_id: int) -> Labels:
        """Return one label map, uint8 (H, W), read-only.

        Raises
        ------
        ProjectError
            If the revision does not exist, or one in its chain was altered.
        """
        known = self._recall(revision_id)
        if known is not None:
            return known
        labels = self._build(session, self._chain(session, revision_id))
        self.remember(revision_id, labels)
        return labels

    @staticmethod
    def _chain(session: Session, revision_id: int) -> list[RevisionRow]:
        """Return the rows from the root to the revision."""
        rows: list[RevisionRow] = []
        wanted: int | None = revision_id
        while wanted is not None:
            row = session.get(RevisionRow, wanted)
            if row is None or len(rows) > MAX_DEPTH:
                raise ProjectError(
                    f"label revision {revision_id} is missing or its chain is broken"
                )
            rows.append(row)
            wanted = row.parent_id
        return rows[::-1]

    @staticmethod
    def _build(session: Session, rows: list[RevisionRow]) -> Labels:
        shape = (rows[0].height, rows[0].width)
        labels: Labels | None = None
        digest = ""
        for row in rows:
            digest = _digest(row, digest)
            if digest != row.sha256:
                raise ProjectError(
                    f"label revision {row.id} of image {row.image_id} is damaged: its checksum "
                    f"is {digest[:12]}, not {row.sha256[:12]}; restore a copy of the project"
                )
            labels = np.full(shape, UNSET, np.uint8) if labels is None else labels
            _patch(labels, row)
        if labels is None:
            raise ProjectError("a label revision has no rows")
        return labels

    def add(
        self,
        session: Session,
        image_id: int,
        parent: RevisionRow | None,
        labels: Labels,
        fresh: Mapping[int, Labels],
    ) -> RevisionRow:
        """Write a map that follows `parent`; return the parent itself if nothing differs.

        The map is not kept in memory: call `remember` after the commit.  `fresh` holds the maps
        that the same transaction has already written.
        """
        base = self._base(session, parent, labels.shape, fresh)
        if parent is None or base is None:
            return self._insert(session, image_id, None, labels, changed_box(_UNSET, labels))
        box = changed_box(base, labels)
        if box[2] == 0:
            return parent
        if parent.depth + 1 >= MAX_DEPTH or 2 * _area(box) > labels.size:
            parent, box = None, changed_box(_UNSET, labels)  # keeps reading fast
        return self._insert(session, image_id, parent, labels, box)

    def _base(
        self,
        session: Session,
        parent: RevisionRow | None,
        shape: tuple[int, ...],
        fresh: Mapping[int, Labels],
    ) -> Labels | None:
        """Return the map to patch, or None if there is none of this shape."""
        if parent is None or (parent.height, parent.width) != shape:
            return None
        known = fresh.get(parent.id)
        return self.read(session, parent.id) if known is None else known

    @staticmethod
    def _insert(
        session: Session, image_id: int, parent: RevisionRow | None, labels: Labels, box: Box
    ) -> RevisionRow:
        row0, col0, row1, col1 = box if box[2] else (0, 0, 1, 1)
        row = RevisionRow(
            image_id=image_id,
            parent_id=None if parent is None else parent.id,
            depth=0 if parent is None else parent.depth + 1,
            height=labels.shape[0],
            width=labels.shape[1],
            row=row0,
            col=col0,
            png=encode_png(labels[row0:row1, col0:col1]),
        )
        row.sha256 = _digest(row, "" if parent is None else parent.sha256)
        session.add(row)
        session.flush()
        return row


def _patch(labels: Labels, row: RevisionRow) -> None:
    """Write the revision's box into `labels`, in place."""
    if len(row.png) < 24:
        raise ProjectError(f"label revision {row.id} is truncated; restore a copy of the project")
    width, height = struct.unpack(">II", row.png[16:24])  # from the header; decoding checks it
    if row.row < 0 or row.col < 0 or (row.height, row.width) != labels.shape:
        raise ProjectError(f"label revision {row.id} does not fit its image")
    if row.row + height > row.height or row.col + width > row.width:
        raise ProjectError(f"label revision {row.id} does not fit its image")
    window = labels[row.row : row.row + height, row.col : row.col + width]
    window[:] = decode_png(row.png, (height, width))
