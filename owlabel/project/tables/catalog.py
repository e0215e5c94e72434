"""The images of a project: scans the image folder and follows renamed files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from owlabel.images.files import ImageError, content_hash, relative_paths, size
from owlabel.project.storage.records import ImageRecord, ProjectError
from owlabel.project.storage.schema import ImageRow

if TYPE_CHECKING:
    from owlabel.project.storage.database import Database

_opened = ImageRow.error.is_(None) | (ImageRow.content_hash != "")
REPLACED = " has changed since it was labelled; its labels were kept: check them"
NOTHING_NEW = {"new": 0, "gone": 0, "changed": 0, "renamed": 0}
"""Counts of a survey without any change."""


@dataclass(frozen=True)
class FileFacts:
    """Facts about an image file without decoding it; `error` says why it cannot be read."""

    relative: str
    file_size: int
    file_time: int
    content_hash: str = ""
    shape: tuple[int, int] | None = None
    error: str | None = None


def inside(root: Path, relative: str) -> Path:
    """Return the path below `root`; raises ProjectError if it would leave `root`."""
    leaves = relative.startswith("/") or "\0" in relative or ".." in relative.split("/")
    if leaves or relative in ("", "."):
        raise ProjectError(f"a path of this project leaves its folder: {relative!r}")
    return root / relative


def read_facts(path: Path, relative: str) -> FileFacts:
    """Return the facts of one file, with the reason if it cannot be read."""
    try:
        status = path.stat()
    except OSError as error:
        return FileFacts(relative, -1, -1, error=f"{path.name}: {error.strerror}")
    known = FileFacts(relative, status.st_size, status.st_mtime_ns)
    try:
        return FileFacts(
            relative, status.st_size, status.st_mtime_ns, content_hash(path), size(path)
        )
    except (ImageError, OSError) as error:
        return FileFacts(relative, known.file_size, known.file_time, error=str(error))


def survey(root: Path, known: dict[str, tuple[int, int]]) -> list[FileFacts | str]:
    """Scan the folder; a file with known size and time is returned as its relative path only.

    If the result equals the keys of `known`, nothing has changed.

    Raises
    ------
    ProjectError
        If the folder is missing.
    """
    if not root.is_dir():
        raise ProjectError(f"the image folder {root} is missing; move it back there")
    files: list[FileFacts | str] = []
    for relative in relative_paths(root):
        path = f"{root}/{relative}"
        with suppress(OSError):  # deleted meanwhile: `read_facts` returns the reason
            status = os.stat(path)
            if known.get(relative) == (status.st_size, status.st_mtime_ns):
                files.append(relative)
                continue
        files.append(read_facts(Path(path), relative))
    return files


def known_files(session: Session) -> dict[str, tuple[int, int]]:
    """Return size and time of every existing file that the project knows, in order.

    A file that could not be opened is left out and read again, because its permissions may have
    changed.  A file that could not be decoded stays broken as long as it does not change.
    """
    query = select(ImageRow.relative, ImageRow.file_size, ImageRow.file_time)
    query = query.where(~ImageRow.gone, _opened).order_by(ImageRow.position)
    return {relative: (size, time) for relative, size, time in session.execute(query)}


def all_known(session: Session, known: Mapping[str, object], files: list[FileFacts | str]) -> bool:
    """Return whether a survey found exactly the known files, in the same order."""
    if list(known) != files:
        return False
    closed = select(ImageRow.id).where(~ImageRow.gone, ~_opened).limit(1)
    return session.scalar(closed) is None  # a file that could not be opened may be gone now


def sync(database: Database, root: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Survey the folder and update the rows.

    Returns
    -------
    tuple
        How many images are new, gone, changed and renamed; and the labelled images whose content
        changed at the same size.  Their labels were kept.
    """
    with database.reading() as session:
        known = known_files(session)
    files = survey(root, known)
    with database.reading() as session:
        if all_known(session, known, files):
            return dict(NOTHING_NEW), ()
    with database.writing() as session:
        labelled = ImageRow.revision_id.is_not(None) | ImageRow.review_labels_id.is_not(None)
        hashes = select(ImageRow.id, ImageRow.content_hash).where(labelled)
        before = {row.id: row.content_hash for row in session.execute(hashes)}
        counts = take(session, files)
        now = session.scalars(select(ImageRow).where(labelled, ~ImageRow.gone))
        replaced = (r.relative for r in now if r.content_hash != before[r.id] and r.error is None)
        return counts, tuple(replaced)


def take(session: Session, files: list[FileFacts | str]) -> dict[str, int]:
    """Update the rows of the images from a survey; return the counts as in `sync`.

    Images are identified by content: labels follow a renamed file, even if names were swapped.
    """
    rows = {row.relative: row for row in session.scalars(select(ImageRow))}
    facts = [item if isinstance(item, FileFacts) else _facts_of(rows[item]) for item in files]
    matched = _match(list(rows.values()), facts)
    counts = dict(NOTHING_NEW)
    _free_names(session, list(rows.values()), facts, matched)
    for position, item in enumerate(facts):
        row = matched.get(item.relative)
        if row is None:
            row = ImageRow(relative=item.relative, proposed=False, state="new")
            _fill(row, item)
            session.add(row)
            counts["new"] += 1
        else:
            counts["renamed"] += row.relative != item.relative
            counts["changed"] += _refresh(row, item)
        row.position, row.gone, row.relative = position, False, item.relative
    kept = {row.id for row in matched.values()}
    for row in rows.values():
        if row.id not in kept and not row.gone:
            row.gone, counts["gone"] = True, counts["gone"] + 1
    session.flush()
    return counts


def _facts_of(row: ImageRow) -> FileFacts:
    shape = None if row.height is None or row.width is None else (row.height, row.width)
    return FileFacts(row.relative, row.file_size, row.file_time, row.content_hash, shape, row.error)


def _name_and_content(image: ImageRow | FileFacts) -> tuple[str, str]:
    return image.relative, image.content_hash


def _content(image: ImageRow | FileFacts) -> str:
    return image.content_hash


def _name(image: ImageRow | FileFacts) -> str:
    return image.relative


def _match(rows: list[ImageRow], facts: list[FileFacts]) -> dict[str, ImageRow]:
    """Match rows by relative path: first by name and content, then by content, then by name."""
    matched: dict[str, ImageRow] = {}
    free = {row.id: row for row in rows}
    keys: tuple[Callable[[ImageRow | FileFacts], object], ...] = (
        _name_and_content,
        _content,
        _name,
    )
    for key in keys:
        by_key = {key(row): row for row in free.values() if key(row)}
        for item in facts:
            row = by_key.get(key(item))
            if row is not None and row.id in free and item.relative not in matched:
                matched[item.relative] = free.pop(row.id)
    return matched


def _free_names(
    session: Session, rows: list[ImageRow], facts: list[FileFacts], matched: dict[str, ImageRow]
) -> None:
    """Rename rows whose name goes to another image, so that no two rows ever share a name."""
    owner = {item.relative: matched.get(item.relative) for item in facts}
    for row in rows:
        if row.relative in owner and owner[row.relative] is not row:
            row.relative = f"{row.relative} (image {row.id})"
    session.flush()


def _fill(row: ImageRow, facts: FileFacts) -> None:
    row.content_hash = facts.content_hash
    row.file_size, row.file_time = facts.file_size, facts.file_time
    row.height, row.width = facts.shape or (None, None)
    row.error = facts.error


def _refresh(row: ImageRow, facts: FileFacts) -> bool:
    """Update a row with new facts; a labelled image whose size changed becomes an error."""
    changed = row.content_hash != facts.content_hash or row.gone
    shape = (row.height, row.width)
    labelled = row.revision_id is not None or row.review_labels_id is not None
    row.proposed = row.proposed and not changed
    _fill(row, facts)
    if labelled and facts.shape != shape:
        row.height, row.width = shape
        row.error = facts.error or (
            f"{row.relative} is now {facts.shape}, but labelled as {shape}; restore the old file"
        )
    return changed


def select_records(
    session: Session, root: Path, *, only: int | None = None, broken: bool = False
) -> list[ImageRecord]:
    """Return the images in scan order; missing images are listed only if people worked on them."""
    query = select(
        ImageRow.id, ImageRow.relative, ImageRow.content_hash, ImageRow.height, ImageRow.width,
        ImageRow.gone, ImageRow.error, ImageRow.state, ImageRow.proposed, ImageRow.revision_id,
    ).order_by(ImageRow.position, ImageRow.id)  # fmt: skip
    if only is not None:
        query = query.where(ImageRow.id == only)
    else:
        query = query.where(~ImageRow.gone | (ImageRow.state != "new"))
    if broken:
        query = query.where(ImageRow.gone | ImageRow.error.is_not(None))
    return [
        ImageRecord(
            id=image_id,
            path=inside(root, relative),
            relative=relative,
            content_hash=content_hash,
            shape=None if height is None or width is None else (height, width),
            error=f"{relative} is missing; restore the file" if gone else error,
            state="proposed" if state == "new" and proposed else state,
            revision_id=revision_id,
        )
        for (
            image_id, relative, content_hash, height, width, gone, error, state, proposed,
            revision_id,
        ) in session.execute(query)
    ]  # fmt: skip


def image_row(session: Session, image_id: int) -> ImageRow:
    """Return an image's row; raises ValueError if no image has this id."""
    row = session.get(ImageRow, image_id)
    if row is None:
        raise ValueError(f"no image has the id {image_id}")
    return row
