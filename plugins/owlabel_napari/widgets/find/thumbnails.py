"""Small pictures of candidates, made in a thread of their own so that the window never waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from owlabel.images import files as images

Box = tuple[int, int, int, int]
SIDE = 84
"""Pixels of a picture's side; the queue shows them smaller."""


class Thumbnails(QObject):
    """Cut candidates out of their images, each once.

    Signals
    -------
    ready : (str, object)
        The candidate's key and its picture, uint8 (side, side, 3).
    """

    ready = Signal(str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.made: dict[str, NDArray[np.uint8]] = {}
        """The pictures that are made already, by key."""
        self._asked: set[str] = set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="owlabel-thumbnails")
        self._last: tuple[Path | None, NDArray[np.uint8] | None] = (None, None)

    def ask(self, key: str, path: Path, box: Box) -> None:
        """Make the picture of a candidate, unless it was asked for before; `ready` will tell."""
        if key not in self._asked:
            self._asked.add(key)
            self._pool.submit(self._make, key, path, box)

    def close(self) -> None:
        """Stop; what is not made yet is not made any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, key: str, path: Path, box: Box) -> None:
        """Runs in the thread.  A broken file has no thumbnail; the session tells of it."""
        try:
            if self._last[0] != path:
                self._last = (path, images.read(path))
            picture = self._last[1]
            if picture is not None:
                self.made[key] = images.thumbnail(picture, box, SIDE)
                self.ready.emit(key, self.made[key])
        except ValueError:
            return
