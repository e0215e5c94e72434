"""The panel in napari: the start page, then the workspace of the open project."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from owlabel.novel.click_regions import prepare
from owlabel.session.session import Session
from owlabel.view.open_project import can_open, open_project
from owlabel_napari.canvas.napari_window import drop_targets
from owlabel_napari.events.messages import show
from owlabel_napari.widgets.start import StartWidget
from owlabel_napari.window.project_opener import ProjectOpener
from owlabel_napari.window.sample_folder import sample_folder
from owlabel_napari.window.workspace import Workspace

if TYPE_CHECKING:
    import napari.viewer

WIDTH = 350
_ASKS_NAPARI = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier


class OWLabelPanel(QWidget):
    """Open-world labelling: find what the model has never seen, name it with a click.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Passed by napari, which goes by the name and the annotation of this argument.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        self._taken_out = False
        super().__init__(parent)
        self.viewer = napari_viewer
        self.start = StartWidget()
        self.workspace: Workspace | None = None
        self.pages = QStackedWidget()
        self.pages.addWidget(self.start)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)
        self.start.setMinimumWidth(WIDTH)  # a page that needs more gets more
        expanding = QSizePolicy.Policy.Expanding
        self.setSizePolicy(QSizePolicy.Policy.Preferred, expanding)  # else napari adds a stretch
        self.setAcceptDrops(True)
        self._canvas_drops = _CanvasDrops(self)
        Thread(target=prepare).start()  # a daemon that holds C++ would abort the exit
        self.opener = ProjectOpener(self)
        self.opener.ready.connect(self._show_folder)
        self.opener.refused.connect(self._refuse)
        self.start.chosen.connect(self.open_later)
        self.start.sample.connect(self.open_sample)
        self._open: list[Workspace] = []  # outlives the Qt side of this panel
        self.destroyed.connect(partial(_close_all, self._open))

    @property
    def session(self) -> Session | None:
        """The session of the open project, None while the start page is shown."""
        return None if self.workspace is None else self.workspace.session

    def open(
        self,
        folder: str | Path,
        model: str | Path | None = None,
        project: Path | None = None,
    ) -> bool:
        """Open a project, or make one of a folder of images; tell whether that worked.

        A refusal is shown on the start page and as a message.
        """
        try:
            session = Session(open_project(Path(folder), model, project))
        except (ValueError, OSError) as error:
            self._refuse(str(error))
            return False
        self.show_session(session)
        return True

    def open_later(self, folder: str | Path, model: str | Path | None = None) -> None:
        """Do the same without holding up the window."""
        self.close_project()
        self.start.busy(f"Opening {folder} …")
        self.opener.open(Path(folder), model)

    def _show_folder(self, project: Path) -> None:
        self.start.busy(None)
        if not self._taken_out:
            self.open(project)

    def _refuse(self, reason: str) -> None:
        self.start.busy(None)
        self.start.say(reason)
        show("error", reason)

    def open_sample(self) -> None:
        """Open the sample street scenes."""
        self.open_later(sample_folder())

    def choose_folder(self) -> None:
        """Let the annotator choose a folder of images or a project, and open it."""
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder of images or a project")
        if folder:
            self.open_later(folder)

    def bring_up(self) -> None:
        """Show the dock that this lies in, if it was closed or is behind another."""
        dock: QWidget | None = self
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        if dock is not None:
            dock.show()
            dock.raise_()

    def show_session(self, session: Session) -> None:
        """Work on this session from now on; the one before is closed."""
        self.close_project()
        self.workspace = Workspace(self.viewer, session)
        self._open.append(self.workspace)
        self.pages.addWidget(self.workspace)
        self.pages.setCurrentWidget(self.workspace)

    def close_project(self) -> None:
        """Close the project and show the start page."""
        if self.workspace is None:
            return
        workspace, self.workspace = self.workspace, None
        self._open.remove(workspace)
        self.pages.setCurrentWidget(self.start)
        self.pages.removeWidget(workspace)
        workspace.close_workspace()
        workspace.deleteLater()

    def event(self, event: QEvent | None) -> bool:
        """Close the project when napari takes the panel out of its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            self._taken_out = self.parent() is None
            if self._taken_out:
                self.close_project()
        return bool(super().event(event))

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take folders."""
        if event is not None and _folder(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open the folder that was dropped."""
        folder = None if event is None else _folder(event)
        if event is not None and folder is not None:
            event.acceptProposedAction()
            self.open_later(folder)


class _CanvasDrops(QObject):
    """Open a folder of images that is dropped on the canvas; napari would ask for a reader.

    Anything else, and any drop with Shift or Alt held, goes to napari as before.

    Parameters
    ----------
    panel : OWLabelPanel
        What opens the folder.
    """

    def __init__(self, panel: OWLabelPanel) -> None:
        super().__init__(panel)
        self.panel = panel
        for target in drop_targets(panel.viewer):
            target.installEventFilter(self)

    def eventFilter(self, _watched: QObject | None, event: QEvent | None) -> bool:
        """Take the drops that are ours."""
        if not isinstance(event, QDropEvent) or event.type() != QEvent.Type.Drop:
            return False
        if QApplication.keyboardModifiers() & _ASKS_NAPARI:
            return False
        folder = _folder(event)
        if folder is None or len(_urls(event)) != 1 or not can_open(folder):
            return False
        event.acceptProposedAction()
        self.panel.open_later(folder)
        self.panel.bring_up()
        return True


def _folder(event: QDropEvent) -> Path | None:
    """Return the first folder that is dragged, None where there is none."""
    paths = (Path(url.toLocalFile()) for url in _urls(event) if url.isLocalFile())
    return next((path for path in paths if path.is_dir()), None)


def _urls(event: QDropEvent) -> list[QUrl]:
    data = event.mimeData()
    return [] if data is None else data.urls()


def _close_all(workspaces: list[Workspace], *_: object) -> None:
    """Close what is open when the window goes; its widgets are gone already."""
    while workspaces:
        workspaces.pop().close_workspace(viewer_goes=True)
