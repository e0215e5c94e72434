"""The cost of pre-training beside base training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.pretraining_cost import (
    BASES,
    PRETRAIN,
    app,
    ratios,
    step_costs,
    steps_of,
)
from owlabel.jobs.job import Progress
from owlabel_training.core.recipe import Recipe, from_toml, read
from owlabel_training.pretraining.recipe import PretrainRecipe

MODEL = """
[model]
architecture = "mobilenet_v3_small"
settings = { width = 16, low_width = 8, rates = [1, 2, 3] }
"""
PRETRAINING = f"""
name = "tiny"
{MODEL}
[data]
train = "train.txt"
val = "val.txt"
[labels]
classes = 3
samples = 2000
superpixels = 30
[pretraining]
iterations = 40
images_per_batch = 2
crop = [64, 80]
cutout = 20
anchors = 64
"""
BASE = f"""
name = "base"
{MODEL}
[training]
iterations = 50
batch_size = 2
crop = [64, 80]
"""
ROOT = Path(__file__).parents[3]


def test_a_base_training_ends_with_its_steps_or_its_minutes() -> None:
    plain = from_toml(Recipe, BASE)
    limited = from_toml(Recipe, BASE, ["training.minutes=0.5"])
    assert steps_of(plain, 2.0) == 50
    assert steps_of(limited, 2.0) == 15
    assert steps_of(limited, 0.1) == 50
    assert ratios(30.0, 60.0) == {"base_s": 60.0, "ratio": 0.5, "with_base": 1.5}


def test_blocks_are_taken_by_turns_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def run(name: str) -> Iterator[Progress]:
        for step in range(6):
            order.append(name)
            yield Progress(step, 6)

    runs: Any = {name: run(name) for name in ("a", "b")}
    costs = step_costs(runs, rounds=2, block=2)
    assert order == ["a", "a", "b", "b"] * 3
    assert costs["a"].wall >= 0
    runs = {"a": run("a")}
    with pytest.raises(ValueError, match="a has fewer than 8 steps"):
        step_costs(runs, rounds=3, block=2)
    with pytest.raises(ValueError, match="got 0 and 2"):
        step_costs({}, rounds=0, block=2)


def test_the_command_measures_labels_contrast_and_base(data: Path, tmp_path: Path) -> None:
    (tmp_path / "pretrain.toml").write_text(PRETRAINING)
    (tmp_path / "base.toml").write_text(BASE)
    given = [
        "--data", data, "--pretraining", tmp_path / "pretrain.toml", "--rounds", 1, "--block", 1,
        "--base", tmp_path / "base.toml", "--out", tmp_path / "cost.json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [str(word) for word in given])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "cost.json").read_text())["results"]
    assert found["images"] == 10
    assert set(found["labels"]) == {"sampling pixels", "clustering", "auxiliary labels"}
    base = found["base"]["base"]
    labels = sum(one["wall_s"] for one in found["labels"].values())
    whole = labels + 40 * found["contrast"]["step"]["wall_s"]
    assert found["contrast"]["with_labels"]["wall_s"] == pytest.approx(whole, rel=0.05)
    assert base["steps"] == 50
    assert base["by_wall"]["ratio"] == pytest.approx(
        whole / (50 * base["step"]["wall_s"]), rel=0.05
    )


def test_the_recipes_that_are_compared_are_there() -> None:
    assert read(PretrainRecipe, ROOT / PRETRAIN).data.train == "train.txt"
    for path in BASES:
        assert read(Recipe, ROOT / path).data.train == "train.txt"
