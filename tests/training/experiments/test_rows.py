from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from experiments.rows import Rows

BUDGET = {"steps": 8, "crop": (240, 240), "seeds": [0]}


def test_a_finished_run_is_not_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def measure(work: Path) -> dict[str, Any]:
        made.append(work)
        return {"ap": 0.5}

    for _ in range(2):
        rows = Rows(tmp_path, "rpl", BUDGET)
        assert rows.row("RPL + CoroCL seed 0", measure) == {"ap": 0.5}
    assert len(made) == 1
    assert not made[0].exists()
    (path,) = tmp_path.iterdir()
    assert path.name == "rpl_RPL_+_CoroCL_seed_0.json"
    assert {"command", "commit", "minutes", "budget"} <= set(json.loads(path.read_text()))


def test_a_run_that_stopped_finds_its_state_and_its_minutes(tmp_path: Path) -> None:
    def stopped(work: Path) -> dict[str, Any]:
        (work / "state").write_text("half")
        (work / "minutes.txt").write_text("3")
        raise typer.Exit(3)

    with pytest.raises(typer.Exit):
        Rows(tmp_path, "rpl", BUDGET).row("a", stopped)
    (tmp_path / "rpl_a" / "minutes.txt").write_text("3")
    rows = Rows(tmp_path, "rpl", BUDGET)
    assert rows.row("a", lambda work: {"was": (work / "state").read_text()}) == {"was": "half"}
    assert rows.spent == pytest.approx(3, abs=0.1)


def test_time_ends_the_program_before_the_next_run(tmp_path: Path) -> None:
    rows = Rows(tmp_path, "rpl", BUDGET, minutes=1e-9)
    with pytest.raises(typer.Exit) as stopped:
        rows.row("a", lambda _: {})
    assert stopped.value.exit_code == 3
    assert not list(tmp_path.iterdir())


def test_rows_of_another_budget_are_refused_seeds_apart(tmp_path: Path) -> None:
    Rows(tmp_path, "rpl", BUDGET).row("a", lambda _: {"ap": 1})
    assert Rows(tmp_path, "rpl", {**BUDGET, "seeds": [1]}).row("a", lambda _: {}) == {"ap": 1}
    with pytest.raises(ValueError, match=r"steps.*8, 9.*remove it"):
        Rows(tmp_path, "rpl", {**BUDGET, "steps": 9}).row("a", lambda _: {})
    (tmp_path / "rpl_a.json").write_text("[]")
    with pytest.raises(ValueError, match="no row of an experiment"):
        Rows(tmp_path, "rpl", BUDGET).row("a", lambda _: {})
