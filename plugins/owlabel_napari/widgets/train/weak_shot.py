"""Masks from tags: what is lacking, the training, what came of it, and the way to the review."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel.jobs.requests.weak_shot import WeakShotRequest
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.form import RequestForm
from owlabel_napari.widgets.common.parts import bring_into_view, button, hint, row, tight, title
from owlabel_napari.widgets.train.loss_plot import LossPlot
from owlabel_napari.widgets.train.ood_training import tell
from owlabel_napari.widgets.train.weak_shot_result import WeakShotComparison

if TYPE_CHECKING:
    from owlabel.session.session import Session

METRIC = "loss"
COUNT_S, COUNT_MS = 0.01, 20
"""How long label maps are looked at in one go, and the pause after it."""


class WeakShotWidget(QWidget):
    """Ask for masks of tagged classes, follow the training; the worker trains.

    Signals
    -------
    review_wanted
        The queue of masks from tags shall be shown.
    """

    review_wanted = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.form = RequestForm(WeakShotRequest, "iterations", "retrain")
        self.lacking, self.progress, self.waiting = hint(), hint(), hint()
        self.plot, self.comparison = LossPlot(), WeakShotComparison(session)
        self.start = button("Masks from tags", self._train, "Learn masks of tagged classes")
        self.cancel = button("Cancel", self._cancel)
        self.review = button("Review masks", self.review_wanted.emit, "Show them in the queue")
        self._followed = False
        self._job_id: int | None = None
        self._seen = 0
        self._connections = Connections()
        self._masks = QTimer(self)
        self._masks.setSingleShot(True)
        self._masks.timeout.connect(self._count_masks)
        self._connections.own(self._masks)
        self._lay_out()
        later = (session.worker.changed, session.tags.changed, session.queue.changed)
        self._connections.add_later(later, self.show_job)
        changes = (session.tags.changed, session.classes_changed, session.labels.changed)
        self._connections.add_later(changes, self.show_lacking)
        self.show_job()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("Masks from tags (SimFormer)"))
        layout.addWidget(self.lacking)
        layout.addWidget(self.form.native)
        layout.addLayout(row(None, self.cancel, self.start))
        layout.addWidget(self.progress)
        layout.addLayout(row(self.waiting, self.review))
        layout.addWidget(self.comparison)
        layout.addWidget(self.plot)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    # -- before --------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look what is lacking once somebody sees it."""
        super().showEvent(event)
        self.show_lacking()

    def show_lacking(self) -> None:
        """Say which class has too few tags and, once the masks are counted, too few masks."""
        if self.isVisible():
            self._masks.start(0)

    def _count_masks(self) -> None:
        """Look at a few label maps more, so that the window never waits for all of them."""
        left = attempt(self.session, self.session.tags.scan_masks, COUNT_S)
        told = self.session.tags.missing_tags()
        if left:
            told.append(f"Counting masks: {left} label maps left …")
            self._masks.start(COUNT_MS)
        else:
            told += self.session.tags.missing_masks()
        self.lacking.setText("\n".join(told))
        self.lacking.setVisible(bool(told))

    # -- training ------------------------------------------------------------------------------

    def show_job(self) -> None:
        """Show the training that runs or ended last, and how many masks wait for review."""
        job = next((j for j in self.session.worker.jobs() if j.kind == "weak_shot"), None)
        running = job is not None and job.state in ("queued", "running")
        self.cancel.setVisible(running)
        self.start.setEnabled(not running)
        self.plot.setVisible(job is not None)
        if job is not None:
            self._show_course(job.id)
        self.progress.setText("" if job is None else _told(job))
        was_there = self.comparison.isVisible()
        self.comparison.show_job(job)
        open_ = self.session.project.proposals.count("weak_shot")
        self.review.setVisible(bool(open_))
        self.waiting.setVisible(bool(open_))
        self.waiting.setText(f"{open_} mask{'s' * (open_ != 1)} from tags to review")
        if running and not self._followed:
            bring_into_view(self.plot)
        elif self.comparison.isVisible() and not was_there:
            bring_into_view(self.comparison)
        self._followed = running

    def _show_course(self, job_id: int) -> None:
        if job_id != self._job_id:
            self._job_id, self._seen = job_id, 0
            self.plot.clear()
        rows = self.session.worker.metrics(job_id, self._seen)
        if rows:
            self._seen = max(r.id for r in rows)
            self.plot.add([(r.step, r.metrics[METRIC]) for r in rows if METRIC in r.metrics])

    def _train(self) -> None:
        attempt(self.session, lambda: self.session.training.weak_shot(self.form.request()))

    def _cancel(self) -> None:
        if self._job_id is not None:
            attempt(self.session, self.session.worker.cancel, self._job_id)


def _told(job: Any) -> str:
    """Return how the job goes, or what it made: a line for each class."""
    if job.state != "done" or not job.result:
        return tell(job)
    classes = job.result.get("classes", {})
    lines = [f"{name}: {_made(told)}" for name, told in classes.items()]
    return "\n".join(lines or ["No mask was proposed."])


def _made(told: Mapping[str, Any]) -> str:
    """Return how many masks of a class there are, in how many images, and how sure they are."""
    count, tagged = told["proposals"], told.get("tagged")
    text = f"{count} mask{'s' * (count != 1)}"
    if tagged is not None:
        text += f" in {tagged} tagged image{'s' * (tagged != 1)}"
    if not count:
        return text
    text += f", {100 * told['confidence']:.0f}\u00a0% sure on average"
    parts = [(told.get("sure"), "from 90\u00a0%"), (told.get("doubtful"), "below 50\u00a0%")]
    return "; ".join([text, *(f"{n} {words}" for n, words in parts if n)])
