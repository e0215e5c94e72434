"""What the worker does now: a line with a bar and a cancel button for each running job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from owlabel.jobs.registry import title_of
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import button, row, tight
from owlabel_napari.widgets.common.progress_bar import Bar

if TYPE_CHECKING:
    from owlabel.session.session import Session

MOST = 3


class JobsView(QWidget):
    """Show up to three jobs that run or wait; nothing is shown while the worker rests."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self._lines = [_Line(self) for _ in range(MOST)]
        layout = QVBoxLayout(self)
        tight(layout)
        for line in self._lines:
            line.cancel.clicked.connect(lambda _on=False, one=line: self._cancel(one))
            layout.addWidget(line)
        self._connections = Connections()
        self._connections.add(session.worker.changed, self.refresh)
        self.refresh()

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def refresh(self, *_: Any) -> None:
        """Show the jobs that run or wait, the running ones first."""
        active = [job for job in self.session.worker.jobs() if job.state in ("running", "queued")]
        active.sort(key=lambda job: (job.state != "running", job.id))
        for line, job in zip(self._lines, [*active, *[None] * MOST], strict=False):
            line.show_job(job)
        self.setVisible(bool(active))

    def _cancel(self, line: _Line) -> None:
        if line.job_id is not None:
            attempt(self.session, self.session.worker.cancel, line.job_id)


class _Line(QWidget):
    """One job."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.job_id: int | None = None
        self.text, self.bar = QLabel(), Bar()
        self.cancel = button("✕", lambda: None, "Cancel this job")
        self.cancel.setFixedWidth(24)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.setSpacing(2)
        layout.addLayout(row(self.text, None, self.cancel))
        layout.addWidget(self.bar)

    def show_job(self, job: Any | None) -> None:
        """Show a job, or nothing."""
        self.setVisible(job is not None)
        self.job_id = None if job is None else job.id
        if job is None:
            return
        self.text.setText(_words(job))
        self.text.setToolTip(job.message or "")
        self.bar.show_part(job.done or 0, job.total or 0)
        self.bar.setVisible(job.state == "running")


def _words(job: Any) -> str:
    """Return what a job is doing, how far it is and for how long, in one line."""
    what = title_of(job.kind)
    if job.state == "queued":
        return f"{what}: waiting"
    far = f" {job.done} / {job.total}" if job.total else " …"
    return f"{what}{far}{time_left(job.eta_s)}"


def time_left(seconds: float | None) -> str:
    """Return the time left in words, empty where it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f", {max(1, round(seconds))} s left"
    return f", {round(seconds / 60)} min left"
