"""Patches of clusters: made in a thread, each once, however often the list is made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from owlabel_napari.widgets.find.thumbnails import SIDE, Thumbnails

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel.view.clusters.catalog import Example

COLUMNS, SHOWN = 4, 8
"""Patches side by side, and of one cluster at most."""
GAP, BACKGROUND = 4, 38


class ClusterPatches(QObject):
    """Cut the examples of clusters out of their images.

    Signals
    -------
    ready : (object,)
        The `Example` whose patch is made.
    """

    ready = Signal(object)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.thumbnails = Thumbnails(self)
        self._keys: dict[Example, str] = {}
        self._examples: list[Example] = []
        self.thumbnails.ready.connect(self._tell)

    def close(self) -> None:
        """Stop; what is not made yet is not made any more."""
        self.thumbnails.close()

    def ask(self, examples: Sequence[Example]) -> None:
        """Make the patches that will be shown; `ready` will tell of those that are new."""
        for one in examples[:SHOWN]:
            if one not in self._keys:
                try:
                    path = self.session.record(one.image_id).path
                except ValueError:  # it is gone, or cannot be read any more
                    continue
                self._keys[one] = str(len(self._examples))
                self._examples.append(one)
                self.thumbnails.ask(self._keys[one], path, one.box)

    def made(self, example: Example) -> NDArray[np.uint8] | None:
        """Return a patch, uint8 (side, side, 3), None while it is not made."""
        return self.thumbnails.made.get(self._keys.get(example, ""))

    def sheet(self, examples: Sequence[Example]) -> NDArray[np.uint8] | None:
        """Return the patches of a cluster side by side, None where it has none."""
        shown, step = examples[:SHOWN], SIDE + GAP
        if not shown:
            return None
        sheet = np.full((-(-len(shown) // COLUMNS) * step, COLUMNS * step, 3), BACKGROUND, np.uint8)
        for number, one in enumerate(shown):
            picture = self.made(one)
            if picture is not None:
                top, left = (part * step for part in divmod(number, COLUMNS))
                sheet[top : top + SIDE, left : left + SIDE] = picture
        return sheet

    def _tell(self, key: str, _picture: Any) -> None:
        self.ready.emit(self._examples[int(key)])
