"""Synthetic street scenes and a small checkpoint trained on them."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def images() -> Path:
    """Return the folder of the 32 sample images."""
    return HERE / "images"


def labels() -> Path:
    """Return the folder of the true labels, which are for tests and figures only."""
    return HERE / "labels"


def checkpoint() -> Path:
    """Return the checkpoint trained by ``training/recipes/sample.toml``."""
    return HERE / "sample.safetensors"


def classes() -> list[dict[str, Any]]:
    """Return the class table as JSON rows; the kinds that no training image shows are novel."""
    from owlabel_samples.kinds import rows

    return rows(strange=True)
