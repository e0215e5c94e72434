from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owlabel.clusters.pmiou import ProxyMiou


def measured(labels: list[int], truth: list[int], k: int, m: int) -> ProxyMiou:
    made = ProxyMiou(k, m)
    made.update(np.array(labels, np.uint8), np.array(truth, np.uint8))
    return made


@given(st.permutations(range(4)))
def test_perfect_labels_score_one_whatever_the_clusters_are_called(names: list[int]) -> None:
    truth = [c for c in range(4) for _ in range(c + 1)]
    found = measured([names[c] for c in truth], truth, 4, 4)
    assert found.hungarian() == found.maximum() == 1


def test_a_class_in_two_halves_scores_three_quarters() -> None:
    found = measured([0] * 10 + [1] * 5 + [2] * 5, [0] * 10 + [1] * 10, 3, 2)
    assert (found.hungarian(), found.maximum()) == (0.75, 0.75)


def test_one_cluster_for_two_equal_classes() -> None:
    found = measured([0] * 20, [0] * 10 + [1] * 10, 1, 2)
    assert (found.hungarian(), found.maximum()) == (0.25, 0.5)


def test_a_hundred_superpixels_of_each_class_score_next_to_nothing() -> None:
    labels = np.arange(200).repeat(10)
    found = measured(labels.tolist(), (labels // 100).tolist(), 200, 2)
    assert found.hungarian() == pytest.approx(0.01)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1), st.data())
def test_renaming_clusters_changes_nothing(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    names = data.draw(st.permutations(range(4)))
    one = measured([k for k, _ in pairs], [m for _, m in pairs], 4, 3)
    two = measured([names[k] for k, _ in pairs], [m for _, m in pairs], 4, 3)
    assert one.hungarian() == pytest.approx(two.hungarian())
    assert one.maximum() == pytest.approx(two.maximum())
    assert 0 <= one.hungarian() <= one.maximum() + 1e-12 <= 1 + 1e-9


def test_removed_void_and_absent_classes_do_not_count() -> None:
    found = measured([0, 0, 1, 1, 255, 0], [0, 0, 2, 2, 0, 255], 2, 3)
    assert found.pixels == 4
    assert found.hungarian() == 1, "class 1 never occurs and is no failure"
    assert found.plain() == {"pmiou_hungarian": 1, "pmiou_max": 1, "pixels": 4}


def test_nothing_counted_is_no_number() -> None:
    assert math.isnan(ProxyMiou(3, 2).hungarian())
    assert math.isnan(ProxyMiou(3, 2).maximum())


def test_wrong_shapes_and_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        ProxyMiou(2, 2).update(np.zeros(3, np.uint8), np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 1, got 5"):
        measured([5], [0], 2, 2)
    with pytest.raises(ValueError, match=r"classes must lie in 0 \.\. 1, got 3"):
        measured([1], [3], 2, 2)
