"""One annotator's session on a project: its parts, and the one place that refreshes memory."""

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
from owlabel.view.project_settings import MIXTURE
from owlabel.view.view import View

__all__ = ["Session", "StaleResultError"]

QUEUE_EVERY = 1.0
"""Smallest time in seconds between two signals that the queue has grown."""
CALIBRATION_EVERY = 2.0
"""Time in seconds between two checks whether a calibration is due."""
ON_QUEUE = {"lambda_novel", "threshold", "hide_above"}
"""Settings that change the review queue."""


class Session:
    """Everything an annotator can do. Each act is on disk when its method returns.

    Parameters
    ----------
    project : Project
        The open project. `close` closes it.
    start_worker : bool
        Whether to start the worker process and embed all images.

    Attributes
    ----------
    view : View
        What the annotator sees: the current image, its labels, the model.
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
        Jobs that the session submits in the background.
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
            Due("relabel", self.search.take_due),
            Due(
                "calibrate", self.calibration.due_in_background, CALIBRATION_EVERY,
                first=lambda: self.calibration.first,
            ),
        )  # fmt: skip
        self._heads_shown: tuple[int | None, int] = (None, 0)
        self._queue_grew = 0.0
        self._go_to_first()
        if start_worker:
            self.worker.start()  # continues the jobs that a killed window left behind
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
        """Stop the worker and close the project; every act is already on disk."""
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
        """The current image; None if the project has no readable image."""
        return self.view.image_id

    @property
    def records(self) -> list[ImageRecord]:
        """The readable images of the project, in order."""
        return self.view.images.records

    @property
    def broken(self) -> list[ImageRecord]:
        """The images that cannot be read, with the reason in `error`."""
        return self.project.images(broken=True)

    def record(self, image_id: int | None = None) -> ImageRecord:
        """Return the record of an image, by default the current one; raises ValueError."""
        return self.view.record(image_id)

    def position(self, image_id: int) -> tuple[int, int]:
        """Return the position of an image, counted from 0, and the number of images."""
        return self.view.images.position(image_id)

    def image(self) -> NDArray[np.uint8]:
        """Return the current image, uint8 (H, W, 3); raises ImageError if it cannot be read."""
        return self.view.image()

    @property
    def progress(self) -> tuple[int, int]:
        """Number of embedded images and number of all images."""
        row = next(iter(self.worker.active("embed")), None)
        if row is None:
            return self.view.progress
        count = len(self.view.images.ids)
        left = row.total - row.done if row.total else self.view.missing
        return count - left, count

    @property
    def can_undo(self) -> str | None:
        """The name of the act that `undo` would revert, or None."""
        return self.project.can_undo

    @property
    def can_redo(self) -> str | None:
        """The name of the act that `redo` would repeat, or None."""
        return self.project.can_redo

    # -- moving and history ------------------------------------------------------------------

    def go_to(self, image_id: int) -> None:
        """Show another image, with the clicks on it that have no class yet."""
        record = self.record(image_id)
        with suppress(ProjectError):  # on a full disk the worker keeps its old focus
            self.project.set_focus(record.id)
        self.view.image_id = record.id
        self.refresh(Changes(region=True, moved=True, history=False))

    def next_image(self) -> None:
        """Show the next image; after the last comes the first."""
        self._step(1)

    def previous_image(self) -> None:
        """Show the previous image; before the first comes the last."""
        self._step(-1)

    def _step(self, by: int) -> None:
        if self.image_id is not None:
            self.go_to(self.view.images.neighbour(self.image_id, by))

    def _go_to_first(self) -> None:
        if self.image_id is None and self.view.images.ids:
            self.go_to(self.view.images.ids[0])

    def undo(self) -> None:
        """Revert the last act of any kind and show its image."""
        event = self._acts.undo()
        self._show_touched(None if event is None else event.payload.get("image_id"))

    def redo(self) -> None:
        """Repeat the act that was undone last and show its image."""
        event = self._acts.redo()
        self._show_touched(None if event is None else event.payload.get("image_id"))

    def _show_touched(self, image_id: int | None) -> None:
        if image_id in self.view.images.by_id and image_id != self.image_id:
            self.go_to(image_id)

    # -- refreshing --------------------------------------------------------------------------

    def refresh(self, changes: Changes) -> None:
        """Update memory after changes, then emit the signals.

        All changes pass through here: acts of this session, undo, and acts of other processes.
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
        self.meta_classifier.collect(changes.images)
        self._go_to_first()  # if the current image is gone

    def _emit(self, changes: Changes, *, new_rule: bool, new_scores: bool) -> None:
        """Emit the signals for everything that changed."""
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
        """Submit the jobs that changes require at once; `poll` submits the others."""
        here = self.worker.runs or not changes.elsewhere
        if changes.model and here:
            self.submit_embedding()
        if new_rule or changes.model:
            self.search.wanted = True
        if new_residual and here:
            self._submit_energy()
        if NAMES in changes.settings and (payload := self.clusters.take_due()):
            self.worker.submit("cluster_proposals", payload)

    def submit_embedding(self) -> None:
        """Submit a job that embeds every image not in the cache, the current one first."""
        embedded, images = self.view.progress
        if embedded < images or len(self.view.header.heads) > 1:
            checkpoint = self.worker.relative(self.view.model.path)
            self.worker.submit("embed", {"checkpoint": checkpoint})

    def _submit_energy(self) -> None:
        """Submit a job that computes the residual energy, if a residual block is in use."""
        if self.scores.has_residual:
            checkpoint = self.worker.relative(self.view.model.path)
            self.worker.submit("residual", {"checkpoint": checkpoint})

    # -- polling -----------------------------------------------------------------------------

    def poll(self) -> None:
        """Apply what the worker and other processes have done; call it five times a second."""
        self._acts.refresh_from_others()
        if self.worker.restart_if_dead():
            self.message.emit("warning", "The worker process stopped and was started again.")
        self.shots.store()
        if self.worker.runs:
            submit_due(self._dues, self.worker)
        if self.scores.energy_arrived() and self.image_id is not None:
            self.labels.prediction_changed.emit(self.image_id)
        changes = self.worker.changes()
        if changes is None:
            return
        kinds = [kind for name in changes.kinds if (kind := KINDS.get(name)) is not None]
        self._use_embeddings(queue_grew=any(kind.fills_queue for kind in kinds))
        for row in changes.rows:
            self._use_job(row)
        self.worker.changed.emit()

    def _use_embeddings(self, *, queue_grew: bool) -> None:
        """Use new embeddings: for the overlays of the current image and for unmeasured shots."""
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

    def _use_job(self, row: JobRow) -> None:
        """Report a failed job, or use the result of a finished one."""
        if row.state == "failed":
            self.message.emit("error", f"{title_of(row.kind)}: {row.error}")
        if row.state == "done":
            run_on_done(self, row)
            self.queue.changed.emit()

    def reload_images(self) -> None:
        """Read the list of images again; leave the current image if it became unreadable."""
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
        """Submit an export of the labels and return the id of the job.

        Parameters
        ----------
        folder : Path
            The folder to create; it must not exist unless `overwrite` is set.
        format_name : str
            A key of `owlabel.formats.labels.registry.exporters`, e.g. ``masks`` or ``coco``.
        which : str
            ``reviewed`` or ``all``.
        overwrite : bool
            Whether to replace an existing folder.
        abstain : float or None
            Absolute EDS score in [0, 1] from which the base labels of images that are not reviewed
            are exported as void (255), because the model does not know these pixels.

        Raises
        ------
        ValueError
            If the folder exists and `overwrite` is False, or if no image would be exported.
        """
        job = ExportJob(str(folder), format_name, which, overwrite, abstain, worker_name())
        job.check(self.project)
        return self.worker.submit("export", asdict(job))
