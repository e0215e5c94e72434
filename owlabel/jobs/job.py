"""Jobs: frozen dataclasses of plain values whose `run` is a generator of progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes
    ----------
    done, total : int
        Steps done and in total; `total` is 0 while it is unknown.
    message : str
        One short line for the annotator.
    metrics : mapping
        Numbers to plot at this step, e.g. ``{"loss": 0.3}``; empty for most steps.
    """

    done: int
    total: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobContext:
    """The folders that a job may use.

    Attributes
    ----------
    project : Path
        The project's folder.  A job opens its own `Project` on it.
    work : Path
        A folder for this job only, kept until the job is done, e.g. for resuming.
    """

    project: Path
    work: Path


class Job(Protocol):
    """Long work.  At each yield the job reports progress and may be stopped, paused or pre-empted.

    A job that is started again with the same `context.work` continues where it stopped.
    """

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Do the work; return a result of plain JSON values."""
        ...


def run_to_end(
    steps: Generator[Progress, None, R], watch: Callable[[Progress], None] | None = None
) -> R:
    """Run a job's generator to its end in this thread and return its result."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if watch is not None:
            watch(progress)
