"""What a job is: a frozen dataclass of plain values whose `run` is a generator of progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    done, total : int
        Steps done and in all; `total` is 0 where it is not known yet.
    message : str
        One short line for the annotator.
    metrics : mapping
        Numbers worth plotting at this step, e.g. ``{"loss": 0.3}``; empty for most steps.
    """

    done: int
    total: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobContext:
    """Where a job may read and write.

    Attributes
    ----------
    project : Path
        The project's folder.  A job opens its own `Project` on it.
    work : Path
        A folder of this job alone, kept until the job is done: checkpoints for resuming.
    """

    project: Path
    work: Path


class Job(Protocol):
    """Long work.  A yield reports progress and is a place to stop, to pause or to be overtaken.

    A job that is started again with the same `context.work` goes on where it stopped.
    """

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Do the work; return a result of plain JSON values."""
        ...


def run_to_end(
    steps: Generator[Progress, None, R], watch: Callable[[Progress], None] | None = None
) -> R:
    """Drive a job's generator in this thread and return its result."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if watch is not None:
            watch(progress)
