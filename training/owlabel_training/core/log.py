"""Numbers of a run: a CSV file, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Log:
    """Append rows of numbers to ``log.csv`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.csv"
        self._board = _tensorboard(folder)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row; the first one also writes the names."""
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", *metrics])
            writer.writerow([step, *(f"{value:.5f}" for value in metrics.values())])
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)
            self._board.flush()


def _tensorboard(folder: Path) -> Any:
    """Return a TensorBoard writer, or None where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
