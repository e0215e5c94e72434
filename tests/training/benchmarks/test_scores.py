"""The pass over an image beside the plain way: the same numbers, in little memory."""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest

from benchmarks.scores import (
    SETS,
    compare,
    compare_tensors,
    differences,
    embedding,
    extra_mib,
)
from owlabel.ood.registry import all_scores


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_the_plain_way_finds_the_same(names: tuple[str, ...]) -> None:
    assert max(differences(embedding((12, 90, 120)), names).values()) < 2e-5


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_the_pass_needs_little_beyond_its_results(names: tuple[str, ...]) -> None:
    large = np.zeros((19, 1024, 2048), np.float32)
    assert extra_mib(partial(all_scores, large, 3.0, names)) <= 64


def test_the_comparison_tells_times_and_ratios() -> None:
    row = compare(embedding((3, 30, 40)), SETS["metric"], rounds=2)
    assert row["plain_over_ours_cpu"] > 0
    assert set(row["largest_difference"]) == set(SETS["metric"])


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_compiled_tensors_give_the_same_without_a_break(names: tuple[str, ...]) -> None:
    row = compare_tensors(embedding((12, 30, 40)), names, "cpu", rounds=1)  # fullgraph: or it fails
    assert max(row["largest_difference"].values()) < 2e-5
    assert row["compiled_over_read"] > 0
