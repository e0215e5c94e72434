"""Experiments in pieces: a file for each finished run, states to go on from, a limit of time."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from experiments.results import provenance


class Rows:
    """The runs of one part of an experiment.

    Parameters
    ----------
    folder : Path
        Gets ``PART_NAME.json`` for each finished run, and a folder of its own for a running one.
    part : str
    budget : mapping
        What the runs of this part share, but for "seeds"; a row of another budget is refused.
    minutes : float
        After so long the program ends with status 3; 0 for no limit.

    Attributes
    ----------
    spent : float
        Minutes that the runs took which were asked for, also in earlier calls.
    """

    def __init__(
        self, folder: Path, part: str, budget: Mapping[str, Any], minutes: float = 0
    ) -> None:
        self.folder, self.part, self.spent = folder, part, 0.0
        self._budget = {k: v for k, v in budget.items() if k != "seeds"}
        self._until = time.monotonic() + 60 * minutes if minutes > 0 else float("inf")

    def pause(self) -> None:
        """End the program if its time is over; called in the middle of a run that can go on."""
        if time.monotonic() >= self._until:
            typer.echo("time is over; the same line again goes on", err=True)
            raise typer.Exit(3)

    def row(self, name: str, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Return a finished run, made now if it is not there.

        Parameters
        ----------
        name : str
            Of variant and seed.
        measure : callable
            Takes a folder for the state of the run, which goes away when it is finished.

        Raises
        ------
        ValueError
            If the row that is there cannot be read or was made with another budget.
        """
        stem = re.sub(r"[^A-Za-z0-9.+-]+", "_", f"{self.part} {name}")
        path, work = self.folder / f"{stem}.json", self.folder / stem
        if path.is_file():
            return self._read(path)
        self.pause()
        work.mkdir(parents=True, exist_ok=True)
        clock = work / "minutes.txt"
        before, started = float(clock.read_text()) if clock.is_file() else 0.0, time.monotonic()
        try:
            result = measure(work)
        finally:
            minutes = before + (time.monotonic() - started) / 60
            clock.write_text(str(minutes))
        told = {**provenance(), "minutes": round(minutes, 2), "budget": self._budget}
        part = path.with_suffix(".part")
        part.write_text(json.dumps({**told, "result": result}, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
        shutil.rmtree(work)
        return self._read(path)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            budget, result = dict(content["budget"]), dict(content["result"])
            self.spent += float(content["minutes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no row of an experiment: {error!r}; remove it") from error
        asked = json.loads(json.dumps(self._budget))
        if other := {k: (budget.get(k), v) for k, v in asked.items() if budget.get(k) != v}:
            raise ValueError(f"{path} was made with another budget (there, asked): {other}; "
                             "remove it, or name another folder with --rows")  # fmt: skip
        return result
