"""Signal connections and timers that end together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QTimer

LATER_MS = 30
"""Panels follow the picture after this long: what was clicked is drawn first."""


class Connections:
    """Remember every connection to a psygnal signal or napari event, to undo all of them.

    It may be closed when the Qt side of its owner is gone already.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []
        self._timers: list[Any] = []

    def own(self, timer: Any) -> None:
        """Stop this timer, too, in the end."""
        self._timers.append(timer)

    def add(self, signal: Any, slot: Callable[..., Any]) -> None:
        """Connect `slot` to `signal`, anything with ``connect`` and ``disconnect``."""
        signal.connect(slot)
        self._made.append((signal, slot))

    def add_later(self, signals: Iterable[Any], slot: Callable[[], Any]) -> None:
        """Call `slot` once, without arguments, a little after the first of these signals.

        The time runs from when the event loop is back, so that drawing comes first.
        """
        timer = QTimer()
        timer.setSingleShot(True)
        self.own(timer)

        def ask(*_: Any) -> None:
            if not timer.isActive():
                timer.start(0)

        def turn() -> None:
            if timer.interval() == 0:
                timer.start(LATER_MS)
            else:
                slot()

        timer.timeout.connect(turn)
        for signal in signals:
            self.add(signal, ask)

    def close(self) -> None:
        """Disconnect and stop everything; what is gone already is no error."""
        while self._made:
            signal, slot = self._made.pop()
            with suppress(ValueError, TypeError, RuntimeError):
                signal.disconnect(slot)
        while self._timers:
            with suppress(RuntimeError):
                self._timers.pop().stop()
