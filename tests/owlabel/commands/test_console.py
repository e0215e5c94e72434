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
    console.run_jobs(SimpleNamespace(project=None, poll=lambda: polled.append("polled")))


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


LONG = "a_folder_with_a_long_name/and_another_one/street_scene_number_000000000123456789.png"
ROWS_TO_PRINT: list[dict[str, Any]] = [
    {"image": LONG, "class": "a class with a rather long name", "score": 0.5, "box": [1, 2, 3, 4]}
]


def test_a_table_in_a_pipe_has_each_name_whole_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.print_rows(ROWS_TO_PRINT, as_json=False)
    row = capsys.readouterr().out.splitlines()[3]
    assert LONG in row
    assert "a class with a rather long name" in row
    assert len(row) < 200, "the table takes only the width it needs"


def test_a_table_on_a_terminal_breaks_a_long_name_and_cuts_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(markup=False, force_terminal=True, no_color=True, width=80)
    monkeypatch.setattr(console, "out", terminal)
    console.print_rows(ROWS_TO_PRINT, as_json=False)
    text = capsys.readouterr().out
    assert "…" not in text
    rows = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    assert "".join(row[1].strip() for row in rows) == LONG
