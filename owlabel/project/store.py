"""A project: one folder with one database that holds all labels and the history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from owlabel.classes import UNSET, ClassTable, Labels
from owlabel.project import creation, model_versions
from owlabel.project.history import journal
from owlabel.project.history.action import Action, class_table
from owlabel.project.history.changes_elsewhere import last_event
from owlabel.project.storage import migrate
from owlabel.project.storage.database import Database
from owlabel.project.storage.feature_cache import FeatureCache
from owlabel.project.storage.records import (
    CandidateRow,
    Change,
    Event,
    ImageRecord,
    ModelVersion,
    ProjectError,
)
from owlabel.project.storage.revisions import Revisions
from owlabel.project.storage.schema import REVISION, MetaRow, SettingRow
from owlabel.project.tables import catalog
from owlabel.project.tables.candidate_rows import Candidates
from owlabel.project.tables.label_index import LabelIndex
from owlabel.project.tables.occurrences import Occurrences
from owlabel.project.tables.proposals import Proposals
from owlabel.project.tables.shot_means import ShotMeans
from owlabel.project.tables.tags import Tags

__all__ = [
    "Action",
    "CandidateRow",
    "Change",
    "Event",
    "ImageRecord",
    "ModelVersion",
    "Project",
    "ProjectError",
]


class Project:
    """An open project, made by `create` or `open`.  Use it as a context manager or call `close`.

    Several processes may open the same project.  Every method sees what the others committed.  A
    change is on disk when its method, or the block of its `action`, ends.

    Parameters
    ----------
    folder : Path
        A project's folder whose database is at the newest revision.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / creation.DATABASE)
        self.cache = FeatureCache(folder / "cache")
        self.tags = Tags(self.database)
        self.proposals = Proposals(self.database)
        self.candidates = Candidates(self.database)
        self.occurrences = Occurrences(self.database)
        self.shot_means = ShotMeans(self.database)
        self.label_index = LabelIndex(self.database)
        self._revisions = Revisions()
        self.images_root = self._find_images_root()
        self.replaced: tuple[str, ...] = ()  # see `catalog.sync`
        self.own_events: set[int] = set()  # events of this process, not of others
        self._opened_at = last_event(self.database)

    @classmethod
    def create(
        cls,
        folder: Path | str,
        images_root: Path | str,
        checkpoint_path: Path | str | None = None,
        name: str | None = None,
    ) -> Project:
        """Create a project.  The checkpoint is copied; its classes become the base classes.

        Parameters
        ----------
        folder : Path
            Created if missing; must not hold a project.
        images_root : Path
            The image folder.  OWLabel never moves or writes it.
        checkpoint_path : Path or None
            The first model; None creates a project without a model and without classes.
        name : str or None
            Name to display; the folder's name by default.

        Raises
        ------
        ProjectError
            If the folder already holds a project or cannot be written.
        owlabel.checkpoints.header.CheckpointError
            If the checkpoint is not an OWLabel model.
        """
        folder, images_root = Path(folder).resolve(), Path(images_root).resolve()
        checkpoint = None if checkpoint_path is None else Path(checkpoint_path)
        creation.create(folder, images_root, checkpoint, name or folder.stem)
        project = cls(folder)
        project.sync_images()
        return project

    @classmethod
    def open(cls, folder: Path | str) -> Project:
        """Open a project; an older one is backed up and migrated first.

        Raises
        ------
        ProjectError
            If it is not a project, is damaged or locked, or was written by a newer program.
        """
        folder = Path(folder).resolve()
        path = folder / creation.DATABASE
        if not path.is_file():
            raise ProjectError(f"{folder} is not a project: it has no {creation.DATABASE}")
        if migrate.found_revision(path) != REVISION:
            creation.migrate_in_place(path)
        return cls(folder)

    def close(self) -> None:
        """Close the database.  Nothing is lost: every action was written when it ended."""
        self.database.close()

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The project's name to display."""
        return str(self._meta("name", self.folder.stem))

    def _meta(self, key: str, default: Any = None) -> Any:
        with self.database.reading() as session:
            row = session.get(MetaRow, key)
            return default if row is None else row.value

    def _find_images_root(self) -> Path:
        """Return the image folder: relative to the project if it is there, else the stored path."""
        beside = self._meta("images_root_relative")
        if beside is not None and (self.folder / str(beside)).is_dir():
            return (self.folder / str(beside)).resolve()
        return Path(str(self._meta("images_root", self.folder)))

    def focus(self) -> int | None:
        """Return the id of the image that the annotator looks at, or None if it is not set."""
        value = self._meta("focus_image")
        return None if value is None else int(value)

    def set_focus(self, image_id: int) -> None:
        """Store which image the annotator looks at; workers begin with its neighbours."""
        with self.database.writing() as session:
            session.merge(MetaRow(key="focus_image", value=int(image_id)))

    def setting(self, key: str, default: Any = None) -> Any:
        """Return the plain JSON value of a setting."""
        with self.database.reading() as session:
            row = session.get(SettingRow, key)
            return default if row is None else row.value

    def classes(self) -> ClassTable:
        """Return the active classes in the order in which they were added."""
        with self.database.reading() as session:
            return class_table(session)

    # -- images and labels -----------------------------------------------------------------------

    def images(self, *, broken: bool = False) -> list[ImageRecord]:
        """Return all images in natural order, or only those that are missing or have an error."""
        with self.database.reading() as session:
            return catalog.select_records(session, self.images_root, broken=broken)

    def image(self, image_id: int) -> ImageRecord:
        """Return one image; raises ValueError if no image has this id."""
        with self.database.reading() as session:
            catalog.image_row(session, image_id)
            return catalog.select_records(session, self.images_root, only=image_id)[0]

    def sync_images(self) -> dict[str, int]:
        """Scan the image folder again; return how many are new, gone, changed and renamed.

        A missing image keeps its labels, and so does a renamed one.
        """
        counts, self.replaced = catalog.sync(self.database, self.images_root)
        return counts

    def set_image_error(self, image_id: int, error: str | None) -> None:
        """Store why an image cannot be read; None clears the error."""
        with self.database.writing() as session:
            catalog.image_row(session, image_id).error = error

    def human_labels(self, image_id: int) -> Labels:
        """Return a copy of the human layer, uint8 (H, W), UNSET where nobody has labelled.

        Raises
        ------
        ValueError
            If no image has this id or its size is unknown.
        ProjectError
            If the stored map is damaged.
        """
        with self.database.reading() as session:
            row = catalog.image_row(session, image_id)
            if row.revision_id is not None:
                return self._revisions.read(session, row.revision_id).copy()
            if row.height is None or row.width is None:
                raise ValueError(f"{row.relative} cannot be labelled: {row.error}")
            return np.full((row.height, row.width), UNSET, np.uint8)

    def revision(self, revision_id: int) -> Labels:
        """Return a copy of an earlier label map, uint8 (H, W); raises ProjectError if damaged."""
        with self.database.reading() as session:
            return self._revisions.read(session, revision_id).copy()

    def reviewed(self, image_id: int) -> tuple[Labels, Labels] | None:
        """Return the reviewed labels and their sources, uint8 (H, W) each, or None."""
        with self.database.reading() as session:
            row = catalog.image_row(session, image_id)
            if row.review_labels_id is None or row.review_source_id is None:
                return None
            labels = self._revisions.read(session, row.review_labels_id)
            return labels.copy(), self._revisions.read(session, row.review_source_id).copy()

    # -- models ----------------------------------------------------------------------------------

    def models(self) -> list[ModelVersion]:
        """Return all model versions, oldest first."""
        with self.database.reading() as session:
            return model_versions.models(session, self.folder)

    def active_model(self) -> ModelVersion:
        """Return the model in use; raises ProjectError if the project has none."""
        wanted = self.setting("active_model")
        for model in self.models():
            if model.id == wanted:
                return model
        raise ProjectError(f"{self.folder} has no model in use (active_model is {wanted!r})")

    def add_model(
        self,
        path: Path | str,
        name: str,
        kind: str,
        parent_id: int | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> ModelVersion:
        """Register a checkpoint, copying it into the project if needed.  This cannot be undone.

        Raises
        ------
        ProjectError
            If the file cannot be read or copied.
        """
        stored = model_versions.copied_in(self.folder, Path(path))
        with self.database.writing() as session:
            row = model_versions.add(
                session, self.folder, stored, (name, kind, parent_id), metrics or {}
            )
            return model_versions.as_model(row, self.folder)

    # -- history ---------------------------------------------------------------------------------

    @contextmanager
    def action(
        self, kind: str, payload: Mapping[str, Any] | None = None, label: str | None = None
    ) -> Iterator[Action]:
        """Start an action that can be undone; it is on disk when the block ends.

        Parameters
        ----------
        kind : str
            Kind of the action, e.g. "paint".
        payload : mapping
            Plain JSON values that are enough to repeat the action.
        label : str
            Text to display; `kind` by default.

        Raises
        ------
        ValueError
            If the kind is reserved or the payload is not JSON.
        ProjectError
            If it could not be written; nothing has changed then.
        """
        with self.database.writing() as session:
            event = journal.begin(session, kind, payload or {}, kind if label is None else label)
            action = Action(session, self._revisions, event)
            yield action
        action.committed()
        self.own_events.add(action.seq)

    def undo(self) -> Event | None:
        """Undo the last action of any process; None if there is none."""
        with self.database.writing() as session:
            return journal.undo(session)

    def redo(self) -> Event | None:
        """Redo the action that was undone last; None if there is none."""
        with self.database.writing() as session:
            return journal.redo(session)

    @property
    def can_undo(self) -> str | None:
        """The label of the action that `undo` would undo, or None."""
        with self.database.reading() as session:
            return journal.label_at(session, journal.heads(journal.last(session))[0])

    @property
    def can_redo(self) -> str | None:
        """The label of the action that `redo` would redo, or None."""
        with self.database.reading() as session:
            return journal.label_at(session, journal.heads(journal.last(session))[1])

    def events(self, since: int = 0) -> list[Event]:
        """Return the events after a `seq`, oldest first, including undo and redo."""
        with self.database.reading() as session:
            return journal.events(session, since)

    def trailing_events(self, image_id: int, *kinds: str) -> list[Event]:
        """Return the effective actions of these kinds at the end of the log, newest first.

        Actions of other processes on other images are skipped.
        """
        with self.database.reading() as session:
            return journal.trailing(session, kinds, image_id, self._opened_at, self.own_events)
