"""The panel of an open project: makes the widgets, lays them out, connects them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from owlabel_napari.canvas.keys import Keys
from owlabel_napari.canvas.overlays import Overlays
from owlabel_napari.canvas.pointer import Pointer
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.deferred_work import Steps
from owlabel_napari.events.messages import Findings, attempt, show
from owlabel_napari.widgets.classes import ClassesWidget
from owlabel_napari.widgets.clusters.page import ClusterPage
from owlabel_napari.widgets.common.jobs_view import JobsView
from owlabel_napari.widgets.common.parts import tight
from owlabel_napari.widgets.export import ExportWidget
from owlabel_napari.widgets.find.candidate import CandidateWidget
from owlabel_napari.widgets.find.cursor import CursorWidget
from owlabel_napari.widgets.find.naming import Naming
from owlabel_napari.widgets.find.overlay_form import OverlayWidget
from owlabel_napari.widgets.find.queue import QueueWidget
from owlabel_napari.widgets.find.reviewing import Reviewing
from owlabel_napari.widgets.find.thumbnails import Thumbnails
from owlabel_napari.widgets.review import ReviewWidget
from owlabel_napari.widgets.tags.tags import TagsWidget
from owlabel_napari.widgets.train.plm import TrainWidget
from owlabel_napari.window.gallery_dock import GalleryDock

if TYPE_CHECKING:
    import napari.viewer

    from owlabel.session.session import Session

POLL_MS = 200


class Workspace(QWidget):
    """Everything that belongs to one session; `close_workspace` undoes all of it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are shown and the mouse and keys come from.
    session : Session
        What is worked on.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, session: Session, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.session, self.viewer = session, viewer
        self.gallery: GalleryDock | None = None
        self._poll_told = ""
        self._connections = Connections()
        self._connections.add(session.message, show)
        self.findings = Findings(session, self._connections)
        self.steps = Steps(self)
        self.overlays = Overlays(viewer, session, self.steps)
        self.naming = Naming(session, self)
        self.reviewing = Reviewing(session, self.naming, self.overlays.choose_brush)
        acts = self._acts()
        self.review = ReviewWidget(session)
        self.thumbnails = Thumbnails(self)
        self.candidate = CandidateWidget(session, acts, self.thumbnails)
        self.overlay = OverlayWidget(session, self.overlays)
        self.queue = QueueWidget(session, self.steps, self.thumbnails)
        self.tags = TagsWidget(session)
        self.tags.gallery_wanted.connect(self.show_gallery)
        self.tags.review_wanted.connect(partial(self.review_masks, "weak_shot"))
        self.classes = ClassesWidget(session, self.overlays)
        self.clusters = ClusterPage(session, self.overlays.layers)
        self.clusters.clusters.review_wanted.connect(partial(self.review_masks, "cluster"))
        self.train = TrainWidget(session)
        self.export = ExportWidget(session)
        self.jobs = JobsView(session)
        self.under_cursor = CursorWidget(session, self.overlays.score_under)
        self.pointer = Pointer(viewer, session, self.under_cursor.look_at)
        self.keys = Keys(viewer, self.overlays.layers, self, acts)
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        self._timer.start(POLL_MS)
        self._connections.own(self._timer)

    def _poll(self) -> None:
        """Let the session look around; why it cannot is told once, not five times a second."""
        before, self._poll_told = self._poll_told, ""
        try:
            self.session.poll()
        except ValueError as error:
            self._poll_told = str(error)
            if self._poll_told != before:
                show("error", self._poll_told)

    def _acts(self) -> dict[str, Any]:
        """Return what each key of `keys.NAMES` does."""
        session = self.session
        plain = {
            "N": session.queue.next,
            "Shift-N": session.queue.previous,
            "Escape": session.labels.cancel_region,
            "U": session.labels.mark_ignore,
            "A": session.previous_image,
            "D": session.next_image,
            "Control-Z": session.undo,
            "Control-Shift-Z": session.redo,
        }
        acts = {key: _attempted(session, act) for key, act in plain.items()}
        acts["Enter"] = self.reviewing.enter
        acts["K"] = self.reviewing.known
        acts["R"] = self.reviewing.correct
        acts["Q"] = self.show_gallery
        for place in range(1, 10):
            acts[f"Control-{place}"] = partial(self.naming.name_as, place)
        acts["H"] = lambda: self.overlay.toggle_heat()
        acts["Shift-H"] = lambda: self.overlay.next_score()
        acts["Control-S"] = self.export_again
        return acts

    def _lay_out(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.addTab(_page(self.overlay, self.queue), "Find")
        self.tabs.addTab(_page(self.tags), "Tags")
        self.tabs.addTab(_page(self.classes), "Classes")
        self.tabs.addTab(_page(self.clusters), "Clusters")
        self.tabs.addTab(_page(self.train), "Train")
        self.tabs.addTab(_page(self.export), "Export")
        layout = QVBoxLayout(self)
        tight(layout, 4)
        layout.addWidget(self.review)
        layout.addWidget(self.candidate)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.under_cursor)
        layout.addWidget(self.jobs)

    def export_again(self) -> None:
        """Export with the last settings; the first time show the form (Ctrl+S)."""
        self._show_tab("Export")
        if self.export.done_once:
            self.export.export()

    def show_training(self) -> None:
        """Show the tab for training."""
        self._show_tab("Train")

    def review_masks(self, source: str = "weak_shot") -> None:
        """Show the masks from tags, or "cluster", in the queue, and go to the best."""
        self._show_tab("Find")
        self.queue.show_only(source)
        attempt(self.session, self.session.queue.next)

    def show_gallery(self) -> None:
        """Dock the gallery below the canvas, or bring it up where it was."""
        if self.gallery is None:
            self.gallery = GalleryDock(self.viewer, self.session)
        self.gallery.show()

    def _show_tab(self, name: str) -> None:
        names = [self.tabs.tabText(i) for i in range(self.tabs.count())]
        self.tabs.setCurrentIndex(names.index(name))

    def close_workspace(self, *, viewer_goes: bool = False) -> None:
        """Stop everything and close the session; may be called twice."""
        if not viewer_goes:
            self.steps.close()
            self.keys.close()
            self.pointer.close()
            self.naming.close()
        if self.gallery is not None:
            self.gallery.close(viewer_goes=viewer_goes)
            self.gallery = None
        for widget in (
            self.review, self.candidate, self.overlay, self.queue, self.tags, self.classes,
            self.clusters, self.train, self.export, self.jobs, self.under_cursor,
        ):  # fmt: skip
            widget.close_widget()
        self.thumbnails.close()
        self.overlays.close(remove_layers=not viewer_goes)
        self._connections.close()
        self.session.close()


def _attempted(session: Session, act: Any) -> Any:
    def do() -> None:
        attempt(session, act)

    return do


def _page(*widgets: QWidget) -> QWidget:
    """Return a page of widgets, the last of which takes the room that is left."""
    page = QWidget()
    layout = QVBoxLayout(page)
    tight(layout, 4)
    for widget in widgets[:-1]:
        layout.addWidget(widget)
    layout.addWidget(widgets[-1], 1)
    return page
