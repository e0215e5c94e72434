"""The images of a project: found by scanning the images' folder, followed when they are renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlalchemy import select
from sqlalchemy.orm import Session

from owlabel.images import ImageError, content_hash, scan, size
from owlabel.project.records import ImageRecord, ProjectError
from owlabel.project.schema import ImageRow


@dataclass(frozen=True)
class FileFacts:
    """What is known of an image file without decoding it; `error` says why nothing else is."""

    relative: str
    file_size: int
    file_time: int
    content_hash: str = ""
    shape: tuple[int, int] | None = None
    error: str | None = None


def inside(root: Path, relative: str) -> Path:
    """Return the path below `root`; raises ProjectError for one that would leave it."""
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\0" in relative:
        raise ProjectError(f"a path of this project leaves its folder: {relative!r}")
    return root.joinpath(*parts.parts)


def look_at(path: Path, relative: str) -> FileFacts:
    """Return the facts of one file; a file that cannot be read gives its reason."""
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
    """Scan the folder; a file of the known size and time is given by its relative path only.

    Raises
    ------
    ProjectError
        If the folder is missing.
    """
    if not root.is_dir():
        raise ProjectError(f"the images' folder {root} is missing; put it back or move it there")
    found: list[FileFacts | str] = []
    for path in scan(root):
        relative = path.relative_to(root).as_posix()
        status = os.stat(path)
        if known.get(relative) == (status.st_size, status.st_mtime_ns):
            found.append(relative)
        else:
            found.append(look_at(path, relative))
    return found


def known_files(session: Session) -> dict[str, tuple[int, int]]:
    """Return size and time of every readable file that the project has seen and that is there."""
    rows = session.scalars(select(ImageRow).where(~ImageRow.gone, ImageRow.error.is_(None)))
    return {row.relative: (row.file_size, row.file_time) for row in rows}


def take(session: Session, found: list[FileFacts | str]) -> dict[str, int]:
    """Bring the images' rows up to date with a survey; return how many are new, gone, changed.

    An image is its content: labels follow a file that was renamed, also where names were swapped.
    """
    rows = {row.relative: row for row in session.scalars(select(ImageRow))}
    facts = [item if isinstance(item, FileFacts) else _facts_of(rows[item]) for item in found]
    matched = _match(list(rows.values()), facts)
    counts = {"new": 0, "gone": 0, "changed": 0, "renamed": 0}
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
    """Return relative path to row: same name and content first, then content, then name."""
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
    """Take away names that another image gets now, so that no two rows ever share one."""
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
    """Take new facts; labels keep their shape, so a file of another size becomes an error."""
    changed = row.content_hash != facts.content_hash or row.gone
    shape = (row.height, row.width)
    labelled = row.revision_id is not None or row.review_labels_id is not None
    row.proposed = row.proposed and not changed
    _fill(row, facts)
    if labelled and facts.shape != shape:
        row.height, row.width = shape
        row.error = facts.error or (
            f"{row.relative} is now {facts.shape}, but labelled as {shape}; put the old file back"
        )
    return changed


def select_records(session: Session, root: Path, only: int | None = None) -> list[ImageRecord]:
    """Return the images in scan order; a missing image is listed only if people worked on it."""
    query = select(ImageRow).order_by(ImageRow.position, ImageRow.id)
    if only is not None:
        query = query.where(ImageRow.id == only)
    rows = list(session.scalars(query))
    return [_record(row, root) for row in rows if not row.gone or row.state != "new" or only]


def _record(row: ImageRow, root: Path) -> ImageRecord:
    shape = None if row.height is None or row.width is None else (row.height, row.width)
    return ImageRecord(
        id=row.id,
        path=inside(root, row.relative),
        relative=row.relative,
        content_hash=row.content_hash,
        shape=shape,
        error=f"{row.relative} is gone; put it back" if row.gone else row.error,
        state="proposed" if row.state == "new" and row.proposed else row.state,
        revision_id=row.revision_id,
    )


def image_row(session: Session, image_id: int) -> ImageRow:
    """Return an image's row; raises ValueError if there is none."""
    row = session.get(ImageRow, image_id)
    if row is None:
        raise ValueError(f"no image has the id {image_id}")
    return row
