from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from owlabel_training.core.recipe import from_toml, read
from owlabel_training.ood import recipe as ood_recipe
from owlabel_training.pretraining import recipe as pretraining_recipe
from owlabel_training.weak_shot import recipe as weak_shot_recipe

RECIPES = Path(__file__).parents[4] / "training" / "recipes"


def read_any(path: Path) -> Any:
    """Read a recipe of any kind of training."""
    if weak_shot_recipe.is_weak_shot(path):
        return weak_shot_recipe.read(path)
    if pretraining_recipe.is_pretraining(path):
        return pretraining_recipe.read(path)
    return ood_recipe.read(path) if ood_recipe.is_ood(path) else read(path)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_that_ships_is_valid_and_names_no_folder(path: Path) -> None:
    recipe = read_any(path)
    assert recipe.name == path.stem
    assert recipe.data.folder == ""


def test_a_recipe_is_read_with_its_types() -> None:
    recipe = from_toml('name = "a"\n[training]\nlr = 1\ncrop = [64, 96]\n[data]\nleft_out = ["x"]')
    assert isinstance(recipe.training.lr, float)
    assert (recipe.training.crop, recipe.data.left_out) == ((64, 96), ("x",))


def test_changes_come_over_the_recipe() -> None:
    text = 'name = "a"\n[training]\nlr = 0.5\nseed = 1'
    recipe = from_toml(text, ["training.lr = 0.25", 'model.kind = "softmax"'])
    assert (recipe.training.lr, recipe.training.seed) == (0.25, 1)
    assert recipe.model.kind == "softmax"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "not valid TOML"),
        ("[training]", "needs a name"),
        ('name = "a"\ntrain = 1', "unknown parts"),
        ('name = "a"\n[training]\nlearning_rate = 1', "unknown keys"),
        ('name = "a"\n[training]\nlr = "fast"', "training.lr must be of type float"),
        ('name = "a"\n[training]\nlr = 0.0', "training.lr must be positive"),
        ('name = "a"\n[training]\nbatch_size = 1', "batch_size must be at least 2"),
        ('name = "a"\n[training]\ncrop = [8, 8]', "training.crop"),
        ('name = "a"\n[training]\nscale = [2.0, 1.0]', "training.scale"),
        ('name = "a"\n[training]\noptimiser = "magic"', "sgd or adamw"),
        ('name = "a"\n[data]\ntrain = ""', "both be named"),
    ],
)
def test_a_bad_recipe_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_toml(text)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.toml"):
        read(tmp_path / "gone.toml")
