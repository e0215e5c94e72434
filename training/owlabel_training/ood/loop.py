"""The loop of both kinds of OoD training: epochs, measures, resume, early stop, the best kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from owlabel.jobs.job import Progress
from owlabel_training.core import run_state
from owlabel_training.core.log import Log
from owlabel_training.ood.measures import Measured
from owlabel_training.ood.recipe import CourseRecipe

SAVE_EVERY_S = 30.0
"""Seconds between two states on disk: what a crash can cost."""
Batch = tuple[Tensor, ...]


class Method(Protocol):
    """What the loop needs of entropy maximisation or of RPL."""

    module: nn.Module
    optimiser: torch.optim.Optimizer

    @property
    def steps_per_epoch(self) -> int:
        """Steps between two measures."""
        ...

    def batch(self, step: int) -> Batch:
        """Return what a step reads; it depends on the step alone.  Called in another thread."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, shape ()."""
        ...

    def set_rates(self, done: float) -> None:
        """Set the learning rates for this moment of the run, 0 .. 1."""
        ...

    def before(self) -> Measured:
        """Measure what there is before training."""
        ...

    def measure(self) -> Measured:
        """Measure what there is now."""
        ...


@dataclass
class Course:
    """How a training went.

    Attributes
    ----------
    rows : list of dict
        One for each epoch, the first before training: ``epoch``, ``step``, mIoU, AP, ...
    best : int
        Index of the row whose weights were kept.
    seconds : float
        Time spent training and measuring.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best: int = 0
    seconds: float = 0.0


class MiouFellError(ValueError):
    """No epoch kept the closed-set mIoU: there is nothing to install; `course` says how it went."""

    def __init__(self, message: str, course: Course) -> None:
        super().__init__(message)
        self.course = course


def train_ood(
    method: Method, recipe: CourseRecipe, work: Path
) -> Generator[Progress, None, Course]:
    """Train; yield after every step; leave the best epoch's weights in `method.module`.

    The best epoch has the highest AP among those whose mIoU fell by at most `max_miou_drop`.

    Parameters
    ----------
    method : Method
    recipe : CourseRecipe
    work : Path
        Gets ``state.safetensors`` (resume), ``best.safetensors`` and ``log.csv``.

    Raises
    ------
    MiouFellError
        If the closed-set mIoU fell too far in every epoch.
    """
    work.mkdir(parents=True, exist_ok=True)
    total = recipe.epochs * method.steps_per_epoch
    step, course = _resume(method, work / "state.safetensors")
    log = Log(work)
    saved = started = time.monotonic()
    if not course.rows:
        yield Progress(0, total, "measuring before training")
        _note(course, 0, 0, method.before(), log)
        yield Progress(0, total, "measured before training", _metrics(course.rows[0]))
    with ThreadPoolExecutor(1) as executor:
        ready = executor.submit(method.batch, step)
        while step < total and not _stops(course, recipe):
            ready, batch = executor.submit(method.batch, step + 1), ready.result()
            metrics = {"loss": _step(method, batch, recipe, step, total)}
            step += 1
            course.seconds, started = course.seconds + time.monotonic() - started, time.monotonic()
            if step % method.steps_per_epoch == 0:
                epoch = step // method.steps_per_epoch
                _note(course, epoch, step, method.measure(), log)
                metrics |= _metrics(course.rows[-1])
                _keep(method, course, recipe, work / "best.safetensors")
                _save(method, step, course, work / "state.safetensors")
            elif time.monotonic() - saved > SAVE_EVERY_S:
                _save(method, step, course, work / "state.safetensors")
                saved = time.monotonic()
            yield Progress(step, total, f"epoch {step / method.steps_per_epoch:.1f}", metrics)
    if course.best == 0:
        before, lowest = course.rows[0]["miou"], course.rows[-1]["miou"]
        raise MiouFellError(
            f"the closed-set mIoU fell from {100 * before:.1f} to {100 * lowest:.1f} %, more than "
            f"{100 * recipe.max_miou_drop:g} points: nothing is installed; take a smaller lambda, "
            "a lower rate or fewer epochs",
            course,
        )
    method.module.load_state_dict(run_state.read(work / "best.safetensors"))
    method.module.eval()
    return course


def _step(method: Method, batch: Batch, recipe: CourseRecipe, step: int, total: int) -> float:
    torch.manual_seed(recipe.seed + 1_000_003 * step)  # dropout and samples, same after a resume
    method.set_rates(step / total)
    loss = method.loss(batch)
    method.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    method.optimiser.step()
    return float(loss.detach())


def _note(course: Course, epoch: int, step: int, measured: Measured, log: Log) -> None:
    course.rows.append({"epoch": epoch, "step": step, **measured.plain()})
    log.write(step, {"epoch": epoch, "minutes": course.seconds / 60, **measured.plain()})


def _metrics(row: dict[str, float]) -> dict[str, float]:
    return {name: row[name] for name in ("epoch", "miou", "ap", "auroc", "fpr95") if name in row}


def _keep(method: Method, course: Course, recipe: CourseRecipe, path: Path) -> None:
    """Keep these weights if they are the best that hold the mIoU."""
    first, last = course.rows[0], course.rows[-1]
    fell = first.get("miou", 0.0) - last.get("miou", 0.0)
    best = course.rows[course.best].get("ap", 0.0) if course.best else -1.0
    if fell <= recipe.max_miou_drop and last.get("ap", 0.0) > best:
        course.best = len(course.rows) - 1
        run_state.write(method.module.state_dict(), path)


def _stops(course: Course, recipe: CourseRecipe) -> bool:
    """Tell whether patience or time is over; at least one epoch is always run."""
    if len(course.rows) < 2:
        return False
    waited = len(course.rows) - 1 - course.best
    out_of_time = recipe.minutes > 0 and course.seconds / 60 >= recipe.minutes
    return out_of_time or (recipe.patience > 0 and waited >= recipe.patience)


def _save(method: Method, step: int, course: Course, path: Path) -> None:
    tree = {
        "module": method.module.state_dict(),
        "optimiser": method.optimiser.state_dict(),
        "step": step,
        "rows": course.rows,
        "best": course.best,
        "seconds": course.seconds,
    }
    run_state.write(tree, path)


def _resume(method: Method, path: Path) -> tuple[int, Course]:
    """Go on where an earlier run stopped; return its step and course."""
    if not path.exists():
        return 0, Course()
    saved = run_state.read(path)
    method.module.load_state_dict(saved["module"])
    method.optimiser.load_state_dict(saved["optimiser"])
    rows = [dict(row) for row in saved["rows"]]
    return int(saved["step"]), Course(rows, int(saved["best"]), float(saved["seconds"]))


def set_group_rates(
    optimiser: torch.optim.Optimizer, rate_of: Callable[[float], float], done: float
) -> None:
    """Set every group's rate to its highest times `rate_of(done)`."""
    for group in optimiser.param_groups:
        group["lr"] = group["highest"] * rate_of(done)
