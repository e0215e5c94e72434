from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from owlabel.models.segmenter import Segmenter


def scene(seed: int, height: int = 72, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A sky over a road with one bright box: labels 0, 1, 2."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 :] = 1
    row, col = int(rng.integers(20, 40)), int(rng.integers(10, 60))
    labels[row : row + 20, col : col + 24] = 2
    colors = np.array([[90, 150, 220], [90, 90, 90], [230, 40, 40]], np.float64)
    image = colors[labels] + rng.normal(0, 12, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of twelve small scenes: ten to train on, two to validate on."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    names = [f"scene_{seed:02d}" for seed in range(12)]
    for seed, name in enumerate(names):
        image, labels = scene(seed)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
    rows = [
        {"id": i, "name": name, "color": [60 * i, 10, 10]}
        for i, name in enumerate(("sky", "road", "box"))
    ]
    (folder / "classes.json").write_text(json.dumps({"classes": rows}))
    (folder / "train.txt").write_text("\n".join(names[:10]))
    (folder / "val.txt").write_text("\n".join(names[10:]) + "\n")
    return folder


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    settings = {"width": 16, "low_width": 8, "rates": [1, 2, 3], "dropout": 0.1}
    return Segmenter("mobilenet_v3_small", settings, 2).eval()
