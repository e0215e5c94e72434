"""Which classes people have labelled in which image, without decoding all label maps each time.

A revision never changes, so it is read once; the result is kept in the database.
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
"""Revisions after which what was found is written: not after every click."""


class LabelIndex:
    """The classes that the human layer or the reviewed labels of each image hold.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._revisions = Revisions(kept=1)  # its own: the annotator's last maps stay in memory
        self._known: dict[int, frozenset[int]] | None = None
        self._stored = 0

    def scan(self, seconds: float | None = None) -> int:
        """Read the revisions that are new; return how many are left.

        Parameters
        ----------
        seconds : float, optional
            Stop after this long, but read at least one; None reads all.

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
        """Return image id to the ids of the classes that people labelled in it, as far as known.

        Images without any are left out; void is no class.
        """
        known = self._load()
        by_image = {}
        for image_id, revisions in self._current().items():
            ids: Iterable[frozenset[int]] = (known.get(r, frozenset()) for r in revisions)
            if classes := frozenset().union(*ids):
                by_image[image_id] = classes
        return by_image

    def _current(self) -> dict[int, list[int]]:
        """Return image id to the revisions that say what people labelled in it."""
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
        """Return revision to classes; what was stored in another form is found anew."""
        if self._known is None:
            with self._database.reading() as session:
                row = session.get(MetaRow, KEY)
            stored = row.value if row is not None and isinstance(row.value, dict) else {}
            self._known = {int(r): frozenset(map(int, ids)) for r, ids in stored.items()}
            self._stored = len(self._known)
        return self._known

    def _store(self) -> None:
        """Write what is known of the revisions in use."""
        known = self._load()
        used = {r for revisions in self._current().values() for r in revisions}
        value = {str(r): sorted(ids) for r, ids in known.items() if r in used}
        with self._database.writing() as session:
            session.merge(MetaRow(key=KEY, value=value))
        self._stored = len(known)
