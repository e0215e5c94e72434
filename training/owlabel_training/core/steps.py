"""The steps of every training: batches ahead, limits, log, validation, and the state on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from owlabel.jobs.job import Progress
from owlabel_training.core import run_state
from owlabel_training.core.log import Log

B = TypeVar("B")
Numbers = Mapping[str, float]
SAVE_EVERY_S = 30.0
"""Seconds between two states on disk: what a crash can cost."""


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Return its tensors and numbers."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take tensors and numbers over."""
        ...


@dataclass(frozen=True)
class Every:
    """How often a training does what it does not do at every step.

    Attributes
    ----------
    steps : int
        Steps between two rows of ``log.csv``, and between two validations where there are any.
        The last step counts, too.  0 never logs and never validates.
    seconds : float
        Seconds between two states on disk.
    """

    steps: int = 0
    seconds: float = field(default_factory=lambda: SAVE_EVERY_S)


@dataclass
class RunState:
    """Where a training is: what it must remember, and when it ends.

    Attributes
    ----------
    parts : mapping of str to module or optimiser
        Stored and restored under these names.
    file : Path or None
        The state on disk; ``log.csv`` lies beside it.  None stores nothing.
    iterations : int
        Steps at most.
    minutes : float
        Time at most; 0 is no limit.
    seed : int
    step : int
        Steps taken.
    seconds : float
        Time spent in them.
    """

    counters: ClassVar[tuple[str, ...]] = ("step", "seconds")
    """Attributes that are stored beside the parts: numbers, or lists of plain values."""

    parts: Mapping[str, Stateful]
    file: Path | None
    iterations: int
    minutes: float = 0.0
    seed: int = 0
    step: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> float:
        """How far the run is, 0 .. 1 and beyond: by steps or by minutes, whichever is further."""
        by_step = self.step / self.iterations
        return max(by_step, self.seconds / 60 / self.minutes) if self.minutes else by_step

    @property
    def over(self) -> bool:
        """True where no further step is to be taken."""
        return self.done >= 1

    def progress(self, numbers: Numbers, row: Numbers) -> Progress:
        """Return what is reported after a step: its numbers; `row` is what was logged, or empty."""
        del row
        return Progress(self.step, self.iterations, self.percent, numbers)

    @property
    def percent(self) -> str:
        """A message for people."""
        return f"training, {min(round(100 * self.done), 100)} %"

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time spent inside."""
        started = time.monotonic()
        yield
        self.seconds += time.monotonic() - started

    def save(self) -> None:
        """Store everything that a resumed run needs."""
        if self.file is not None:
            tree = {name: part.state_dict() for name, part in self.parts.items()}
            run_state.write(tree | {name: getattr(self, name) for name in self.counters}, self.file)

    def resume(self) -> None:
        """Go on where an earlier run stopped, if it left a state.

        Raises
        ------
        ValueError
            If the state belongs to other modules.
        """
        if self.file is None or not self.file.exists():
            return
        saved = run_state.read(self.file)
        try:
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self.file} is the state of another run: begin anew") from error
        if "counters" in saved:  # an older state has the counters without their names
            saved |= zip(self.counters, saved["counters"], strict=True)
        for name in self.counters:
            setattr(self, name, saved.get(name, getattr(self, name)))


def run_steps(
    learn: Callable[[B], Numbers],
    batch: Callable[[int], B],
    state: RunState,
    every: Every,
    validate: Callable[[], Numbers] | None = None,
) -> Generator[Progress, None, None]:
    """Take steps until the run is over; yield after each one.

    The state is stored every few seconds, after every validation, and at the end.

    Parameters
    ----------
    learn : callable
        Takes one step of descent on a batch; returns its numbers, such as ``{"loss": 0.3}``.
    batch : callable
        Returns what a step reads.  It depends on the step alone, so that a resumed run sees the
        same; a thread calls it one step ahead.
    state : RunState
        Is changed.
    every : Every
    validate : callable, optional
        Measures the model; its numbers join those of the step.
    """
    stream, means = batches(batch, state.step), Means()
    log = Log(state.file.parent) if state.file is not None and every.steps else None
    stored_step, stored_at = state.step, time.monotonic()
    while not state.over:
        with state.timed():
            inputs = next(stream)
            torch.manual_seed(state.seed + 1_000_003 * state.step)  # dropout, same after a resume
            numbers = learn(inputs)
            state.step += 1
        means.add(numbers)
        row: dict[str, float] = {}
        due = every.steps > 0 and (state.step % every.steps == 0 or state.done >= 1)
        if due:
            row = {**means.take(), "minutes": state.seconds / 60}
            measured = validate() if validate is not None else {}
            row, numbers = {**row, **measured}, {**numbers, **measured}
            if log is not None:
                log.write(state.step, row)
        validated = due and validate is not None
        if validated or time.monotonic() - stored_at > every.seconds:
            state.save()
            stored_step, stored_at = state.step, time.monotonic()
        yield state.progress(numbers, row)
    if stored_step != state.step:
        state.save()


def batches(batch: Callable[[int], B], step: int) -> Iterator[B]:
    """Yield the batches from this step on; a thread makes the next one meanwhile."""
    with ThreadPoolExecutor(1) as executor:
        ready = executor.submit(batch, step)
        while True:
            step += 1
            ready, current = executor.submit(batch, step), ready.result()
            yield current


class Means:
    """Running means of numbers by name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, numbers: Numbers) -> None:
        """Count one row."""
        self._count += 1
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means since the last time."""
        means = {name: total / max(self._count, 1) for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means
