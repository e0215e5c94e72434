"""The classes that people have labelled in each image, without decoding all label maps each time.

A revision never changes, so it is decoded once and the result is stored in the database.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from owlabel.classes import MAX_CLASSES, present
from owlabel.project.storage.revisions import Revisions
from owlabel.project.storage.schema import ImageRow, MetaRow

if TYPE_CHECKING:
    from owlabel.project.storage.database import Database

KEY = "classes of revisions"
STORE_EVERY = 50
"""Newly scanned revisions after which the index is written, so that not every click writes."""


class LabelIndex:
    """The classes in the human layer or the reviewed labels of each image.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revisions = Revisions(
            kept=1
        )  # its own cache, so that the annotator's maps stay in memory
        self._known: dict[int, frozenset[int]] | None = None
        self._stored = 0

    def scan(self, seconds: float | None = None) -> int:
        """Decode the new revisions; return how many are left.

        Parameters
        ----------
        seconds : float, optional
            Stop after this time, but decode at least one; None decodes all.

        Raises
        ------
        ProjectError
            If a stored map is damaged.
        """
        waiting = self._waiting()
        began = monotonic()
        while waiting:
            self._scan_revision(waiting.pop())
            if seconds is not None and monotonic() - began > seconds:
                break
        if len(self._load()) - self._stored >= STORE_EVERY:
            self._store()
        return len(waiting)

    def classes(self) -> dict[int, frozenset[int]]:
        """Return for each image id the ids of the classes labelled in it, as far as scanned.

        Images without labels are left out; void does not count as a class.
        """
        known = self._load()
        by_image = {}
        for image_id, revisions in self._current().items():
            ids: Iterable[frozenset[int]] = (known.get(r, frozenset()) for r in revisions)
            if classes := frozenset().union(*ids):
                by_image[image_id] = classes
        return by_image

    def _current(self) -> dict[int, list[int]]:
        """Return for each image id the revisions of its human and its reviewed labels."""
        labels, reviewed = ImageRow.revision_id, ImageRow.review_labels_id
        query = select(ImageRow.id, labels, reviewed).where(
            ~ImageRow.gone, or_(labels.is_not(None), reviewed.is_not(None))
        )
        with self._database.reading() as session:
            rows = session.execute(query).all()
        return {i: [r for r in revisions if r is not None] for i, *revisions in rows}

    def _waiting(self) -> list[int]:
        known = self._load()
        return [r for revisions in self._current().values() for r in revisions if r not in known]

    def _scan_revision(self, revision_id: int) -> None:
        with self._database.reading() as session:
            labels = self._revisions.read(session, revision_id)
        self._load()[revision_id] = frozenset(c for c in present(labels) if c < MAX_CLASSES)

    def _load(self) -> dict[int, frozenset[int]]:
        """Return the classes by revision; a stored index in another form is ignored."""
        if self._known is None:
            with self._database.reading() as session:
                row = session.get(MetaRow, KEY)
            stored = row.value if row is not None and isinstance(row.value, dict) else {}
            self._known = {int(r): frozenset(map(int, ids)) for r, ids in stored.items()}
            self._stored = len(self._known)
        return self._known

    def _store(self) -> None:
        """Store the classes of the revisions in use."""
        known = self._load()
        used = {r for revisions in self._current().values() for r in revisions}
        value = {str(r): sorted(ids) for r, ids in known.items() if r in used}
        with self._database.writing() as session:
            session.merge(MetaRow(key=KEY, value=value))
        self._stored = len(known)
