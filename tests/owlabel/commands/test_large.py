"""Another version of the model in use, for large images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from typer.testing import CliRunner

from owlabel.checkpoints.header import read_header
from owlabel.cli import app
from owlabel.commands.large import with_large_images
from owlabel.project.store import Project

run = CliRunner().invoke


def test_a_copy_says_the_other_and_has_its_own_cache(toy: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    with_large_images(toy.checkpoint, copy, "tile")
    before, after = read_header(toy.checkpoint), read_header(copy)
    assert (before.large_images, after.large_images) == ("reduce", "tile")
    assert before.heads[0].hash != after.heads[0].hash
    assert before.heads[0].outputs == after.heads[0].outputs
    np.testing.assert_array_equal(*(load_file(p)["weight"] for p in (toy.checkpoint, copy)))


def test_the_project_goes_over_to_it_and_back(toy: Any) -> None:
    toy.project.close()
    folder = str(toy.images)
    assert "are cut into tiles: toy (tile)" in run(app, ["large", folder, "tile"]).stdout
    with Project.open(toy.project.folder) as project:
        assert [m.name for m in project.models()] == ["toy", "toy (tile)"]
        assert project.active_model().name == "toy (tile)"
    assert run(app, ["large", folder, "tile"]).exit_code == 0  # it is so already
    assert "are reduced: toy (reduce)" in run(app, ["large", folder, "reduce"]).stdout
    assert "choose one of" in run(app, ["large", folder, "crop"]).stderr
