from __future__ import annotations

from pathlib import Path

import pytest
import torch

from owlabel.jobs.job import run_to_end
from owlabel.models.weights import load
from owlabel_training.core.base_loop import rate_factor
from owlabel_training.core.base_run import BaseTraining, new_segmenter
from owlabel_training.core.recipe import ModelRecipe, Recipe, TrainingRecipe

SETTINGS = {"width": 16, "low_width": 8, "rates": [1, 2, 3]}
RECIPE = Recipe(
    name="tiny",
    model=ModelRecipe(architecture="mobilenet_v3_small", settings=SETTINGS, max_side=512),
    training=TrainingRecipe(
        iterations=6,
        batch_size=2,
        crop=(64, 64),
        optimiser="adamw",
        lr=5e-3,
        lr_backbone=5e-3,
        validate_every=3,
        ema=0.5,
    ),
)


def longer(iterations: int) -> Recipe:
    return RECIPE.replace(training=RECIPE.training.replace(iterations=iterations))


def test_a_recipe_becomes_a_checkpoint(data: Path, tmp_path: Path) -> None:
    result = run_to_end(BaseTraining(RECIPE, data, tmp_path / "run").run())
    segmenter, header = load(result["checkpoint"])
    assert [c.name for c in header.classes.base] == ["sky", "road", "box"]
    assert (header.max_side, header.kind, segmenter.n_classes) == (512, "metric", 3)
    assert header.recipe["training"]["iterations"] == 6
    assert 0 <= result["val_miou"] <= 1
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_training_learns(data: Path, tmp_path: Path) -> None:
    result = run_to_end(BaseTraining(longer(60), data, tmp_path / "run").run())
    assert result["val_miou"] > 0.5


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owlabel_training.core.steps.SAVE_EVERY_S", 0.0)
    whole = run_to_end(BaseTraining(RECIPE, data, tmp_path / "whole").run())
    steps = BaseTraining(RECIPE, data, tmp_path / "broken").run()
    for _ in range(4):
        next(steps)
    steps.close()
    seen = []
    resumed = run_to_end(
        BaseTraining(RECIPE, data, tmp_path / "broken").run(), lambda p: seen.append(p.done)
    )
    assert seen == [5, 6]
    expected = load(whole["checkpoint"])[0].state_dict()
    for key, value in load(resumed["checkpoint"])[0].state_dict().items():
        torch.testing.assert_close(value, expected[key], msg=key)


def test_it_stops_early_when_nothing_gets_better(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owlabel_training.core.base_loop.miou", lambda *_: (0.25, []))
    recipe = RECIPE.training.replace(iterations=50, validate_every=1, patience=2)
    seen = []
    monkeypatch.setattr(
        "owlabel_training.core.base_run.miou", lambda *_: (0.25, [0.25, 0.25, 0.25])
    )
    run_to_end(
        BaseTraining(RECIPE.replace(training=recipe), data, tmp_path / "run").run(),
        lambda p: seen.append(p.done),
    )
    assert seen[-1] == 3


def test_a_model_starts_from_another_but_its_last_layer(data: Path, tmp_path: Path) -> None:
    first = run_to_end(BaseTraining(longer(1), data, tmp_path / "first").run())
    recipe = RECIPE.model.replace(initial=first["checkpoint"], kind="softmax")
    segmenter, start = new_segmenter(recipe, 2), load(first["checkpoint"])[0]
    assert segmenter.n_classes == 2
    state, other = segmenter.state_dict(), start.state_dict()
    assert state["heads.0.fuse.1.weight"].equal(other["heads.0.fuse.1.weight"])
    assert all(state[k].equal(other[k]) for k in state if k.startswith("backbone."))


def test_another_architecture_cannot_be_the_start(data: Path, tmp_path: Path) -> None:
    first = run_to_end(BaseTraining(longer(1), data, tmp_path / "first").run())
    recipe = RECIPE.model.replace(initial=first["checkpoint"], settings={"width": 8})
    with pytest.raises(ValueError, match="other settings"):
        new_segmenter(recipe, 2)


def test_the_rate_rises_and_falls() -> None:
    assert rate_factor(0.05, 0.1, 0.9) == pytest.approx(0.5)
    assert rate_factor(0.1, 0.1, 0.9) == 1
    assert rate_factor(1.0, 0.1, 0.9) == 0
    assert rate_factor(0.0, 0.0, 0.9) == 1
