from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from owlabel.checkpoints.header import read_header
from owlabel_training.main import app

RECIPE = """
name = "tiny"
[model]
architecture = "mobilenet_v3_small"
settings = { width = 8, low_width = 4, rates = [1, 2, 3] }
[training]
iterations = 2
batch_size = 2
crop = [64, 64]
validate_every = 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def test_the_command_trains_and_prints_where_the_model_is(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    words = [str(recipe), "--data", str(data), "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert read_header(result["checkpoint"]).name == "tiny"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--data", "/nowhere"], "no data folder"),
        ([], "name the data folder"),
        (["--set", "training.lr = -1.0"], "training: lr must be greater than 0"),
    ],
)
def test_a_fault_is_one_line_before_training_starts(
    recipe: Path, words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OWLABEL_DATA", raising=False)
    done = CliRunner().invoke(app, [str(recipe), *words])
    assert done.exit_code == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
