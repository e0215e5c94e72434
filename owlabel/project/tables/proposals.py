"""Proposals: masks that a model proposes for review, with a class and a confidence.

A proposal is not a label.  Only accepting it makes a label: the action paints it into the human
layer where nobody has labelled (`session.proposals.accept`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import and_, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from owlabel.project.storage.revisions import Box, changed_box, decode_png, encode_png
from owlabel.project.storage.schema import ClassRow, ImageRow, ProposalRow, TagRow
from owlabel.project.tables.catalog import image_row
from owlabel.project.tables.tags import class_ids, present_in

if TYPE_CHECKING:
    from owlabel.project.storage.database import Database

BoolArray = NDArray[np.bool_]

SOURCES = ("weak_shot", "cluster")
"""Sources of proposals: SimFormer from tags, or a cluster of unknown segments."""
PROPOSAL_STATES = ("open", "accepted", "rejected")


@dataclass(frozen=True)
class NewProposal:
    """A mask that a job proposes.

    Attributes
    ----------
    class_id : int
        An active class of the project.
    mask : ndarray of bool, shape (H, W)
        In pixels of the image; must not be empty.
    confidence : float
        0 .. 1.
    """

    class_id: int
    mask: BoolArray
    confidence: float


@dataclass(frozen=True)
class Proposal:
    """A stored proposal without its mask, which `Proposals.mask` returns.

    Attributes
    ----------
    id, image_id, class_id : int
    source : str
        One of `SOURCES`.
    origin : str
        The job's number, or the name of the cluster.
    box : tuple of int
        (row0, col0, row1, col1) around the mask, in pixels of the image.
    confidence : float
        0 .. 1.
    pixels : int
        Number of pixels in the mask.
    state : str
        One of `PROPOSAL_STATES`.
    """

    id: int
    image_id: int
    class_id: int
    source: str
    origin: str
    box: Box
    confidence: float
    pixels: int
    state: str


def proposal_row(session: Session, proposal_id: int) -> ProposalRow:
    """Return a proposal's row; raises ValueError if no proposal has this id."""
    row = session.get(ProposalRow, proposal_id)
    if row is None:
        raise ValueError(f"no proposal has the id {proposal_id}")
    return row


class Proposals:
    """The proposals of a project.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, image_id: int, source: str, origin: str, items: Sequence[NewProposal]) -> None:
        """Store proposals, replacing the open ones of the same source and image.

        Accepted and rejected proposals stay.

        Parameters
        ----------
        image_id : int
        source : str
            One of `SOURCES`.
        origin : str
            A short text: the job's number, or the cluster's name.
        items : sequence of NewProposal
            May be empty.

        Raises
        ------
        ValueError
            If source, image or class is unknown, a mask is empty or not bool of the image's
            shape, a confidence is outside 0 .. 1, or ("weak_shot") the class is not tagged present
            in the image.  Nothing is stored then.
        """
        if source not in SOURCES:
            raise ValueError(f"a source must be one of {', '.join(SOURCES)}, got {source!r}")
        with self._database.writing() as session:
            image = image_row(session, image_id)
            allowed = present_in(session, image_id) if source == "weak_shot" else class_ids(session)
            for item in items:
                _check(item, image, allowed, source)
            session.execute(
                delete(ProposalRow).where(
                    ProposalRow.image_id == image_id,
                    ProposalRow.source == source,
                    ProposalRow.state == "open",
                )
            )
            rows = [_values(item) for item in items]
            if rows:
                same = {"image_id": image_id, "source": source, "origin": origin, "state": "open"}
                session.execute(insert(ProposalRow), [row | same for row in rows])

    def restore(self, image_id: int, source: str, origin: str, item: NewProposal) -> int:
        """Store one proposal without replacing others or checking tags; return its id (replays).

        Raises
        ------
        ValueError
            As for `write`, except for tags.
        """
        with self._database.writing() as session:
            _check(item, image_row(session, image_id), class_ids(session), source)
            same = {"image_id": image_id, "source": source, "origin": origin, "state": "open"}
            row = ProposalRow(**_values(item), **same)
            session.add(row)
            session.flush()
            return row.id

    def open(
        self,
        source: str | None = None,
        image_id: int | None = None,
        limit: int | None = None,
        *,
        to_review: bool = False,
    ) -> list[Proposal]:
        """Return the open proposals, the most confident first.

        With `to_review`, only those in images that are not reviewed, as in `count`.  Missing images
        and removed classes are left out.  A proposal from tags is left out once its class is no
        longer tagged present in the image.
        """
        query = _open(select(*_RECORD), source)
        if image_id is not None:
            query = query.where(ProposalRow.image_id == image_id)
        if to_review:
            query = query.where(ImageRow.state != "reviewed")
        query = query.order_by(ProposalRow.confidence.desc(), ProposalRow.id).limit(limit)
        with self._database.reading() as session:
            return [_record(row) for row in session.execute(query)]

    def count(self, source: str | None = None) -> int:
        """Return how many open proposals lie in images that are not reviewed."""
        query = _open(select(func.count()), source).where(ImageRow.state != "reviewed")
        with self._database.reading() as session:
            return int(session.scalar(query) or 0)

    def rejected(self, source: str, image_id: int) -> list[Proposal]:
        """Return the rejected proposals of a source in an image, oldest first."""
        query = (
            select(*_RECORD)
            .where(
                ProposalRow.state == "rejected",
                ProposalRow.source == source,
                ProposalRow.image_id == image_id,
            )
            .order_by(ProposalRow.id)
        )
        with self._database.reading() as session:
            return [_record(row) for row in session.execute(query)]

    def get(self, proposal_id: int) -> Proposal:
        """Return one proposal in any state; raises ValueError if no proposal has this id."""
        with self._database.reading() as session:
            proposal_row(session, proposal_id)
            query = select(*_RECORD).where(ProposalRow.id == proposal_id)
            return _record(session.execute(query).one())

    def is_open(self, proposal_id: int) -> bool:
        """Return whether a proposal can still be accepted, rejected or corrected."""
        try:
            image_id = self.get(proposal_id).image_id
        except ValueError:  # newer proposals have replaced it
            return False
        return any(p.id == proposal_id for p in self.open(image_id=image_id))

    def mask(self, proposal_id: int) -> BoolArray:
        """Return the mask of a proposal, bool (H, W).

        Raises
        ------
        ValueError
            If no proposal has this id, or the size of its image has changed.
        ProjectError
            If the stored mask is damaged.
        """
        with self._database.reading() as session:
            row = proposal_row(session, proposal_id)
            image = image_row(session, row.image_id)
            inside = decode_png(row.png, (row.height, row.width)) > 0
            bottom, right = row.row + row.height, row.col + row.width
            if image.height is None or image.width is None:
                raise ValueError(f"{image.relative} cannot be labelled: {image.error}")
            if min(row.row, row.col) < 0 or bottom > image.height or right > image.width:
                raise ValueError(
                    f"the proposal {row.id} does not fit into {image.relative} of "
                    f"{image.height} x {image.width}: compute the proposals again"
                )
            mask = np.zeros((image.height, image.width), bool)
            mask[row.row : bottom, row.col : right] = inside
            return mask


_RECORD = (
    ProposalRow.id,
    ProposalRow.image_id,
    ProposalRow.class_id,
    ProposalRow.source,
    ProposalRow.origin,
    ProposalRow.row,
    ProposalRow.col,
    ProposalRow.height,
    ProposalRow.width,
    ProposalRow.confidence,
    ProposalRow.pixels,
    ProposalRow.state,
)
"""All columns except the mask."""


def _open(query: Any, source: str | None) -> Any:
    """Return a query limited to the open proposals, see `Proposals.open`."""
    tagged = and_(TagRow.image_id == ProposalRow.image_id, TagRow.class_id == ProposalRow.class_id)
    query = (
        query.select_from(ProposalRow)
        .join(ImageRow, ImageRow.id == ProposalRow.image_id)
        .join(ClassRow, ClassRow.id == ProposalRow.class_id)
        .outerjoin(TagRow, tagged)
        .where(
            ProposalRow.state == "open",
            ~ImageRow.gone,
            ClassRow.active,
            or_(ProposalRow.source != "weak_shot", TagRow.state == "present"),
        )
    )
    return query if source is None else query.where(ProposalRow.source == source)


def _record(row: Any) -> Proposal:
    return Proposal(
        id=row.id,
        image_id=row.image_id,
        class_id=row.class_id,
        source=row.source,
        origin=row.origin,
        box=(row.row, row.col, row.row + row.height, row.col + row.width),
        confidence=row.confidence,
        pixels=row.pixels,
        state=row.state,
    )


def _check(item: NewProposal, image: ImageRow, allowed: set[int], source: str) -> None:
    mask, shape = item.mask, (image.height, image.width)
    if item.class_id not in allowed:
        why = "is not tagged present in it" if source == "weak_shot" else "is not in the project"
        raise ValueError(f"{image.relative}: the class {item.class_id} {why}")
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise ValueError(
            f"{image.relative} is {shape[0]} x {shape[1]}: a mask must be bool of that shape, "
            f"got {mask.dtype} {mask.shape}"
        )
    if not mask.any():
        raise ValueError(f"{image.relative}: an empty mask cannot be proposed")
    if not 0 <= item.confidence <= 1:
        raise ValueError(f"a confidence must lie in [0, 1], got {item.confidence}")


def _values(item: NewProposal) -> dict[str, object]:
    inside = item.mask.astype(np.uint8)
    row0, col0, row1, col1 = changed_box(np.uint8(0), inside)
    return {
        "class_id": int(item.class_id),
        "row": row0,
        "col": col0,
        "height": row1 - row0,
        "width": col1 - col0,
        "png": encode_png(inside[row0:row1, col0:col1]),
        "confidence": float(item.confidence),
        "pixels": int(np.count_nonzero(item.mask)),
    }
