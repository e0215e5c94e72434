from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def picture(tmp_path: Path) -> Write:
    """Write a picture of 6 x 8 pixels below the test's folder."""

    def write(name: str, shape: tuple[int, int] = (6, 8)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*shape, 3), 120, np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def mask(tmp_path: Path) -> Write:
    """Write a mask whose first pixels are these ids and the rest 255 (or `rest`)."""

    def write(name: str, ids: list[int], shape: tuple[int, int] = (6, 8), rest: int = 255) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.full(shape, rest, np.uint8)
        values.ravel()[: len(ids)] = ids
        Image.fromarray(values).save(path)
        return path

    return write
