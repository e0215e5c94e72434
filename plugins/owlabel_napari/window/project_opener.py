"""Making or opening a project without holding up the window: a large folder takes seconds."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import TypeAlias

from qtpy.QtCore import QObject, Signal

from owlabel.view.open_project import open_project

Wish: TypeAlias = tuple[Path, str | Path | None, Path | None]
"""A folder, the model and the project that are wanted with it."""


class ProjectOpener(QObject):
    """Make or bring up to date a project in a thread of its own.

    Attributes
    ----------
    busy : bool
        Whether a project is being opened now.

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
        self._lock = Lock()
        self._wish: Wish | None = None  # the last one; what was wanted before is not told
        self.busy = False

    def open(self, folder: Path, model: str | Path | None, project: Path | None = None) -> None:
        """Begin; `ready` or `refused` will tell of the last folder that was wanted."""
        with self._lock:
            self._wish = folder, model, project
            begin, self.busy = not self.busy, True
        if begin:
            Thread(target=self._work).start()  # no daemon: an exit waits for what it writes

    def _work(self) -> None:
        while True:
            wish = self._wish
            assert wish is not None
            try:
                with open_project(*wish) as made:
                    report = partial(self.ready.emit, made.folder)
            except (ValueError, OSError) as error:
                report = partial(self.refused.emit, str(error))
            except BaseException:
                self.busy = False  # else nothing could be opened any more
                raise
            with self._lock:
                self.busy = wish is not self._wish
                if not self.busy:
                    break
        with suppress(RuntimeError):  # the panel was closed meanwhile
            report()
