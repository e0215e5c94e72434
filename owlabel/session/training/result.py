"""What a training of a novel class's head (PLM) came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlmResult:
    """A trained head that waits to be adopted or discarded.

    Attributes
    ----------
    model_id : int
        The new model version.
    class_name : str
        The class whose head was trained.
    comparison : dict
        ``before`` and ``after``: IoU per class name on the reviewed pixels; ``pixels``: how many.
    base_id : int
        The model version it was trained from.
    """

    model_id: int
    class_name: str
    comparison: dict[str, Any]
    base_id: int
