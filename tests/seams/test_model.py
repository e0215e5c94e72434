"""A backbone that a package adds is trained from a recipe and embeds a project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from owlabel.checkpoints.header import read_header

RECIPE = """
name = "tiny"
[model]
architecture = "tinynet"
settings = { width = 8, low_width = 4, rates = [1, 2, 3] }
[training]
iterations = 3
batch_size = 2
crop = [64, 64]
validate_every = 3
"""


def write_data(folder: Path) -> None:
    """Write six scenes of a sky over a road."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    labels = np.repeat(np.uint8([0, 1]), 36)[:, None].repeat(96, 1)
    rng = np.random.default_rng(0)
    for i in range(6):
        colors = np.float64([[90, 150, 220], [90, 90, 90]])[labels]
        pixels = (colors + rng.normal(0, 12, colors.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{i}.png")
    rows = [{"id": i, "name": n, "color": [9 * i, 1, 1]} for i, n in enumerate(("sky", "road"))]
    (folder / "classes.json").write_text(json.dumps({"classes": rows}))
    (folder / "train.txt").write_text("0\n1\n2\n3\n")
    (folder / "val.txt").write_text("4\n5\n")


@pytest.mark.slow
def test_it_is_trained_and_embeds(package: Path, command: Any, tmp_path: Path) -> None:
    data, recipe = tmp_path / "data", tmp_path / "tiny.toml"
    write_data(data)
    recipe.write_text(RECIPE)
    code = "from owlabel_training.main import app; app()"
    words = [str(recipe), "--data", str(data), "--out", str(tmp_path / "runs")]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    trained = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    checkpoint = json.loads(trained.stdout[trained.stdout.index("{") :])["checkpoint"]
    assert read_header(checkpoint).architecture == "tinynet"

    made = command("new", str(data / "images"), "--model", checkpoint)
    assert made.returncode == 0, made.stderr
    project = made.stdout.strip()
    embedded = command("embed", project)
    assert "6 of 6 images are embedded" in embedded.stdout, embedded.stderr

    (package / "stranger-1.0.dist-info" / "entry_points.txt").write_text("")
    gone = command("evaluate", str(data), str(tmp_path / "out"), "--layout", "classes",
                   "--held-out", "sky", "--model", checkpoint)  # fmt: skip
    assert gone.returncode == 1
    assert "unknown architecture 'tinynet'" in gone.stderr
