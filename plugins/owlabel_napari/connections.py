"""Signal connections and timers that end together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any


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

    def close(self) -> None:
        """Disconnect and stop everything; what is gone already is no error."""
        while self._made:
            signal, slot = self._made.pop()
            with suppress(ValueError, TypeError, RuntimeError):
                signal.disconnect(slot)
        while self._timers:
            with suppress(RuntimeError):
                self._timers.pop().stop()
