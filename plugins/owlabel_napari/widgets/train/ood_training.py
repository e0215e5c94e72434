"""Make the model know what it does not know: RPL, CoroCL, entropy maximisation, from the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel.jobs.requests.ood import METHODS, OodRequest
from owlabel.session.training.results import TrainingResult, ood_summary
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.form import RequestForm
from owlabel_napari.widgets.common.jobs_view import time_left
from owlabel_napari.widgets.common.parts import (
    FAILED,
    QUIET,
    bring_into_view,
    button,
    hint,
    row,
    tight,
    title,
)
from owlabel_napari.widgets.train.comparison import ComparisonWidget
from owlabel_napari.widgets.train.course_plot import CoursePlot

if TYPE_CHECKING:
    from owlabel.session.session import Session

ABOUT = {
    "rpl": "Trains a residual block beside the model, which detects OoD objects. The predicted "
    "classes do not change.",
    "rpl_corocl": "RPL with the contrastive loss CoroCL; with fewer than ten objects, RPL alone.",
    "entropy": "Fine-tunes the model itself into a new base model. After you adopt it, all images "
    "are embedded again and trained classes (PLM) must be trained again. No model is kept if "
    "closed-set mIoU falls by more than 2 points.",
}


class OodTrainingWidget(QWidget):
    """Choose method and objects, watch mIoU and AP, adopt or discard; the worker trains."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.form = RequestForm(OodRequest, *OodRequest.model_fields)
        self.browse = button("Choose …", self._browse, "Choose the folder or the COCO file")
        self.start = button("Train", self._train, "Train in the background")
        self.cancel = button("Cancel", self._cancel)
        self.about, self.progress, self.plot = hint(), hint(), CoursePlot()
        self.comparison = OodComparison(session)
        self._job_id: int | None = None
        self._seen = 0
        self._connections = Connections()
        self._lay_out()
        self.form["method"].changed.connect(self._show_form)
        self.form["source"].changed.connect(self._show_form)
        signals = (session.worker.changed, session.models.changed, session.history_changed)
        self._connections.add_later(signals, self.refresh)
        self._show_form()
        self.refresh()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("OoD training: detect unknown objects better"))
        layout.addWidget(self.form.native)
        layout.addWidget(self.about)
        layout.addLayout(row(self.browse, None, self.cancel, self.start))
        layout.addWidget(self.progress)
        layout.addWidget(self.comparison)
        layout.addWidget(self.plot)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def refresh(self, *_: Any) -> None:
        """Show the training that runs or ended last, and its result."""
        job = next((j for j in self.session.worker.jobs() if j.kind == "ood"), None)
        running = job is not None and job.state in ("queued", "running")
        self.cancel.setVisible(running)
        self.start.setEnabled(not running)
        if job is not None:
            if job.id != self._job_id:
                self._job_id, self._seen = job.id, 0
                self.plot.clear()
            rows = self.session.worker.metrics(job.id, self._seen)
            if rows:
                self._seen = max(r.id for r in rows)
                self.plot.add([r.metrics for r in rows])
        self.plot.setVisible(job is not None and len(self.plot) > 0)
        self.progress.setText("" if job is None else tell(job))
        self.progress.setStyleSheet(FAILED if job is not None and job.state == "failed" else QUIET)
        was_there = self.comparison.isVisible()
        self.comparison.refresh()
        if self.comparison.isVisible() and not was_there:
            bring_into_view(self.comparison.adopt)

    def _show_form(self, *_: Any) -> None:
        """Show what the method and the source need, and say what the method does."""
        from_file = self.form["source"].value != "project"
        entropy = self.form["method"].value == "entropy"
        self.form["path"].visible = from_file
        self.browse.setVisible(from_file)
        for name in ("use", "ratio", "lambda_ood", "averaging"):
            self.form[name].visible = entropy
        self.about.setText(ABOUT[self.form["method"].value])

    def request(self) -> OodRequest:
        """Return what is asked for."""
        if self.form["source"].value == "project":
            return self.form.request(path="")
        return self.form.request()

    def _train(self) -> None:
        attempt(self.session, lambda: self.session.training.ood(self.request()))

    def _cancel(self) -> None:
        if self._job_id is not None:
            attempt(self.session, self.session.worker.cancel, self._job_id)

    def _browse(self) -> None:
        if self.form["source"].value == "folder":
            self.form.choose_folder("path", "Folder with images/ and masks/")
        else:
            self.form.choose_file("path", "COCO instances", "COCO (*.json)")


class OodComparison(ComparisonWidget):
    """Closed-set mIoU, AP, AUROC and FPR95 before and after, with Adopt and Discard."""

    column = "measure"
    worse_if_higher = frozenset({"FPR95"})

    def result(self) -> Any:
        """Return the newest OoD training that is neither adopted nor discarded."""
        return self.session.training.result("ood")

    def heading(self, result: TrainingResult) -> str:
        """Return the line above the table."""
        method = str(result.request["method"])
        return f"{METHODS.get(method, method)} is trained"

    def order(self, result: TrainingResult, names: set[str]) -> list[str]:
        """Return the measures as they were told."""
        return [name for name in result.comparison.get("before", {}) if name in names]

    def told(self, result: TrainingResult) -> str:
        """Return what the numbers rest on."""
        return ood_summary(result)


def tell(job: Any) -> str:
    """Return in one line how a training goes or ended."""
    if job.state == "failed":
        return f"Failed: {job.error}"
    if job.state == "queued":
        return "Waiting for the worker …"
    if job.state == "running" and job.total:
        return f"Step {job.done} of {job.total}{time_left(job.eta_s)}. {job.message or ''}"
    if job.state == "running":
        return f"{job.message or 'starting'} …"
    return f"Training {job.state}."
