"""One annotator's session on a project: its parts, and the one place where memory is refreshed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import ClassTable
from owlabel.jobs.kinds.export import ExportJob
from owlabel.jobs.queue import JobRow
from owlabel.jobs.registry import KINDS, run_on_done, title_of
from owlabel.jobs.worker_identity import worker_name
from owlabel.project.storage.records import ProjectError
from owlabel.project.store import ImageRecord, Project
from owlabel.session.background.calibration import CalibrationSchedule
from owlabel.session.background.clusters import Clusters
from owlabel.session.background.due import Due, submit_due
from owlabel.session.background.meta_classifier import MetaClassifierFit
from owlabel.session.background.novel_search import NovelSearch
from owlabel.session.core.acts import Acts, Changes
from owlabel.session.core.worker_link import WorkerLink
from owlabel.session.edits.labels import LabelEdits
from owlabel.session.edits.models import Models, StaleResultError
from owlabel.session.edits.proposals import ProposalReview
from owlabel.session.edits.settings import Settings
from owlabel.session.edits.tags import TagEdits
from owlabel.session.review.queue import ReviewQueue
from owlabel.session.review.scores import Scores
from owlabel.session.training.training import Training
from owlabel.view.clusters.catalog import NAMES
from owlabel.view.settings import MIXTURE
from owlabel.view.view import View

__all__ = ["Session", "StaleResultError"]

QUEUE_EVERY = 1.0
"""Seconds between two signals that the queue has grown."""
CALIBRATION_EVERY = 2.0
"""Seconds between two checks whether the scores have to be calibrated again."""
ON_QUEUE = {"lambda_novel", "threshold", "hide_above"}
"""Settings that change the review queue."""


class Session:
    """Everything an annotator can do.  Each act is on disk when its method returns.

    Parameters
    ----------
    project : Project
        The open project; `close` closes it.
    start_worker : bool
        Start the worker process and submit the embedding of all images.

    Attributes
    ----------
    view : View
        What is shown: the current image, its labels, the model.
    labels : LabelEdits
    shots : ShotMemory
    settings : Settings
    scores : Scores
    queue : ReviewQueue
    tags : TagEdits
    proposals : ProposalReview
    clusters : Clusters
    models : Models
    training : Training
    worker : WorkerLink
    search, calibration, meta_classifier
        What runs in the background by itself.
    """

    def __init__(self, project: Project, *, start_worker: bool = True) -> None:
        self.project = project
        self.view = View(project)
        self.image_changed = self.view.image_changed
        self.classes_changed = self.view.classes_changed
        self.history_changed = self.view.history_changed
        self.message = self.view.message
        self._acts = acts = Acts(project, self.refresh)
        self.worker = WorkerLink(project, runs=start_worker)
        self.shots = self.view.shots
        self.settings = Settings(self.view, acts)
        self.scores = Scores(self.view, self.settings)
        self.queue = ReviewQueue(self.view, self.scores, self.settings, self.go_to)
        self.labels = LabelEdits(self.view, acts, lambda: self.queue.shown)
        self.tags = TagEdits(self.view, acts)
        self.proposals = ProposalReview(self.view, acts, self.go_to)
        self.models = Models(self.view, acts)
        self.clusters = Clusters(self.view, acts, self.worker)
        self.training = Training(self.view, acts, self.worker, self.clusters)
        self.search = NovelSearch(self.view, self.queue, self.worker)
        self.calibration = CalibrationSchedule(self.view, self.scores, self.worker)
        self.meta_classifier = MetaClassifierFit(self.view, self.queue, self.worker)
        self._dues = (
            Due("relabel", self.search.due),
            Due(
                "calibrate", self.calibration.due_in_background, CALIBRATION_EVERY,
                first=lambda: self.calibration.first,
            ),
        )  # fmt: skip
        self._heads_shown: tuple[int | None, int] = (None, 0)
        self._queue_grew = 0.0
        self._go_to_first()
        if start_worker:
            self.worker.start()  # jobs that a killed window left behind go on
            self.submit_embedding()
            self.meta_classifier.fit_if_outdated()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and close the project; every act is on disk already."""
        self.worker.close()
        self.shots.store()
        self.project.close()

    # -- questions ---------------------------------------------------------------------------

    @property
    def classes(self) -> ClassTable:
        """The class table of the project."""
        return self.view.classes

    @property
    def image_id(self) -> int | None:
        """The current image; None where the project has no readable image."""
        return self.view.image_id

    @property
    def records(self) -> list[ImageRecord]:
        """The readable images of the project, in their order."""
        return self.view.images.records

    @property
    def broken(self) -> list[ImageRecord]:
        """The images that cannot be read; `error` has the reason."""
        return self.project.images(broken=True)

    def record(self, image_id: int | None = None) -> ImageRecord:
        """Return the record of an image, by default the current one; ValueError without any."""
        return self.view.record(image_id)

    def place(self, image_id: int) -> tuple[int, int]:
        """Return the place of an image, from 0 on, and how many images there are; ValueError."""
        return self.view.images.place(image_id)

    def image(self) -> NDArray[np.uint8]:
        """Return the current picture, uint8 (H, W, 3); raises ImageError."""
        return self.view.image()

    @property
    def progress(self) -> tuple[int, int]:
        """How many images are embedded, of how many."""
        row = next(iter(self.worker.active("embed")), None)
        if row is None:
            return self.view.progress
        count = len(self.view.images.ids)
        left = row.total - row.done if row.total else self.view.missing
        return count - left, count

    @property
    def can_undo(self) -> str | None:
        """The name of the act that `undo` would take back, or None."""
        return self.project.can_undo

    @property
    def can_redo(self) -> str | None:
        """The name of the act that `redo` would do again, or None."""
        return self.project.can_redo

    # -- moving and history ------------------------------------------------------------------

    def go_to(self, image_id: int) -> None:
        """Show another image; clicks on it that were not named yet come back."""
        record = self.record(image_id)
        with suppress(ProjectError):  # on a full disk workers do not learn of it, no more
            self.project.set_focus(record.id)
        self.view.image_id = record.id
        self.refresh(Changes(region=True, moved=True, history=False))

    def next_image(self) -> None:
        """Go to the next image, after the last to the first."""
        self._step(1)

    def previous_image(self) -> None:
        """Go to the image before, before the first to the last."""
        self._step(-1)

    def _step(self, by: int) -> None:
        if self.image_id is not None:
            self.go_to(self.view.images.beside(self.image_id, by))

    def _go_to_first(self) -> None:
        if self.image_id is None and self.view.images.ids:
            self.go_to(self.view.images.ids[0])

    def undo(self) -> None:
        """Take back the last act, whatever it was, and go to its image."""
        event = self._acts.undo()
        self._show_touched(None if event is None else event.payload.get("image_id"))

    def redo(self) -> None:
        """Do again what was taken back last, and go to its image."""
        event = self._acts.redo()
        self._show_touched(None if event is None else event.payload.get("image_id"))

    def _show_touched(self, image_id: int | None) -> None:
        if image_id in self.view.images.by_id and image_id != self.image_id:
            self.go_to(image_id)

    # -- refreshing --------------------------------------------------------------------------

    def refresh(self, changes: Changes) -> None:
        """Bring memory up to date with changes, then emit the signals.

        Every change passes here: acts of this session, undo, and what other processes did.
        """
        view, key = self.view, self.shots.key
        if changes.model:
            view.load_model()
        elif changes.classes:
            view.read_classes()
        view.read_labels(changes.images)
        if changes.settings:
            view.read_settings()
        if changes.images or changes.classes or changes.settings:
            view.rebuild_rule()
        if changes.model:
            self.scores.use(view.reader)
            self.queue.use(view.header.heads[0].hash)
            self.meta_classifier.forget()
        other_residual = bool(changes.settings) and self.scores.read_settings()
        self.queue.read_settings()
        if self.image_id is not None:
            self.queue.leave(self.image_id)
            if changes.region or changes.model:
                self.labels.pending.read()
        new_rule = key != self.shots.key
        self._emit(changes, new_rule=new_rule, new_scores=other_residual)
        self._submit_what_follows(changes, new_rule=new_rule, new_residual=other_residual)
        self.meta_classifier.scan(changes.images)
        self._go_to_first()  # where the image that was shown is gone

    def _emit(self, changes: Changes, *, new_rule: bool, new_scores: bool) -> None:
        """Emit the signals of everything that changed."""
        settings, current = changes.settings, self.image_id
        if changes.model:
            self.models.changed.emit()
        if current is not None:
            if changes.region or changes.model:
                self.labels.region_changed.emit()
            if changes.moved:
                self.image_changed.emit(current)
            for image_id in sorted(self.view.images.by_id.keys() & changes.images):
                self.labels.changed.emit(image_id)
            if new_rule or changes.model or changes.elsewhere or "threshold" in settings:
                self.labels.prediction_changed.emit(current)
        if new_rule or changes.classes or changes.model or changes.elsewhere:
            self.classes_changed.emit()
        if settings:
            self.settings.changed.emit(settings)
        if new_scores or settings & set(MIXTURE):
            self.scores.changed.emit()
        if changes.tags:
            self.tags.changed.emit(self.tags.states(changes.tags))
        if any(key.startswith("settled_") for key in settings):
            self.worker.changed.emit()
        on_queue = bool(settings & ON_QUEUE) or changes.model or changes.elsewhere
        if on_queue or changes.images or changes.tags or changes.proposals:
            self.queue.changed.emit()
        if changes.history:
            self.history_changed.emit()

    def _submit_what_follows(self, changes: Changes, *, new_rule: bool, new_residual: bool) -> None:
        """Submit the jobs that follow from changes; what may wait is left to `poll`."""
        here = self.worker.runs or not changes.elsewhere
        if changes.model and here:
            self.submit_embedding()
        if new_rule or changes.model:
            self.search.wanted = True
        if new_residual and here:
            self._submit_energy()
        if NAMES in changes.settings and (names := self.clusters.due()) is not None:
            self.worker.submit("cluster_proposals", names)

    def submit_embedding(self) -> None:
        """Queue a job: embed every image that is not in the cache, the current one first."""
        embedded, images = self.view.progress
        if embedded < images or len(self.view.header.heads) > 1:
            checkpoint = self.worker.relative(self.view.model.path)
            self.worker.submit("embed", {"checkpoint": checkpoint})

    def _submit_energy(self) -> None:
        """Queue a job: the residual energy of all images, where a residual block is in use."""
        if self.scores.has_residual:
            checkpoint = self.worker.relative(self.view.model.path)
            self.worker.submit("residual", {"checkpoint": checkpoint})

    # -- polling -----------------------------------------------------------------------------

    def poll(self) -> None:
        """Take over what the worker and other processes have done: call it five times a second."""
        self._acts.follow()
        if self.worker.restart_if_dead():
            self.message.emit("warning", "The worker process had stopped; it was started again.")
        self.shots.store()
        if self.worker.runs:
            submit_due(self._dues, self.worker)
        if self.scores.energy_arrived() and self.image_id is not None:
            self.labels.prediction_changed.emit(self.image_id)
        turns = self.worker.turns()
        if turns is None:
            return
        kinds = [kind for name in turns.kinds if (kind := KINDS.get(name)) is not None]
        self._use_embeddings(queue_grew=any(kind.fills_queue for kind in kinds))
        for row in turns.ended:
            self._job_turned(row)
        self.worker.changed.emit()

    def _use_embeddings(self, *, queue_grew: bool) -> None:
        """Use embeddings that are new: for the overlays of this image, for shots that waited."""
        if self.shots.measure_waiting(self.records, self.classes):
            self.view.rebuild_rule()
            self.search.wanted = True
        current = self.image_id
        shown = (current, 0 if current is None else self.view.embedded_heads())
        before, self._heads_shown = self._heads_shown, shown
        if current is not None and before[0] == current and before != shown:
            self.labels.pending.read()
            self.labels.region_changed.emit()
            self.labels.prediction_changed.emit(current)
        if queue_grew and monotonic() - self._queue_grew > QUEUE_EVERY:
            self._queue_grew = monotonic()
            self.queue.changed.emit()

    def _job_turned(self, row: JobRow) -> None:
        """Do what follows from a job that has started, ended or failed."""
        if row.state == "failed":
            self.message.emit("error", f"{title_of(row.kind)}: {row.error}")
        if row.state == "done":
            run_on_done(self, row)
            self.queue.changed.emit()

    def reload_images(self) -> None:
        """Read again which images there are; leave the current one where it became unreadable."""
        self.view.read_images()
        self._go_to_first()

    # -- export ------------------------------------------------------------------------------

    def export(
        self,
        folder: Path,
        format_name: str,
        which: str = "reviewed",
        overwrite: bool = False,
        abstain: float | None = None,
    ) -> int:
        """Export labels in the worker; return the job's id.

        Parameters
        ----------
        folder : Path
            A folder that does not exist yet, unless `overwrite`.
        format_name : str
            A key of `owlabel.formats.labels.registry.exporters`, e.g. ``masks`` or ``coco``.
        which : str
            ``reviewed`` or ``all``.
        overwrite : bool
            Replace an existing folder.
        abstain : float or None
            Absolute EDS score in [0, 1] from which base labels of images that are not reviewed are
            withdrawn (255), because the model itself does not know them.

        Raises
        ------
        ValueError
            If the folder exists and `overwrite` is False, or nothing would be exported.
        """
        job = ExportJob(str(folder), format_name, which, overwrite, abstain, worker_name())
        job.check(self.project)
        return self.worker.submit("export", asdict(job))
