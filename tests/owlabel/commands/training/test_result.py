"""What a training command prints of its result."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from owlabel.commands.training import result as results
from owlabel.commands.training.result import print_result

COMPARED = {"before": {"AP": 0.211, "AUROC": None}, "after": {"AP": 0.7453, "AUROC": 0.5}}


def printed(
    capsys: pytest.CaptureFixture[str], comparison: Any, **options: bool
) -> tuple[str, list[int]]:
    adopted: list[int] = []
    session = SimpleNamespace(models=SimpleNamespace(adopt=adopted.append))
    waiting = SimpleNamespace(comparison=comparison, model_id=7)
    print_result(session, waiting, options.get("adopt", False), options.get("as_json", False))
    return capsys.readouterr().out, adopted


def test_the_table_is_in_percent(capsys: pytest.CaptureFixture[str]) -> None:
    text, adopted = printed(capsys, COMPARED)
    assert "before (%)" in text
    assert "21.1" in text
    assert "74.5" in text
    assert "to use it, run `owlabel adopt PROJECT 7`" in " ".join(text.split())
    assert adopted == []


def test_json_has_fractions_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = printed(capsys, COMPARED, as_json=True)
    assert json.loads(text)[0] == {"measure": "AP", "before": 0.211, "after": 0.7453}


def test_a_result_without_a_comparison_says_so_and_can_be_adopted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "run_jobs", lambda _session: None)
    text, adopted = printed(capsys, {"before": {}, "after": {}}, adopt=True)
    assert "nothing was compared" in text
    assert "model 7 is in use" in text
    assert adopted == [7]
