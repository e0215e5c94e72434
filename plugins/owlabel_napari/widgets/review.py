"""Where the annotator is: image, its state, reviewed or not; undo and redo."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QFrame, QLabel, QSizePolicy, QToolTip, QVBoxLayout, QWidget

from owlabel.project.tables.catalog import REPLACED
from owlabel_napari.canvas.keys import NAMES, rows, tip
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import button, hint, row, tight, title
from owlabel_napari.widgets.common.progress_bar import Bar

if TYPE_CHECKING:
    from owlabel.session.session import Session

LOOK_EVERY = 3.0
"""Seconds between two looks for images that cannot be read, while images are embedded."""


class ReviewWidget(QFrame):
    """The head of the panel; every button is an act of the session."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.name, self.state, self.place = title(""), QLabel(), QLabel()
        self.back = button("‹", lambda: attempt(session, session.previous_image), tip("A"))
        self.forth = button("›", lambda: attempt(session, session.next_image), tip("D"))
        self.reviewed = button("Mark reviewed", self._review)
        self.undo = button("↶ Undo", lambda: attempt(session, session.undo))
        self.redo = button("↷ Redo", lambda: attempt(session, session.redo))
        self.help = button("?", self._show_keys, _key_table())
        self.done, self.broken = Bar(), hint()
        self._progress, self._looked = (-1, -1), -LOOK_EVERY
        self._connections = Connections()
        self._lay_out()
        signals = (
            session.image_changed, session.labels.changed, session.history_changed,
            session.worker.changed, session.models.changed, session.labels.prediction_changed,
        )  # fmt: skip
        self._connections.add_later(signals, self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.state.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.place.setAlignment(Qt.AlignmentFlag.AlignCenter)
        for small in (self.back, self.forth, self.help):
            small.setFixedWidth(28)
        layout = QVBoxLayout(self)
        tight(layout)
        top = row(self.back, self.place, self.forth, self.name, self.state)
        top.setStretch(3, 1)
        layout.addLayout(top)
        layout.addLayout(row(self.reviewed, None, self.undo, self.redo, self.help))
        layout.addWidget(self.done)
        layout.addWidget(self.broken)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def refresh(self, *_: Any) -> None:
        """Show where the session is."""
        session = self.session
        if session.image_id is None:
            self.name.setText("No readable image")
        else:
            record = session.record()
            self.name.setText(Path(record.relative).name)
            self.name.setToolTip(str(record.path))
            place, total = session.position(record.id)
            self.place.setText(f"{place + 1} / {total}")
            self.state.setText(record.state)
            self.reviewed.setText("Reopen" if record.state == "reviewed" else "Mark reviewed")
        self.reviewed.setEnabled(session.image_id is not None)
        self._show_history()
        self._show_progress()

    def _show_history(self) -> None:
        for one, act, key in (
            (self.undo, self.session.can_undo, "Control-Z"),
            (self.redo, self.session.can_redo, "Control-Shift-Z"),
        ):
            one.setEnabled(act is not None)
            one.setToolTip(tip(key, act or f"Nothing to {NAMES[key]}"))

    def _show_progress(self) -> None:
        done, total = self.session.progress
        self.done.setVisible(done < total)
        self.done.show_part(done, total)
        self.done.setToolTip(f"{done} of {total} images embedded")
        soon = monotonic() - self._looked < LOOK_EVERY and done < total
        if soon or (done, total) == self._progress:
            return
        self._progress, self._looked = (done, total), monotonic()
        broken, replaced = self.session.broken, self.session.project.replaced
        self.broken.setVisible(bool(broken or replaced))
        names = ", ".join(Path(r.relative).name for r in broken[:2])
        more = f" and {len(broken) - 2} more" if len(broken) > 2 else ""
        lines = [f"⚠ Cannot read {names}{more} (hover for the reasons)"] if broken else []
        if replaced:
            lines.append(
                f"⚠ {len(replaced)} labelled images have changed on disk (hover for names)"
            )
        reasons = [f"{r.relative}: {r.error}" for r in broken]
        self.broken.setText("\n".join(lines))
        self.broken.setToolTip("\n".join([*reasons, *(f"{n}{REPLACED}" for n in replaced)]))

    def _show_keys(self) -> None:
        QToolTip.showText(QCursor.pos(), self.help.toolTip(), self.help)

    def _review(self) -> None:
        reviewed = self.session.record().state == "reviewed"
        attempt(self.session, self.session.labels.review, not reviewed)


def _key_table() -> str:
    """Return all keys as a tooltip."""
    lines = (f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{does}</td></tr>" for key, does in rows())
    return f"<table>{''.join(lines)}</table>"
