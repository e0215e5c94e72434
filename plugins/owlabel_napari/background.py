"""Making or opening a project without holding up the window: a large folder takes seconds."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

from qtpy.QtCore import QObject, Signal


class ProjectOpener(QObject):
    """Make or bring up to date a project in a thread of its own.

    Signals
    -------
    ready : (Path,)
        The project's folder; the window opens it for itself.
    refused : (str,)
        Why there is none.
    """

    ready = Signal(object)
    refused = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread: Thread | None = None

    @property
    def busy(self) -> bool:
        """Tell whether a project is being opened now."""
        return self._thread is not None and self._thread.is_alive()

    def open(self, folder: Path, model: str | Path | None, project: Path | None = None) -> None:
        """Begin; `ready` or `refused` will tell.  Does nothing while another one is opened."""
        if not self.busy:
            self._thread = Thread(target=self._work, args=(folder, model, project), daemon=True)
            self._thread.start()

    def _work(self, folder: Path, model: str | Path | None, project: Path | None) -> None:
        from owlabel.opening import open_or_create

        try:
            with open_or_create(folder, model, project) as made:
                place = made.folder
        except (ValueError, OSError) as error:
            self.refused.emit(str(error))
        else:
            self.ready.emit(place)
