"""Both kinds of OoD training: epochs, measures, early stop, the best epoch kept."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from owlabel.jobs.job import Progress
from owlabel_training.core import run_state
from owlabel_training.core.base_loop import set_group_rates
from owlabel_training.core.log import Log
from owlabel_training.core.steps import Every, Numbers, RunState, run_steps
from owlabel_training.ood.measures import Measured
from owlabel_training.ood.recipe import CourseRecipe

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

    def rate_factor(self, done: float) -> float:
        """Return the share of the highest learning rates at this moment of the run, 0 .. 1."""
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


@dataclass
class OodState(RunState):
    """Where an OoD training is, and how it went so far (see `Course`)."""

    counters = (*RunState.counters, "rows", "best")

    recipe: CourseRecipe = field(default_factory=CourseRecipe)
    rows: list[dict[str, float]] = field(default_factory=list)
    best: int = 0

    @property
    def over(self) -> bool:
        """True at the end, or after an epoch where patience or time is over."""
        return super().over or (len(self.rows) > 1 and (self._out_of_time or self._out_of_patience))

    @property
    def _out_of_time(self) -> bool:
        return self.recipe.minutes > 0 and self.seconds / 60 >= self.recipe.minutes

    @property
    def _out_of_patience(self) -> bool:
        return 0 < self.recipe.patience <= len(self.rows) - 1 - self.best

    def progress(self, numbers: Numbers, row: Numbers) -> Progress:
        """Return what is reported after a step, and the epoch."""
        epoch = self.recipe.epochs * self.step / self.iterations
        return replace(super().progress(numbers, row), message=f"epoch {epoch:.1f}")

    def add(self, measured: Measured) -> bool:
        """Count an epoch; return whether it has the highest AP of those that hold the mIoU."""
        epoch = len(self.rows)
        self.rows.append({"epoch": epoch, "step": self.step, **measured.plain()})
        drop = self.rows[0].get("miou", 0.0) - self.rows[-1].get("miou", 0.0)
        highest = self.rows[self.best].get("ap", 0.0) if self.best else -1.0
        better = drop <= self.recipe.max_miou_drop and self.rows[-1].get("ap", 0.0) > highest
        if epoch and better:
            self.best = epoch
        return epoch > 0 and better

    @property
    def course(self) -> Course:
        """How the training went so far."""
        return Course(self.rows, self.best, self.seconds)


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
    state = OodState(
        {"module": method.module, "optimiser": method.optimiser},
        work / "state.safetensors",
        recipe.epochs * method.steps_per_epoch,
        seed=recipe.seed,
        recipe=recipe,
    )
    state.resume()
    if not state.rows:
        yield Progress(0, state.iterations, "measuring before training")
        with state.timed():
            measured = method.before()
        state.add(measured)
        Log(work).write(
            0, {"loss": math.nan, "minutes": state.seconds / 60, "epoch": 0, **measured.plain()}
        )
        yield Progress(
            0, state.iterations, "measured before training", {"epoch": 0, **measured.plain()}
        )

    def learn(batch: Batch) -> dict[str, float]:
        set_group_rates(method.optimiser, method.rate_factor(state.done))
        loss = method.loss(batch)
        method.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        method.optimiser.step()
        return {"loss": float(loss.detach())}

    def validate() -> dict[str, float]:
        with state.timed():
            measured = method.measure()
        if state.add(measured):
            run_state.write(method.module.state_dict(), work / "best.safetensors")
        return {"epoch": len(state.rows) - 1, **measured.plain()}

    yield from run_steps(learn, method.batch, state, Every(method.steps_per_epoch), validate)
    if state.best == 0:
        raise MiouFellError(_miou_fell(state, recipe), state.course)
    method.module.load_state_dict(run_state.read(work / "best.safetensors"))
    method.module.eval()
    return state.course


def _miou_fell(state: OodState, recipe: CourseRecipe) -> str:
    before, after = state.rows[0]["miou"], state.rows[-1]["miou"]
    return (
        f"the closed-set mIoU fell from {100 * before:.1f} to {100 * after:.1f} %, more than "
        f"{100 * recipe.max_miou_drop:g} points: no model is kept; take a smaller lambda, "
        "a lower rate or fewer epochs"
    )
