"""Small pictures of whole images, made when they are looked at, the newest wish first."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QPixmap

from owlabel.images import files as images
from owlabel_napari.widgets.common.parts import pixmap

WIDTH, HEIGHT = 132, 99
KEPT = 1500
"""Pictures in memory, 39 kB each."""
WAITING = 120
"""Wishes that are remembered; older ones are made when they are looked at again."""


class Pictures(QObject):
    """Give the small picture of an image, or None and tell when it is there.

    One thread reads files, so that scrolling never waits; what was scrolled past is forgotten.

    Signals
    -------
    ready : (int,)
        The image whose picture is there now.
    """

    ready = Signal(int)
    _made = Signal(int, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._kept: OrderedDict[int, QPixmap | None] = OrderedDict()
        self._wanted: OrderedDict[int, Path] = OrderedDict()
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="owlabel-pictures")
        self._made.connect(self._keep)

    def get(self, image_id: int, path: Path) -> QPixmap | None:
        """Return a picture at most `WIDTH` x `HEIGHT`, None while there is none."""
        if image_id in self._kept:
            self._kept.move_to_end(image_id)
            return self._kept[image_id]
        with self._lock:
            new = image_id not in self._wanted
            self._wanted[image_id] = path
            self._wanted.move_to_end(image_id)
            while len(self._wanted) > WAITING:
                self._wanted.popitem(last=False)
        if new:
            self._pool.submit(self._turn)
        return None

    def close(self) -> None:
        """Stop; what is not made yet is not made any more."""
        with self._lock:
            self._wanted.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _turn(self) -> None:
        """Runs in the thread: make what was wished last."""
        with self._lock:
            if not self._wanted:
                return
            image_id, path = self._wanted.popitem()
        try:
            self._made.emit(image_id, small(images.read(path)))
        except ValueError:  # a broken file has no picture; the session tells of it
            self._made.emit(image_id, None)

    def _keep(self, image_id: int, picture: NDArray[np.uint8] | None) -> None:
        self._kept[image_id] = None if picture is None else pixmap(picture)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self.ready.emit(image_id)


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) that fits into `WIDTH` x `HEIGHT`."""
    height, width = picture.shape[:2]
    part = min(WIDTH / width, HEIGHT / height)
    size = (max(1, round(width * part)), max(1, round(height * part)))
    image = Image.fromarray(picture)
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=2.0))
