"""Spread work over turns of the event loop, so that the window never waits for all of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer


class Steps(QObject):
    """Run callables one per turn of the event loop, in the order in which they were asked for.

    A callable that is asked for again under the same name before it ran runs once.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: OrderedDict[str, Callable[[], None]] = OrderedDict()
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._turn)

    def ask(self, name: str, work: Callable[[], None]) -> None:
        """Run `work` in a later turn; it takes the place of what waits under this name."""
        self._waiting[name] = work
        if not self._timer.isActive():
            self._timer.start()

    @property
    def waiting(self) -> set[str]:
        """The names of what waits."""
        return set(self._waiting)

    def finish(self) -> None:
        """Run everything that waits now (tests and screenshots)."""
        while self._waiting:
            self._turn()

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._timer.stop()

    def _turn(self) -> None:
        if self._waiting:
            _, work = self._waiting.popitem(last=False)
            work()
        if not self._waiting:
            self._timer.stop()
