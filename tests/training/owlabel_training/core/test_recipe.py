from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from owlabel_training.core.recipe import Recipe, from_toml, read, sections
from owlabel_training.ood.recipe import OodRecipe
from owlabel_training.pretraining.recipe import PretrainRecipe
from owlabel_training.weak_shot.recipe import WeakShotRecipe

RECIPES = Path(__file__).parents[4] / "training" / "recipes"


def read_any(path: Path) -> Any:
    """Read a recipe of any kind of training, as the command does."""
    named = sections(path)
    if "weak_shot" in named:
        return read(WeakShotRecipe, path)
    if "pretraining" in named:
        return read(PretrainRecipe, path)
    return read(OodRecipe if named & {"entropy", "residual"} else Recipe, path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_that_ships_is_valid_and_names_no_folder(path: Path) -> None:
    recipe = read_any(path)
    assert recipe.name == path.stem
    assert recipe.data.folder == ""


def test_a_recipe_is_read_with_its_types() -> None:
    recipe = from_toml(
        Recipe, 'name = "a"\n[training]\nlr = 1\ncrop = [64, 96]\n[data]\nleft_out = ["x"]'
    )
    assert isinstance(recipe.training.lr, float)
    assert (recipe.training.crop, recipe.data.left_out) == ((64, 96), ("x",))


def test_changes_come_over_the_recipe() -> None:
    text = 'name = "a"\n[training]\nlr = 0.5\nseed = 1'
    recipe = from_toml(Recipe, text, ["training.lr = 0.25", 'model.kind = "softmax"'])
    assert (recipe.training.lr, recipe.training.seed) == (0.25, 1)
    assert recipe.model.kind == "softmax"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "not valid TOML"),
        ("[training]", "name is missing"),
        ('name = "a"\ntrain = 1', "unknown field 'train'"),
        ('name = "a"\n[training]\nlearning_rate = 1', "training: unknown field 'learning_rate'"),
        ('name = "a"\n[training]\nlr = "fast"', "training: lr must be a number, got 'fast'"),
        ('name = "a"\n[training]\nlr = 0.0', "training: lr must be greater than 0, got 0.0"),
        ('name = "a"\n[training]\nbatch_size = 1', "batch_size must be at least 2"),
        ('name = "a"\n[training]\ncrop = [8, 8]', "training: crop.0 must be"),
        (
            'name = "a"\n[training]\nscale = [2.0, 1.0]',
            "training: scale: .* positive and rising",
        ),
        ('name = "a"\n[training]\noptimiser = "magic"', "one of sgd, adamw"),
        ('name = "a"\n[data]\ntrain = ""', "data: train and val must both be named"),
        ('name = "a"\n[training]\nlr = true', "training: lr must be a number, got True"),
        ('name = "a"\n[training]\ncrop = [64, 64, 64]', "training: crop must be a shorter list"),
        ('name = "a"\n[training]\ncrop = 64', "training: crop must be a list, got 64"),
        ('name = "a"\ntraining = 3', "training must be a table, got 3"),
        ('name = " "', "name must be a text that is not empty"),
    ],
)
def test_a_bad_recipe_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_toml(Recipe, text)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.toml"):
        read(Recipe, tmp_path / "gone.toml")


def test_a_refusal_names_file_section_and_key_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "typo.toml"
    path.write_text('name = "a"\n[training]\nlr = 0.0\nseed = -1')
    with pytest.raises(ValueError, match="greater than 0") as refusal:
        read(Recipe, path)
    assert str(refusal.value).startswith(f"{path}: training: lr must be")
    assert "seed must be at least 0" in str(refusal.value)
    assert "\n" not in str(refusal.value)
