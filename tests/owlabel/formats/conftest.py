from __future__ import annotations

import numpy as np
import pytest

from owlabel.classes import VOID, ClassTable, LabelClass, Source
from owlabel.formats.labels.provenance import LabelledImage, Provenance


@pytest.fixture
def table() -> ClassTable:
    """Names as they come: slash, quotes, other scripts, a spreadsheet formula; a gap in ids."""
    names = ["road/lane", 'a "quoted": name', "道路 🦌", "=SUM(A1:A9)", "it's, really;"]
    known = [LabelClass(i, name, (i * 40, 255 - i, 7)) for i, name in enumerate(names)]
    return ClassTable((*known, LabelClass(17, "deer", (1, 2, 3), novel=True)))


@pytest.fixture
def made_by() -> Provenance:
    return Provenance("owlabel test", "base: v1", "0123456789abcdef")


@pytest.fixture
def make_image(table: ClassTable):
    """Return an image of random labels in patches, with some pixels that nobody claims."""

    def make(name: str, seed: int = 0, shape: tuple[int, int] = (13, 17)) -> LabelledImage:
        rng = np.random.default_rng(seed)
        values = np.array([*table.names, VOID], np.uint8)
        small = rng.choice(values, (shape[0] // 2 + 1, shape[1] // 3 + 1))
        labels = small.repeat(2, 0).repeat(3, 1)[: shape[0], : shape[1]].copy()
        source = rng.choice(np.array(list(Source), np.uint8), shape)
        confidence = rng.integers(0, 256, shape, np.uint8)
        return LabelledImage(name, labels, source, confidence, "reviewed")

    return make
