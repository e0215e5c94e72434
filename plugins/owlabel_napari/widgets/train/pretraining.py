"""Pre-train on this folder: contrast between its images, tuning, before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.jobs.requests.pretraining import PretrainRequest
from owlabel.session.training.results import TrainingResult
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt, refusal
from owlabel_napari.widgets.common.form import RequestForm
from owlabel_napari.widgets.common.parts import (
    bring_into_view,
    button,
    hint,
    row,
    say,
    tight,
    title,
)
from owlabel_napari.widgets.train.comparison import ComparisonWidget
from owlabel_napari.widgets.train.loss_plot import LossPlot
from owlabel_napari.widgets.train.ood_training import tell

if TYPE_CHECKING:
    from owlabel.session.session import Session

ABOUT = (
    "Builds clusters with the settings above, learns from them by contrast, then trains on labels. "
    "The result is a new base model. After you adopt it, all images are embedded again and trained "
    "classes (PLM) must be trained again. Until then the model in use stays."
)


class PretrainingWidget(QWidget):
    """Ask for pre-training, watch the loss, adopt or discard; the worker trains.

    Parameters
    ----------
    session : Session
    clusters : callable
        Returns the request for the clusters that pixels are contrasted by.
    """

    def __init__(
        self,
        session: Session,
        clusters: Callable[[], ClusterRequest],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.session, self._clusters = session, clusters
        self.form = RequestForm(PretrainRequest, "start", "iterations", "tuning")
        self.start = button("Pre-train", self._train, "Train in the background")
        self.cancel = button("Cancel", self._cancel)
        self.progress, self.plot = hint(), LossPlot()
        self.comparison = PretrainComparison(session)
        self._job_id: int | None = None
        self._seen = 0
        self._refused = ""
        self._followed = False
        self._connections = Connections()
        self._lay_out()
        signals = (session.worker.changed, session.models.changed, session.history_changed)
        self._connections.add_later(signals, self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("Pre-train on this folder"))
        layout.addWidget(self.form.native)
        layout.addWidget(hint(ABOUT))
        layout.addLayout(row(None, self.cancel, self.start))
        layout.addWidget(self.progress)
        layout.addWidget(self.plot)
        layout.addWidget(self.comparison)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def refresh(self, *_: Any) -> None:
        """Show the training that runs or ended last, and its result."""
        job = next((j for j in self.session.worker.jobs() if j.kind == "pretrain"), None)
        running = job is not None and job.state in ("queued", "running")
        self.cancel.setVisible(running)
        self.start.setEnabled(not running)
        self.plot.setVisible(job is not None)
        if job is not None:
            if job.id != self._job_id:
                self._job_id, self._seen = job.id, 0
                self.plot.clear()
            self._read_metrics(job.id)
        told = self._refused or ("" if job is None else tell(job))
        failed = bool(self._refused) or (job is not None and job.state == "failed")
        say(self.progress, told, failed=failed)
        was_there = self.comparison.isVisible()
        self.comparison.refresh()
        if running and not self._followed:
            bring_into_view(self.plot)
        elif self.comparison.isVisible() and not was_there:
            bring_into_view(self.comparison)
        self._followed = running

    def _read_metrics(self, job_id: int) -> None:
        """Plot the loss of the contrast; that of the labels is another one."""
        rows = self.session.worker.metrics(job_id, self._seen)
        if rows:
            self._seen = max(r.id for r in rows)
            points = [r for r in rows if "loss" in r.metrics and "minutes" not in r.metrics]
            self.plot.add([(r.step, r.metrics["loss"]) for r in points])

    def request(self) -> PretrainRequest:
        """Return what is asked for."""
        return self.form.request(clusters=self._clusters())

    def _train(self) -> None:
        self._refused = refusal(
            self.session, lambda: self.session.training.pretrain(self.request())
        )
        self.refresh()

    def _cancel(self) -> None:
        if self._job_id is not None:
            attempt(self.session, self.session.worker.cancel, self._job_id)


class PretrainComparison(ComparisonWidget):
    """Closed-set mIoU and IoU of each class before and after, with Adopt and Discard."""

    column = "IoU of"

    def result(self) -> Any:
        """Return the newest pre-training that is neither adopted nor discarded."""
        return self.session.training.result("pretrain")

    def heading(self, result: TrainingResult) -> str:
        """Return the line above the table."""
        return "The pre-trained model is ready"

    def order(self, result: TrainingResult, names: set[str]) -> list[str]:
        """Return the mean first, then the classes by name."""
        return sorted(names, key=lambda n: (n != "closed-set mIoU", n))

    def told(self, result: TrainingResult) -> str:
        """Return what the numbers rest on."""
        details = result.details
        frames, pixels = details.get("val_frames", 0), details.get("val_human_pixels", 0)
        if not pixels:
            return (
                f"Nothing was compared: the {frames} held-out images (every fourth) have no human "
                "labels. So nothing shows that the new model is better."
            )
        return (
            f"In percent, on {pixels:,} pixels labelled by hand in the {frames} held-out images "
            "(every fourth). Pre-training saw these images, but not their labels."
        )
