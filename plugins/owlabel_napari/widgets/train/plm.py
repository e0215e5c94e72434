"""Retrain for a novel class (PLM), watch it, compare, adopt or discard; switch model versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from owlabel.jobs.requests.plm import PlmRequest
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.form import RequestForm
from owlabel_napari.widgets.common.parts import button, hint, row, scrolled, tight, title
from owlabel_napari.widgets.train.comparison import ComparisonWidget
from owlabel_napari.widgets.train.loss_plot import LossPlot
from owlabel_napari.widgets.train.ood_training import OodTrainingWidget, tell

if TYPE_CHECKING:
    from owlabel.session.session import Session

METRIC = "loss"


class TrainWidget(QWidget):
    """Everything about model versions; the worker trains, this only asks and shows."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.form = RequestForm(PlmRequest, "iterations")
        self.class_name = ComboBox(choices=[], name="class_name", label="Class", nullable=True)
        self.form.container.insert(0, self.class_name)
        self.start = button("Retrain", self._train, "Train a head for this class (PLM)")
        self.cancel = button("Cancel", self._cancel)
        self.progress, self.plot = hint(), LossPlot()
        self.comparison = ComparisonWidget(session)
        self.ood = OodTrainingWidget(session)
        self.version = ComboBox(choices=[], label="Model", nullable=True)
        self.use = button("Use", self._switch, "Label with this version from now on")
        self.add = button("Add file …", self._add_file, "Add a checkpoint to this project")
        self._versions: list[tuple[str, int]] = []
        self._job_id: int | None = None
        self._seen = 0
        self._connections = Connections()
        self._lay_out()
        signals = (
            session.worker.changed, session.classes_changed, session.models.changed,
            session.labels.changed, session.history_changed,
        )  # fmt: skip
        self._connections.add_later(signals, self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        versions = Container(widgets=[self.version], labels=True)
        versions.margins = (0, 0, 0, 0)
        page = QWidget()
        outer, layout = QVBoxLayout(self), QVBoxLayout(page)
        tight(outer)
        tight(layout)
        outer.addWidget(scrolled(page))
        layout.addWidget(title("Retrain for a novel class (PLM)"))
        layout.addWidget(self.form.native)
        layout.addLayout(row(None, self.cancel, self.start))
        layout.addWidget(self.progress)
        layout.addWidget(self.plot)
        layout.addWidget(self.comparison)
        layout.addWidget(self.ood)
        layout.addStretch(1)
        layout.addWidget(title("Model versions"))
        layout.addWidget(versions.native)
        layout.addLayout(row(self.add, None, self.use))

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()
        self.ood.close_widget()

    def refresh(self, *_: Any) -> None:
        """Show classes, versions, the training that runs or ended last, and its result."""
        self._show_classes()
        self._show_versions()
        self._show_job()
        self.comparison.refresh()

    def _show_classes(self) -> None:
        names = [c.name for c in self.session.classes.novel]
        if list(self.class_name.choices) != names:
            before = self.class_name.value
            self.class_name.choices = names
            self.class_name.value = before if before in names else (names[-1] if names else None)

    def _show_versions(self) -> None:
        models = self.session.models.versions()
        choices = [
            (f"{m.name}{'  (in use)' if m.id == self.session.models.active.id else ''}", m.id)
            for m in models
        ]
        if self._versions != choices:
            self._versions = choices
            with self.version.changed.blocked():
                self.version.choices = choices
                self.version.value = self.session.models.active.id

    def _show_job(self) -> None:
        job = next((j for j in self.session.worker.jobs() if j.kind == "plm"), None)
        running = job is not None and job.state in ("queued", "running")
        self.cancel.setVisible(running)
        self.start.setEnabled(not running and bool(self.session.classes.novel))
        self.plot.setVisible(job is not None)
        if job is None:
            nothing = not self.session.classes.novel
            self.progress.setText(
                "Name an object first: there is no novel class." if nothing else ""
            )
            return
        if job.id != self._job_id:
            self._job_id, self._seen = job.id, 0
            self.plot.clear()
        self._read_metrics(job.id)
        self.progress.setText(tell(job))

    def _read_metrics(self, job_id: int) -> None:
        rows = self.session.worker.metrics(job_id, self._seen)
        if rows:
            self._seen = max(r.id for r in rows)
            self.plot.add([(r.step, r.metrics[METRIC]) for r in rows if METRIC in r.metrics])

    def _train(self) -> None:
        if self.class_name.value is not None:
            attempt(self.session, lambda: self.session.training.plm(self.form.request()))

    def _cancel(self) -> None:
        if self._job_id is not None:
            attempt(self.session, self.session.worker.cancel, self._job_id)

    def _switch(self) -> None:
        if self.version.value not in (None, self.session.models.active.id):
            attempt(self.session, self.session.models.switch, int(self.version.value))

    def _add_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Add a model", "", "Checkpoints (*.safetensors)"
        )
        if name:
            attempt(self.session, self.session.models.add_file, Path(name))
            self.refresh()
