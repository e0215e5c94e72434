"""Small projects: three images of different sizes, copied from one template for speed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from owlabel.checkpoints import header as checkpoints
from owlabel.project.store import Project

SHAPES = ((24, 36), (20, 20), (24, 36))


@pytest.fixture(scope="session")
def images_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    for number, shape in enumerate(SHAPES, start=1):
        pixels = np.full((*shape, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"image{number}.png")
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, images_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("template") / "street.owlabel"
    Project.create(folder, images_folder).close()
    return folder


@pytest.fixture
def make_project(template: Path, tmp_path: Path) -> Iterator[Callable[[], Project]]:
    made: list[Project] = []

    def make() -> Project:
        folder = tmp_path / f"copy{len(made)}.owlabel"
        shutil.copytree(template, folder)
        made.append(Project.open(folder))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture
def project(make_project: Callable[[], Project]) -> Project:
    return make_project()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A model file as far as a project looks into it: its header."""
    names = ["road", "sky"]
    classes = [{"id": i, "name": n, "color": [i, 0, 0]} for i, n in enumerate(names)]
    header = {
        "format": 1,
        "name": "toy",
        "architecture": "resnet18",
        "settings": {},
        "classes": classes,
        "prototype_length": 3.0,
        "kind": "metric",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "max_side": 1024,
        "heads": [{"class_id": None, "outputs": 2, "hash": "0123456789abcdef"}],
    }
    path = tmp_path / "toy.safetensors"
    save_file({"x": np.zeros(2)}, path, metadata={checkpoints.KEY: json.dumps(header)})
    return path
