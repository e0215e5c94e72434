"""The tables of a project's database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from owlabel.project.storage.records import ProjectError

REVISION = "0004"
"""The newest migration; a database at this revision opens without loading alembic."""


class Json(TypeDecorator[Any]):
    """Plain JSON values as text, because SQLite would round the numbers of a JSON column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Return the JSON text of a value; None becomes ``null``."""
        return json.dumps(value, allow_nan=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the value of a JSON text; raises ProjectError if it is damaged."""
        return from_texts([value])[0]


def from_texts(texts: Sequence[str]) -> list[Any]:
    """Return the values of many `Json` texts at once, ten times faster than one by one.

    Raises
    ------
    ProjectError
        If one was damaged.
    """
    try:
        values: list[Any] = json.loads(f"[{','.join(texts)}]")
    except (TypeError, ValueError) as error:
        raise ProjectError(f"the database holds damaged values: {error}") from error
    if len(values) != len(texts):
        raise ProjectError("the database holds damaged values: there are too many or too few")
    return values


class Base(DeclarativeBase):
    """Base of all tables; it names every constraint, so that later migrations can find it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: Json, float: Double}  # noqa: RUF012


class MetaRow(Base):
    """Facts outside the history: name, image folder, the image in focus."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[Any] = mapped_column(Json)


class SettingRow(Base):
    """Settings inside the history, e.g. which model is active."""

    __tablename__ = "setting"
    key: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[Any] = mapped_column(Json)


class ClassRow(Base):
    """A label class; never deleted, so that an id keeps its meaning."""

    __tablename__ = "label_class"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    color: Mapped[Any] = mapped_column(Json)
    novel: Mapped[bool]
    active: Mapped[bool]


class RevisionRow(Base):
    """A label map: a PNG patch on its parent, or on a map that is UNSET everywhere."""

    __tablename__ = "revision"
    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("revision.id"))
    depth: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    row: Mapped[int]
    col: Mapped[int]
    png: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str]


class ImageRow(Base):
    """An image file; people set `state`, and `proposed` is set once a model has run on it."""

    __tablename__ = "image"
    id: Mapped[int] = mapped_column(primary_key=True)
    relative: Mapped[str] = mapped_column(String, unique=True)
    position: Mapped[int]
    gone: Mapped[bool]
    content_hash: Mapped[str]
    file_size: Mapped[int] = mapped_column(BigInteger)
    file_time: Mapped[int] = mapped_column(BigInteger)
    height: Mapped[int | None]
    width: Mapped[int | None]
    error: Mapped[str | None]
    proposed: Mapped[bool]
    state: Mapped[str]
    revision_id: Mapped[int | None]
    review_labels_id: Mapped[int | None]
    review_source_id: Mapped[int | None]


class ModelRow(Base):
    """A model version; `path` is relative to the project's folder."""

    __tablename__ = "model"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    path: Mapped[str]
    kind: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("model.id"))
    created: Mapped[float]
    metrics: Mapped[dict[str, Any]]
    sha256: Mapped[str]


class EventRow(Base):
    """The append-only event log.  Each event stores the tops of both stacks, so undo is O(1)."""

    __tablename__ = "event"
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    label: Mapped[str]
    target: Mapped[int | None] = mapped_column(ForeignKey("event.seq"), index=True)
    created: Mapped[float]
    undo_head: Mapped[int | None]
    redo_head: Mapped[int | None]


class ChangeRow(Base):
    """The journal: the changes of each action."""

    __tablename__ = "change"
    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(ForeignKey("event.seq"), index=True)
    table: Mapped[str]
    row: Mapped[str]
    field: Mapped[str]
    before: Mapped[Any] = mapped_column(Json)
    after: Mapped[Any] = mapped_column(Json)


class CandidateEntry(Base):
    """A candidate segment of one image under one head.  Ids are never reused.

    `mask` is its mask on the grid, `features` are float64
    (`owlabel.project.tables.candidate_details`).
    """

    __tablename__ = "candidate"
    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    head_hash: Mapped[str]
    score: Mapped[float]
    area: Mapped[int]
    box: Mapped[Any] = mapped_column(Json)
    peak: Mapped[Any] = mapped_column(Json)
    likely_class: Mapped[int]
    rank: Mapped[float]
    claimed_by: Mapped[int | None]
    mask: Mapped[bytes | None] = mapped_column(LargeBinary)
    features: Mapped[bytes | None] = mapped_column(LargeBinary)
    __table_args__ = (
        Index("ix_candidate_queue", "head_hash", "rank"),
        Index("ix_candidate_open", "head_hash", "rank", sqlite_where=text("claimed_by IS NULL")),
        {"sqlite_autoincrement": True},
    )


class FindingRow(Base):
    """Pixels of a novel class in an image; class_id -1 marks the image as scanned."""

    __tablename__ = "finding"
    key: Mapped[str] = mapped_column(String, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    class_id: Mapped[int] = mapped_column(primary_key=True)
    pixels: Mapped[int]


class ShotMeanRow(Base):
    """Mean embedding of one shot, float64."""

    __tablename__ = "shot_mean"
    id: Mapped[int] = mapped_column(primary_key=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("revision.id"))
    class_id: Mapped[int]
    head_hash: Mapped[str]
    mean: Mapped[bytes] = mapped_column(LargeBinary)
    __table_args__ = (UniqueConstraint("revision_id", "class_id", "head_hash"),)


class TagRow(Base):
    """Whether a class is "present" in an image or "absent" from it; no row means unknown."""

    __tablename__ = "tag"
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True)
    class_id: Mapped[int] = mapped_column(
        ForeignKey("label_class.id"), primary_key=True, index=True
    )
    state: Mapped[str]


class ProposalRow(Base):
    """A mask that a model proposes: a PNG of its box (`row`, `col`, `height`, `width`), 1 inside.

    Ids are never reused, because the journal refers to them.
    """

    __tablename__ = "proposal"
    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    class_id: Mapped[int] = mapped_column(ForeignKey("label_class.id"))
    source: Mapped[str]
    origin: Mapped[str]
    row: Mapped[int]
    col: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    png: Mapped[bytes] = mapped_column(LargeBinary)
    confidence: Mapped[float]
    pixels: Mapped[int]
    state: Mapped[str] = mapped_column(String, index=True)
    __table_args__ = ({"sqlite_autoincrement": True},)


class JobEntry(Base):
    """A job: its kind and payload, its progress and its worker."""

    __tablename__ = "job"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(String, index=True)
    cancel: Mapped[bool]
    attempts: Mapped[int]
    worker: Mapped[str | None]
    heartbeat: Mapped[float | None]
    done: Mapped[int]
    total: Mapped[int]
    message: Mapped[str]
    result: Mapped[Any] = mapped_column(Json)
    error: Mapped[str | None]
    created: Mapped[float]
    started: Mapped[float | None]
    started_done: Mapped[int | None]
    finished: Mapped[float | None]


class JobMetricRow(Base):
    """The numbers that a job reported at one step."""

    __tablename__ = "job_metric"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    step: Mapped[int]
    time: Mapped[float]
    metrics: Mapped[dict[str, Any]]
