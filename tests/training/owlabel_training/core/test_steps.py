"""The steps that all trainings share, on a layer of one number."""

from __future__ import annotations

import csv
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from owlabel.jobs.job import Progress
from owlabel_training.core import run_state
from owlabel_training.core.steps import Every, RunState, run_steps


@dataclass
class Counted(RunState):
    """A state that remembers one number more."""

    counters = (*RunState.counters, "best")

    best: float = -1.0


def state_of(work: Path, iterations: int = 6, minutes: float = 0.0) -> Counted:
    return Counted({"layer": nn.Linear(1, 1)}, work / "state.safetensors", iterations, minutes)


def training(
    state: Counted, every: Every, measures: bool = False
) -> Generator[Progress, None, None]:
    """Set the layer's bias to the number of its batch and to a number that depends on the seed."""
    layer = state.parts["layer"]
    assert isinstance(layer, nn.Linear)

    def learn(batch: int) -> dict[str, float]:
        with torch.no_grad():
            layer.bias.fill_(batch + float(torch.rand(())))
        return {"loss": float(batch)}

    def validate() -> dict[str, float]:
        state.best = float(state.step)
        return {"miou": 0.5}

    return run_steps(learn, lambda step: step, state, every, validate if measures else None)


def rows(work: Path) -> list[dict[str, str]]:
    with (work / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_log_holds_means_and_the_last_step_counts(tmp_path: Path) -> None:
    steps = list(training(state_of(tmp_path, 5), Every(2), measures=True))
    assert [row["step"] for row in rows(tmp_path)] == ["2", "4", "5"]
    assert [float(row["loss"]) for row in rows(tmp_path)] == [0.5, 2.5, 4.0]
    assert ["miou" in step.metrics for step in steps] == [False, True, False, True, True]


def test_a_state_is_stored_with_each_validation_and_at_the_end(tmp_path: Path) -> None:
    steps = training(state_of(tmp_path), Every(4, seconds=1e9), measures=True)
    for _ in range(3):
        next(steps)
    assert not (tmp_path / "state.safetensors").exists()
    next(steps)
    next(steps)
    assert run_state.read(tmp_path / "state.safetensors")["step"] == 4
    list(steps)
    assert run_state.read(tmp_path / "state.safetensors")["step"] == 6


def test_a_run_that_was_stopped_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    whole = state_of(tmp_path / "whole")
    list(training(whole, Every(seconds=0.0)))
    stopped = training(state_of(tmp_path / "stopped"), Every(seconds=0.0))
    assert [next(stopped).done for _ in range(4)] == [1, 2, 3, 4]
    stopped.close()
    again = state_of(tmp_path / "stopped")
    again.resume()
    assert [step.done for step in training(again, Every(seconds=0.0))] == [5, 6]
    assert again.parts["layer"].state_dict()["bias"] == whole.parts["layer"].state_dict()["bias"]


def test_a_run_ends_with_its_minutes(tmp_path: Path) -> None:
    state = state_of(tmp_path, 1_000_000, minutes=1.0)
    steps = training(state, Every())
    next(steps)
    state.seconds = 60.0
    assert list(steps) == []
    assert state.done == pytest.approx(1.0)


def test_an_older_state_without_the_names_of_its_counters_is_read(tmp_path: Path) -> None:
    tree = {"layer": nn.Linear(1, 1).state_dict(), "counters": [4, 2.5, 0.75]}
    run_state.write(tree, tmp_path / "state.safetensors")
    state = state_of(tmp_path)
    state.resume()
    assert (state.step, state.seconds, state.best) == (4, 2.5, 0.75)


def test_a_state_of_other_modules_is_refused_in_one_line(tmp_path: Path) -> None:
    run_state.write({"layer": nn.Linear(2, 1).state_dict()}, tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match=r"state\.safetensors is the state of another run"):
        state_of(tmp_path).resume()
