"""Make the model know what it does not know: RPL, CoroCL, entropy maximisation, from the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FloatSpinBox, LineEdit, SpinBox
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from owlabel.jobs.requests.ood import METHODS, OodRequest
from owlabel.session.training.ood import KIND, basis
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
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
    from owlabel.session.training.ood import OodResult

SOURCES = {
    "annotated here": "project",
    "folder with masks": "folder",
    "COCO file": "coco",
}
USES = {"pasted into these images": "pasted", "in their own pictures": "whole"}
TOLD = {
    "rpl": "A block beside the model learns to see objects; the class map stays as it is, bit for "
    "bit.",
    "rpl_corocl": "RPL that also contrasts contexts; needs ten objects or more, else it is RPL.",
    "entropy": "Fine-tunes the model itself: a new base model, its images are embedded again and "
    "trained classes (PLM) start over. Refused if the closed set loses more than 2 points.",
}


class OodTrainingWidget(QWidget):
    """Choose method and objects, watch mIoU and AP, adopt or discard; the worker trains."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        methods = [(name, key) for key, name in METHODS.items()]
        self.method = ComboBox(choices=methods, value="rpl", label="Method")
        self.source = ComboBox(choices=list(SOURCES.items()), value="project", label="Objects")
        self.path = LineEdit(label="From")
        self.browse = button("Choose …", self._browse, "Choose the folder or the COCO file")
        self.use = ComboBox(choices=list(USES.items()), value="pasted", label="Seen")
        self.ratio = FloatSpinBox(value=0.1, min=0.02, max=5, step=0.05, label="Per image")
        self.lambda_ood = FloatSpinBox(value=0.9, min=0, max=1, step=0.05, label="Lambda")
        self.averaging = ComboBox(choices=["joint", "separate"], label="Averaging")
        self.epochs = SpinBox(value=5, min=1, max=200, label="Epochs")
        self.steps = SpinBox(value=40, min=1, max=5000, step=20, label="Steps each")
        self.start = button("Train", self._train, "Train in the background")
        self.cancel = button("Cancel", self._cancel)
        self.about, self.progress, self.plot = hint(), hint(), CoursePlot()
        self.comparison = OodComparison(session)
        self._explain()
        self._job_id: int | None = None
        self._seen = 0
        self._connections = Connections()
        self._lay_out()
        self.method.changed.connect(self._show_form)
        self.source.changed.connect(self._show_form)
        signals = (session.jobs_changed, session.model_changed, session.history_changed)
        self._connections.add_later(signals, self.refresh)
        self._show_form()
        self.refresh()

    def _explain(self) -> None:
        self.use.tooltip = (
            "Cut out and pasted into images of this project, or whole, in their own pictures"
        )
        self.ratio.tooltip = "Pictures with objects for each image without; 0.1 in the paper"
        self.lambda_ood.tooltip = (
            "Weight of the unknown objects against the known classes; 0.9 in the paper"
        )
        self.averaging.tooltip = (
            "Over all pixels together, as the authors' code does, or each kind apart"
        )
        self.steps.tooltip = "Steps of an epoch; after each epoch mIoU and AP are measured"

    def _lay_out(self) -> None:
        fields = [
            self.method, self.source, self.path, self.use, self.ratio, self.lambda_ood,
            self.averaging, self.epochs, self.steps,
        ]  # fmt: skip
        self.form = Container(widgets=fields, labels=True)
        self.form.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("OoD training: know what it does not know"))
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
        job = next((j for j in self.session.jobs() if j.kind == KIND), None)
        running = job is not None and job.state in ("queued", "running")
        self.cancel.setVisible(running)
        self.start.setEnabled(not running)
        if job is not None:
            if job.id != self._job_id:
                self._job_id, self._seen = job.id, 0
                self.plot.clear()
            rows = self.session.metrics(job.id, self._seen)
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
        from_file = self.source.value != "project"
        entropy = self.method.value == "entropy"
        self.path.visible = from_file
        self.browse.setVisible(from_file)
        for field in (self.use, self.ratio, self.lambda_ood, self.averaging):
            field.visible = entropy
        self.about.setText(TOLD[self.method.value])

    def request(self) -> OodRequest:
        """Return what is asked for."""
        return OodRequest(
            method=self.method.value,
            source=self.source.value,
            path=self.path.value if self.source.value != "project" else "",
            use=self.use.value,
            ratio=float(self.ratio.value),
            lambda_ood=float(self.lambda_ood.value),
            averaging=self.averaging.value,
            epochs=int(self.epochs.value),
            steps_per_epoch=int(self.steps.value),
        )

    def _train(self) -> None:
        attempt(self.session, self.session.train_ood, self.request())

    def _cancel(self) -> None:
        if self._job_id is not None:
            attempt(self.session, self.session.cancel_job, self._job_id)

    def _browse(self) -> None:
        if self.source.value == "folder":
            name = QFileDialog.getExistingDirectory(self, "Folder with images/ and masks/")
        else:
            name, _ = QFileDialog.getOpenFileName(self, "COCO instances", "", "COCO (*.json)")
        if name:
            self.path.value = name


class OodComparison(ComparisonWidget):
    """Closed-set mIoU, AP, AUROC and FPR95 before and after, with Adopt and Discard."""

    column = "measure"
    worse_if_higher = frozenset({"FPR95"})

    def result(self) -> Any:
        """Return the newest OoD training that is neither adopted nor discarded."""
        return self.session.ood_result()

    def heading(self, result: OodResult) -> str:
        """Return the line above the table."""
        return f"{METHODS.get(result.method, result.method)} is trained"

    def order(self, result: OodResult, names: set[str]) -> list[str]:
        """Return the measures as they were told."""
        return [name for name in result.comparison.get("before", {}) if name in names]

    def told(self, result: OodResult) -> str:
        """Return what the numbers rest on."""
        return basis(result)


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
