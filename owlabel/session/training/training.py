"""Trainings that the annotator starts: submitted to the worker, and their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owlabel.classes import MAX_CLASSES, OOD_PROXY
from owlabel.session.background.clusters import Clusters
from owlabel.session.core.acts import Acts
from owlabel.session.core.worker_link import WorkerLink
from owlabel.session.training.results import TrainingResult
from owlabel.view.view import View

if TYPE_CHECKING:  # pydantic is loaded where a request is made
    from owlabel.jobs.requests.ood import OodRequest
    from owlabel.jobs.requests.plm import PlmRequest
    from owlabel.jobs.requests.pretraining import PretrainRequest
    from owlabel.jobs.requests.weak_shot import WeakShotRequest


class Training:
    """The trainings of a session; each method submits a job and returns its id.

    Parameters
    ----------
    view : View
    acts : Acts
    worker : WorkerLink
    clusters : Clusters
        Provide the auxiliary labels for pre-training.
    """

    def __init__(self, view: View, acts: Acts, worker: WorkerLink, clusters: Clusters) -> None:
        self._view, self._acts, self._worker, self._clusters = view, acts, worker, clusters

    @property
    def _checkpoint(self) -> str:
        return self._worker.relative(self._view.model.path)

    def plm(self, request: PlmRequest) -> int:
        """Train a head for a novel class on its shots (PLM).

        Raises
        ------
        ValueError
            If the class is unknown, not novel, or has no shot yet.
        """
        view = self._view
        named = view.classes.find(request.class_name)
        if named is None or not named.novel:
            raise ValueError(
                f"{request.class_name!r} is not a novel class of this project: name one first"
            )
        shots = view.shots.images(named.id)
        if not shots:
            raise ValueError(f"{named.name!r} has no shot yet: click an object and name it first")
        revisions = [{"image_id": i, "revision_id": view.record(i).revision_id} for i in shots]
        payload = request.payload(self._checkpoint, view.model.name, named, revisions)
        self._acts.record("retrain", payload, f"train {named.name}")
        return self._worker.submit("plm", payload)

    def ood(self, request: OodRequest) -> int:
        """Train on OoD objects: entropy maximisation, or a residual block (RPL).

        Raises
        ------
        ValueError
            If the project has no annotated OoD object to train on.
        """
        if request.source == "project" and not self.has_ood_objects():
            raise ValueError(
                "this project has no annotated OoD object: click and name one first, or choose "
                "a folder or a COCO file"
            )
        payload = request.payload(self._checkpoint)
        self._acts.record("train_ood", request.model_dump(), f"train {request.method_name}")
        return self._worker.submit("ood", payload)

    def has_ood_objects(self) -> bool:
        """Return whether people have labelled any pixel of a novel class or as OoD."""
        base = len(self._view.classes.base)
        for record in self._view.images.records:
            if record.revision_id is not None:
                human = self._view.human(record.id)
                if (((human >= base) & (human < MAX_CLASSES)) | (human == OOD_PROXY)).any():
                    return True
        return False

    def weak_shot(self, request: WeakShotRequest) -> int:
        """Learn masks of the tagged novel classes (SimFormer); they become proposals for review.

        Raises
        ------
        ValueError
            If no image is tagged with a novel class.
        """
        counts = self._view.project.tags.counts()
        if not any(counts.get(c.id, {}).get("present") for c in self._view.classes.novel):
            raise ValueError("no image is tagged with a novel class: tag at least 20 images first")
        payload = {"checkpoint": self._checkpoint, "course": request.course()}
        return self._worker.submit("weak_shot", payload)

    def pretrain(self, request: PretrainRequest) -> int:
        """Pre-train backbone and decoder on all images, without labels.

        Raises
        ------
        ValueError
            If there are fewer than two images.
        """
        request.check(len(self._view.images.ids))
        payload = {
            "labels": self._clusters.payload(request.clusters),
            "iterations": request.iterations,
            "tuning": request.tuning,
            "start": request.start,
        }
        self._acts.record("pretrain", request.model_dump(), "pre-train on this folder")
        return self._worker.submit("pretrain", payload)

    def result(self, kind: str) -> TrainingResult | None:
        """Return the newest result of a kind that was neither adopted nor discarded, or None."""
        for row in self._worker.jobs():
            if row.kind == kind and row.state == "done" and row.result is not None:
                settled = f"settled_{int(row.result['model_id'])}"
                if self._view.project.setting(settled) is None:
                    return TrainingResult.of(row)
        return None
