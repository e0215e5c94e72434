from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from owlabel_training.weak_shot.pseudo_labels import confidence, pseudo_labels

SCORES = np.zeros((4, 1, 4), np.float32)
SCORES[[2, 2, 3, 0], 0, [0, 1, 2, 3]] = 0.8


def test_base_truth_wins_and_only_tagged_classes_are_written() -> None:
    base = np.array([[255, 1, 255, 255]], np.uint8)
    assert pseudo_labels(SCORES, base, {2}, 2).tolist() == [[2, 1, 255, 255]]
    assert pseudo_labels(SCORES, base, {2, 3}, 2).tolist() == [[2, 1, 3, 255]]
    assert pseudo_labels(SCORES, base, set(), 2).tolist() == [[255, 1, 255, 255]]


@given(
    arrays.arrays(np.float32, (5, 3, 4), elements=st.floats(0, 30, width=32)),
    arrays.arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 255])),
    st.sets(st.integers(2, 4)),
)
def test_nothing_else_is_ever_written(
    scores: np.ndarray, base: np.ndarray, present: set[int]
) -> None:
    found = pseudo_labels(scores, base, present, 2)
    assert (found[base < 2] == base[base < 2]).all()
    assert set(np.unique(found[base == 255]).tolist()) <= present | {255}


def test_confidence_is_the_mean_score_in_the_mask() -> None:
    mask = np.array([[True, True, True, False]])
    assert np.isclose(confidence(SCORES, mask, 2), 1.6 / 3)
    assert confidence(SCORES * 9, mask, 2) == 1
    assert confidence(SCORES, mask & False, 2) == 0
