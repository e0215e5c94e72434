from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from owlabel_training.core.recipe import read
from owlabel_training.main import app
from owlabel_training.ood.recipe import OodRecipe

RECIPES = Path(__file__).parents[4] / "training" / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*_entropy.toml")), ids=lambda p: p.stem)
def test_the_recipes_of_entropy_maximisation_are_readable(path: Path) -> None:
    recipe = read(OodRecipe, path)
    assert recipe.name == path.stem
    assert recipe.entropy is not None
    assert (recipe.entropy.lambda_ood, recipe.entropy.averaging) == (0.9, "joint")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*_rpl.toml")), ids=lambda p: p.stem)
def test_the_recipes_of_rpl_are_readable(path: Path) -> None:
    recipe = read(OodRecipe, path, ["residual.corocl = false"])
    assert recipe.name == path.stem
    assert recipe.residual is not None
    assert (recipe.residual.beta, recipe.residual.head_factor) == (0.05, 10.0)
    assert recipe.residual.corocl is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('name = "a"\n[entropy]\n[residual]\n', "either"),
        ('name = "a"\n[entropy]\nlambda_ood = 2.0\n', "2.0"),
        ('name = "a"\n[entropy]\naveraging = "mean"\n', "mean"),
        ('name = "a"\n[residual]\nprojector = "three"\n', "three"),
        ('name = "a"\n[residual]\nbatch_size = 1\n', "at least 2"),
        ('name = "a"\n[residual]\nlength = 1\n', "residual: unknown field 'length'"),
        ('name = "a"\n[entropy]\n[training]\n', "unknown field 'training'"),
    ],
)
def test_a_bad_recipe_is_refused_in_words(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read(OodRecipe, path)


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n[entropy]\n')
    done = CliRunner().invoke(app, [str(path), "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "--base" in done.stderr
    assert "Traceback" not in done.stderr
