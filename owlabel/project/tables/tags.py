"""Tags: the classes that people mark as present in an image or absent from it.

Without a row, the state of a class in an image is "unknown".  The journal holds one entry for each
class that an action changed, for any number of images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, bindparam, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from owlabel.project.storage.records import ProjectError
from owlabel.project.storage.schema import ClassRow, ImageRow, TagRow

if TYPE_CHECKING:
    from owlabel.project.storage.database import Database

TAG_STATES = ("present", "absent", "unknown")
"""The states of a class in an image; "unknown" removes the tag."""
FEW = 500
"""Most images that a query lists by id."""


def check(session: Session, class_id: int, states: Mapping[int, str]) -> None:
    """Raise ValueError unless class and images exist and each state is one of `TAG_STATES`."""
    row = session.get(ClassRow, class_id)
    if row is None or not row.active:
        raise ValueError(f"no class has the id {class_id}")
    wrong = set(states.values()) - set(TAG_STATES)
    if wrong:
        raise ValueError(f"a tag must be one of {', '.join(TAG_STATES)}, got {min(wrong)!r}")
    query = select(ImageRow.id).where(*_among(ImageRow.id, states))
    missing = set(states) - set(session.scalars(query))
    if missing:
        raise ValueError(f"no image has the id {min(missing)}")


def _among(column: InstrumentedAttribute[int], wanted: Collection[int]) -> list[Any]:
    """Return a condition for few values; for many it is faster to read the whole table."""
    return [column.in_(wanted)] if len(wanted) <= FEW else []


def states(session: Session, class_id: int, among: Collection[int]) -> dict[int, str]:
    """Return the tags of one class by image id, at least for these images."""
    near = _among(TagRow.image_id, among)
    query = select(TagRow.image_id, TagRow.state).where(TagRow.class_id == class_id, *near)
    return {row.image_id: row.state for row in session.execute(query)}


def assign_tags(session: Session, class_id: int, values: object) -> None:
    """Store the tags of a class from the journal: states by image id, None for unknown.

    Raises
    ------
    ProjectError
        If the journal is damaged.
    """
    if not isinstance(values, dict) or set(values.values()) - {"present", "absent", None}:
        raise ProjectError(
            f"the journal holds malformed tags: {str(values)[:80]}; restore a copy of the project"
        )
    rows = [{"image_id": int(i), "class_id": class_id, "state": s} for i, s in values.items()]
    removed = [{"image": row["image_id"]} for row in rows if row["state"] is None]
    stored = [row for row in rows if row["state"] is not None]
    connection = session.connection()
    of_image = (TagRow.image_id == bindparam("image"), TagRow.class_id == class_id)
    if removed:
        connection.execute(delete(TagRow).where(*of_image), removed)
    if stored:
        command = insert(TagRow)
        connection.execute(
            command.on_conflict_do_update(
                index_elements=["image_id", "class_id"], set_={"state": command.excluded.state}
            ),
            stored,
        )


class Tags:
    """The image tags of a project; `Project.action` changes them.

    Missing images and removed classes are left out until they return.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, image_id: int) -> dict[int, str]:
        """Return "present" or "absent" by class id, for one image."""
        with self._database.reading() as session:
            return {c: state for _, c, state in _read(session, TagRow.image_id == image_id)}

    def by_class(self, class_id: int, among: Collection[int] | None = None) -> dict[int, str]:
        """Return "present" or "absent" by image id, for one class, at least of images `among`."""
        near = [] if among is None else _among(TagRow.image_id, among)
        with self._database.reading() as session:
            rows = _read(session, TagRow.class_id == class_id, *near)
        return {image_id: state for image_id, _, state in rows}

    def present(self, class_id: int) -> set[int]:
        """Return the ids of the images in which a class is tagged present."""
        query = (
            select(TagRow.image_id)
            .join(ImageRow, ImageRow.id == TagRow.image_id)
            .where(TagRow.class_id == class_id, TagRow.state == "present", ~ImageRow.gone)
        )
        with self._database.reading() as session:
            return set(session.scalars(query))

    def all(self) -> dict[int, dict[int, str]]:
        """Return ``{image id: {class id: state}}`` of all tagged images."""
        tags: dict[int, dict[int, str]] = {}
        with self._database.reading() as session:
            for image_id, class_id, state in _read(session):
                tags.setdefault(image_id, {})[class_id] = state
        return tags

    def counts(self) -> dict[int, dict[str, int]]:
        """Return the numbers of images tagged "present" and "absent", by class id."""
        counts: dict[int, dict[str, int]] = {}
        query = (
            select(TagRow.class_id, TagRow.state, func.count().label("images"))
            .join(ImageRow, ImageRow.id == TagRow.image_id)
            .join(ClassRow, ClassRow.id == TagRow.class_id)
            .where(~ImageRow.gone, ClassRow.active)
            .group_by(TagRow.class_id, TagRow.state)
        )
        with self._database.reading() as session:
            for row in session.execute(query):
                of_class = counts.setdefault(row.class_id, {"present": 0, "absent": 0})
                of_class[row.state] = row.images
        return counts


def _read(session: Session, *where: ColumnElement[bool]) -> list[tuple[int, int, str]]:
    """Return (image, class, state) of existing images and active classes, in image order."""
    query = (
        select(TagRow.image_id, TagRow.class_id, TagRow.state)
        .join(ImageRow, ImageRow.id == TagRow.image_id)
        .join(ClassRow, ClassRow.id == TagRow.class_id)
        .where(~ImageRow.gone, ClassRow.active, *where)
        .order_by(ImageRow.position, TagRow.class_id)
    )
    return [(row.image_id, row.class_id, row.state) for row in session.execute(query)]


def present_in(session: Session, image_id: int) -> set[int]:
    """Return the ids of the classes tagged present in an image."""
    rows = _read(session, TagRow.image_id == image_id, TagRow.state == "present")
    return {class_id for _, class_id, _ in rows}


def class_ids(session: Session) -> set[int]:
    """Return the ids of the active classes."""
    return set(session.scalars(select(ClassRow.id).where(ClassRow.active)))
