"""One annotator's sitting: labels, models, jobs, export.  Knows no window, no thread, no torch."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from owlabel.checkpoints.header import read_header
from owlabel.checkpoints.residual_header import MODEL_KIND
from owlabel.jobs.kinds.export import ExportJob
from owlabel.jobs.queue import JobQueue, JobRow
from owlabel.jobs.registry import KINDS, run_on_done, title_of
from owlabel.jobs.worker import start_worker
from owlabel.jobs.worker_identity import lives_here, worker_name
from owlabel.project.store import ModelVersion, Project
from owlabel.session.background.meta_classifier import Judging
from owlabel.session.edits.proposals import Proposing
from owlabel.session.training.ood import OodTraining, StaleResultError
from owlabel.session.training.pretraining import Pretraining
from owlabel.session.training.result import PlmResult
from owlabel.session.training.weak_shot import TagTraining
from owlabel.view.review_queue import QueueItem

__all__ = ["PlmResult", "QueueItem", "Session", "StaleResultError"]

QUEUE_EVERY = 1.0
"""Seconds between two signals that the queue has grown."""


class Session(OodTraining, TagTraining, Pretraining, Judging, Proposing):
    """Everything an annotator can do.  Each act is durable when its method returns.

    Parameters
    ----------
    project : Project
        The open project; `close` closes it.
    start_worker : bool
        Start the worker process and submit the embedding of all images.
    """

    def __init__(self, project: Project, *, start_worker: bool = True) -> None:
        self._jobs = JobQueue(project)
        self._with_worker = start_worker
        self._worker: subprocess.Popen[bytes] | None = None
        ended = [r for r in self._jobs.recent() if r.state not in ("queued", "running")]
        self._seen: dict[int, tuple[Any, ...]] = {r.id: (r.state,) for r in ended}  # told already
        self._shown: tuple[int | None, int] = (None, 0)
        self._queue_told = 0.0
        self._relabelling_due = False
        self._drop_foreign_exports()
        super().__init__(project)
        if start_worker:
            self._ensure_worker()  # jobs that a killed window left behind go on
            self.submit_embedding()
            self._relabelling_due = bool(self.rule.prototypes or self._trained_heads())
            self.refit_where_others_decided()

    def close(self) -> None:
        """End the worker and close the project; what was acknowledged is on disk already."""
        if self._worker is not None and self._worker.poll() is None:
            self._worker.terminate()
        self.store_measured()
        self.project.close()

    # -- the worker --------------------------------------------------------------------------

    def _ensure_worker(self) -> None:
        """Start the worker process where none is running."""
        if self._with_worker and (self._worker is None or self._worker.poll() is not None):
            self._worker = start_worker(self.project.folder)

    def _submit(self, kind: str, payload: dict[str, Any], *, first: bool = False) -> int:
        """Queue a job, in place of the active ones of its kind where the kind replaces them."""
        if KINDS[kind].replaces:
            for row in self._jobs.active():
                if row.kind == kind:
                    self._jobs.cancel(row.id)
        job_id = self._jobs.submit(kind, payload, KINDS[kind].priority_of(first=first))
        self._ensure_worker()
        self.jobs_changed.emit()
        return job_id

    def _drop_foreign_exports(self) -> None:
        """Cancel exports that nobody here waits for: what comes from elsewhere must not write."""
        for row in self._jobs.active():
            if row.kind == "export" and not lives_here(str(row.payload.get("asked_by", ""))):
                self._jobs.cancel(row.id)

    def _revive_worker(self) -> None:
        """Start the worker again where it died with jobs left; the queue counts the attempts."""
        died = self._worker is not None and self._worker.poll() is not None
        if died and self._jobs.active():
            self._ensure_worker()
            self.message.emit("warning", "The worker process had stopped; it was started again.")

    @property
    def worker_pid(self) -> int | None:
        """The process number of the running worker, or None."""
        return self._worker.pid if self._worker and self._worker.poll() is None else None

    def submit_embedding(self) -> None:
        """Queue a job: embed every image that is not in the cache, the current one first."""
        if self._missing or len(self.header.heads) > 1:
            self._submit("embed", {"checkpoint": self._relative(self.model.path)})

    def submit_relabelling(self) -> None:
        """Queue a job: look for the novel classes in the whole data set."""
        prototypes = [[p.class_id, p.vector.tolist()] for p in self.rule.prototypes]
        payload = {
            "head_hash": self.header.heads[0].hash, "prototypes": prototypes, "key":
            self._findings_key(), "lambda_novel": self.lambda_novel, "heads": self._trained_heads(),
        }  # fmt: skip
        if prototypes or payload["heads"]:
            self._submit("relabel", payload)
        else:
            self.candidates.forget_claims()
            self.queue_changed.emit()

    def _rule_changed(self) -> None:
        """Soon look for the novel classes in the whole data set, unless that was done before."""
        self._relabelling_due = self._with_worker

    def _catch_up(self) -> None:
        """Do what an act has left for later, so that its effect was seen first."""
        self.store_measured()
        due, self._relabelling_due = self._relabelling_due, False
        if due and not self.found:
            self.submit_relabelling()

    @property
    def progress(self) -> tuple[int, int]:
        """How many images are embedded, of how many."""
        row = next((r for r in self._jobs.active() if r.kind == "embed"), None)
        if row is None:
            return super().progress
        left = row.total - row.done if row.total else len(self._missing)
        return len(self._ids) - left, len(self._ids)

    def jobs(self) -> list[JobRow]:
        """Return the jobs of this project, newest first."""
        self._catch_up()
        return self._jobs.recent()

    def metrics(self, job_id: int, since: int = 0) -> list[Any]:
        """Return the numbers a job has reported after its event `since`."""
        return self._jobs.events(job_id, since)

    def cancel_job(self, job_id: int) -> None:
        """Ask a job to stop; it stops at its next step."""
        self._jobs.cancel(job_id)
        self.jobs_changed.emit()

    def poll(self) -> None:
        """Look what the worker and other processes have done, and tell: five times a second."""
        self._follow()
        self._revive_worker()
        self._calibrate_if_due()
        rows = self.jobs()
        now = {r.id: (r.state, r.done, r.total, r.message, r.error) for r in rows}
        if now == self._seen:
            return
        before, self._seen = self._seen, now
        ended = {i for i, row in now.items() if row[0] != before.get(i, (None,))[0]}
        moved = {row.kind for row in rows if now[row.id] != before.get(row.id)}
        self._take_embeddings(grown=any(k in KINDS and KINDS[k].fills_queue for k in moved))
        for row in rows:
            if row.id in ended:
                self._job_turned(row)
        self.jobs_changed.emit()

    def _take_embeddings(self, *, grown: bool) -> None:
        """Use embeddings that have come since: overlays of this image, shots that waited."""
        waiting = [i for i in self._shots_waiting if self.reader.embedded(self.record(i))]
        for image_id in waiting:
            self._refresh_shots(self.record(image_id))
        if waiting:
            self._refresh_rule()
            self._rule_changed()
        current = self.image_id
        shown = (current, 0 if current is None else self.embedded_heads())
        before, self._shown = self._shown, shown
        if current is not None and before[0] == current and before != shown:
            self._refresh_region()
            self.prediction_changed.emit(current)
        if grown and monotonic() - self._queue_told > QUEUE_EVERY:
            self._queue_told = monotonic()
            self.queue_changed.emit()

    def _job_turned(self, row: JobRow) -> None:
        """Do what follows from a job that has started, ended or failed."""
        if row.state == "failed":
            self.message.emit("error", f"{title_of(row.kind)}: {row.error}")
        if row.state != "done":
            return
        run_on_done(self, row)
        if row.kind == "relabel":
            self.found = self.project.found(self._findings_key())
            self.classes_changed.emit()
        elif row.kind == "judge":
            self._take_judge()
        elif row.kind in ("calibrate", "residual"):
            self.scoring.forget()
            self.scores_changed.emit()
        elif row.kind == "export":
            done = row.result or {}
            self.message.emit("info", f"Exported {done['images']} images to {done['folder']}")
        elif row.kind == "embed":
            self._read_images_again()
            if row.result is not None and row.result.get("told"):
                self.message.emit(*row.result["told"])
            if self._with_worker:
                self.submit_relabelling()  # images that came after the class was named
                self.refit_where_others_decided()
        self.queue_changed.emit()

    # -- training ----------------------------------------------------------------------------

    def retrain(self, class_name: str, iterations: int | None = None, seed: int = 0) -> int:
        """Train a head for a novel class on its shots in the worker (PLM); return the job's id.

        Raises
        ------
        ValueError
            If the class is unknown, not novel, or has no shot yet, or a value is out of range.
        """
        from owlabel.jobs.requests.plm import PlmRequest

        steps = {} if iterations is None else {"iterations": iterations}
        request = PlmRequest(class_name=class_name, seed=seed, **steps)
        named = self.classes.find(request.class_name)
        if named is None or not named.novel:
            raise ValueError(f"{class_name!r} is no novel class of this project")
        shots = sorted(self._means.get(named.id, {}))
        if not shots:
            raise ValueError(f"{named.name!r} has no shot yet: click an object and name it first")
        payload = request.payload(
            self._relative(self.model.path),
            self.model.name,
            named,
            [{"image_id": i, "revision_id": self.record(i).revision_id} for i in shots],
        )
        with self.project.action("retrain", payload, f"train {named.name}"):
            pass
        self.history_changed.emit()
        return self._submit("plm", payload)

    def result(self) -> PlmResult | None:
        """Return the newest trained head that was neither adopted nor discarded, or None."""
        for row in self.jobs():
            if row.kind == "plm" and row.state == "done" and row.result is not None:
                model_id = int(row.result["model_id"])
                if self.project.setting(f"settled_{model_id}") is None:
                    return self._result_of(row, model_id)
        return None

    def _result_of(self, row: JobRow, model_id: int) -> PlmResult:
        version = next(m for m in self.models() if m.id == model_id)
        comparison = (row.result or {}).get("comparison", {})
        return PlmResult(model_id, row.payload["class_name"], comparison, version.parent_id or 0)

    def adopt(self, model_id: int) -> None:
        """Use a trained model from now on.

        Raises
        ------
        StaleResultError
            If the model it was trained from is not the active one any more.
        """
        version = self._version(model_id)
        if version.kind == MODEL_KIND:
            self._adopt_residual(version)
            return
        if version.parent_id != self.model.id:
            raise StaleResultError(
                f"{version.name!r} was trained from another model than {self.model.name!r}: "
                "train again, or switch to the model it was trained from first"
            )
        self._activate("adopt", version)

    def discard(self, model_id: int) -> None:
        """Leave a trained model aside; it stays among the versions."""
        version = self._version(model_id)
        payload = {"model_id": model_id}
        with self.project.action("discard", payload, f"discard {version.name}") as action:
            action.set_setting(f"settled_{version.id}", "discarded")
        self.jobs_changed.emit()
        self.history_changed.emit()

    def switch_model(self, model_id: int) -> None:
        """Go over to another model version of the project."""
        self._activate("switch", self._version(model_id))

    def _activate(self, kind: str, version: ModelVersion) -> None:
        payload = {"model_id": version.id}
        with self.project.action(kind, payload, f"use {version.name}") as action:
            action.set_setting("active_model", version.id)
            if kind == "adopt":
                action.set_setting(f"settled_{version.id}", "adopted")
        self._load()
        self._leave_unreadable()
        self.model_changed.emit()
        self.classes_changed.emit()
        self._after_model()

    def _model_taken(self) -> None:
        if self._with_worker:
            self.submit_embedding()

    def _after_model(self) -> None:
        self.submit_embedding()
        self._rule_changed()
        if self.image_id is not None:
            self.go_to(self.image_id)
            self.prediction_changed.emit(self.image_id)
        self.queue_changed.emit()
        self.history_changed.emit()

    def _version(self, model_id: int) -> ModelVersion:
        for version in self.project.models():
            if version.id == model_id:
                return version
        raise ValueError(f"no model version has the id {model_id}")

    def models(self) -> list[ModelVersion]:
        """Return all whole models of the project, oldest first; residual blocks are none."""
        return [model for model in self.project.models() if model.kind != MODEL_KIND]

    def add_model_file(self, path: Path) -> ModelVersion:
        """Add a checkpoint from a file to the project's versions; it is copied.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or its base classes differ from the project's.
        """
        header = read_header(path)
        theirs = {c.id: c.name for c in header.classes.base}
        ours = {c.id: c.name for c in self.classes.base}
        if theirs != ours:
            raise ValueError(
                f"{path} knows other base classes than this project: make a new project with it"
            )
        return self.project.add_model(path, header.name, "base", None, {})

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
            ``masks``, ``coco`` or ``panoptic``.
        which : str
            ``reviewed`` or ``all``.
        overwrite : bool
            Put the export in the place of an existing folder.
        abstain : float or None
            Absolute EDS score in [0, 1] from which base labels of images that are not reviewed are
            withdrawn (255): the model says itself that it is lost there.

        Raises
        ------
        ValueError
            If the folder exists and `overwrite` is False, or nothing would be exported.
        """
        job = ExportJob(str(folder), format_name, which, overwrite, abstain, worker_name())
        job.check(self.project)
        return self._submit("export", asdict(job))
