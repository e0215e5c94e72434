from __future__ import annotations

import pytest
import torch

from owlabel.classes import ClassTable, LabelClass, distinct_color
from owlabel.models.segmenter import Segmenter

SMALL = {"width": 8, "low_width": 4, "rates": [1, 2, 3]}


def table(n: int) -> ClassTable:
    return ClassTable(tuple(LabelClass(i, f"class {i}", distinct_color(i)) for i in range(n)))


@pytest.fixture
def classes() -> ClassTable:
    return table(3)


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter("mobilenet_v3_small", SMALL, 3).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
