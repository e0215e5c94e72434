"""Progress of jobs, on a terminal and in a log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from owlabel.commands import console


def row(number: int, kind: str, done: int, **changes: Any) -> Any:
    values = {"id": number, "kind": kind, "state": "running", "done": done, "total": 9,
              "message": f"step [{done}]"}  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


ROWS = [
    row(1, "weak_shot", 0, state="queued"),
    row(1, "weak_shot", 3),
    row(2, "ood", 1),
    row(3, "pretrain", 2, total=0, message=""),
]


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("owlabel.jobs.drain.drain", lambda _project: iter(ROWS))
    monkeypatch.setattr(console, "REPORT_SECONDS", 0.0)
    return []


def work(polled: list[str]) -> None:
    console.work(SimpleNamespace(project=None, poll=lambda: polled.append("polled")))


def test_a_log_gets_a_line_for_each_training(
    polled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    work(polled)
    assert capsys.readouterr().err.splitlines() == [
        "Masks from tags: step [3] (3/9)",
        "OoD training: step [1] (1/9)",
        "Pre-training (2/?)",
    ]
    assert polled == ["polled"]


def test_short_work_prints_no_line(
    polled: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "REPORT_SECONDS", 30.0)
    work(polled)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(
    polled: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(stderr=True, markup=False, force_terminal=True, width=100)
    monkeypatch.setattr(console, "err", terminal)
    work(polled)
    assert "Pre-training" in capsys.readouterr().err
