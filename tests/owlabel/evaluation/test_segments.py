import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from owlabel.evaluation.segments import (
    TAUS,
    TRACKS,
    ComponentSizes,
    SegmentErrors,
    false_segments,
    match_components,
    predicted_segments,
    segment_errors,
)

QUICK = settings(max_examples=60, deadline=None)
TRUTHS = arrays.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 0, 1, 255]))
SCORES = arrays.arrays(np.float32, (7, 9), elements=st.sampled_from([0.0, 0.4, 0.8, np.inf]))


def toy() -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros((8, 12), np.uint8)
    truth[2:4, 1:4] = truth[2:4, 6:9] = 1
    predicted = np.zeros((8, 12), bool)
    predicted[2:4, 1:9] = predicted[6, 10] = True
    return predicted, truth


def test_the_worked_components() -> None:
    match = match_components(*toy(), ComponentSizes())
    assert (match.siou, match.ppv) == (pytest.approx(0.6), pytest.approx(0.375))
    assert match.f1.tolist() == pytest.approx([0.8] * 8 + [0] * 3)
    assert match.mean_f1 == pytest.approx(0.5818182)
    assert TAUS[7] == 0.6


def test_small_components_vanish_or_become_void() -> None:
    predicted, truth = toy()
    truth[6, 10] = 1  # a true component of one pixel, found
    match = match_components(predicted, truth, ComponentSizes(2, 2))
    assert (match.truths, match.predictions, match.ppv) == (2, 1, 0.75)
    assert match_components(predicted, truth, TRACKS["obstacle"]).truths == 0


def test_a_perfect_prediction_is_perfect_and_none_is_zero() -> None:
    truth = toy()[1]
    assert match_components(truth == 1, truth, ComponentSizes()).mean_f1 == 1
    assert match_components(truth > 1, truth, ComponentSizes()).mean_f1 == 0


def test_errors_of_segments_worked_by_hand() -> None:
    score = np.zeros((5, 8), np.float32)
    truth = np.zeros((5, 8), np.uint8)
    truth[0, 0:2] = truth[4, 0:2] = 1
    truth[:, 7] = 255
    score[0, 1], score[2, 4], score[3, 5], score[:, 7] = 0.5, 0.9, 0.9, 1.0
    segments, count = predicted_segments(score, truth, 0.5)
    assert count == 2  # the diagonal pair is one; void is cut out first
    found = segment_errors(segments, truth)
    assert found == SegmentErrors(1, 1, 2, 2, alarms=2, in_distribution=31)
    assert found.epsilon == 2 / 31
    assert false_segments(segments, truth).tolist() == [False, True]


def test_dropping_everything_leaves_the_misses_only() -> None:
    _, truth = toy()
    got = segment_errors(np.zeros(truth.shape, np.int32), truth)
    assert (got.false, got.missed, got.epsilon) == (0, 2, 0)


@QUICK
@given(SCORES, TRUTHS)
def test_lower_thresholds_never_remove_pixels_or_find_fewer_objects(
    score: np.ndarray, truth: np.ndarray
) -> None:
    found = [
        segment_errors(predicted_segments(score, truth, t)[0], truth) for t in (0.3, 0.6, np.inf)
    ]
    assert found[0].alarms >= found[1].alarms >= found[2].alarms
    assert found[0].missed <= found[1].missed <= found[2].missed


@QUICK
@given(SCORES, TRUTHS)
def test_images_add_up_and_turning_them_changes_nothing(
    score: np.ndarray, truth: np.ndarray
) -> None:
    both = np.concatenate([truth, np.full((1, 9), 255, np.uint8), truth])
    scores = np.concatenate([score, score[:1], score])
    one = match_components(score >= 0.5, truth, ComponentSizes())
    two = match_components(scores >= 0.5, both, ComponentSizes())
    assert (one + one).hits.tolist() == two.hits.tolist()
    assert (one + one).siou_sum == pytest.approx(two.siou_sum)
    turned = match_components((score >= 0.5)[::-1].T, truth[::-1].T, ComponentSizes())
    assert turned.ppv_sum == pytest.approx(one.ppv_sum)
    single = segment_errors(predicted_segments(score, truth, 0.5)[0], truth)
    assert segment_errors(predicted_segments(scores, both, 0.5)[0], both) == single + single


@QUICK
@given(SCORES, TRUTHS)
def test_component_measures_agree_with_a_slow_loop(score: np.ndarray, truth: np.ndarray) -> None:
    from scipy.ndimage import label

    eight = np.ones((3, 3))
    found, n = label((score >= 0.5) & (truth <= 1), eight)
    objects, m = label(truth == 1, eight)
    siou = []
    for k in range(1, m + 1):
        touching = set(found[objects == k].tolist()) - {0}
        union = np.isin(found, list(touching))
        inside = (union & (objects == k)).sum()
        others = (union & (objects > 0) & (objects != k)).sum()
        siou.append(inside / ((union | (objects == k)).sum() - others))
    match = match_components(score >= 0.5, truth, ComponentSizes())
    assert (match.truths, match.predictions) == (m, n)
    assert match.siou_sum == pytest.approx(sum(siou))


@pytest.mark.parametrize("fill", [0, 1, 255])
def test_whole_images_of_one_kind(fill: int) -> None:
    truth = np.full((4, 5), fill, np.uint8)
    everything = np.ones((4, 5), np.float32)
    got = segment_errors(predicted_segments(everything, truth, 1.0)[0], truth)
    assert (got.false, got.missed) == (int(fill == 0), 0)
    match = match_components(everything > 0, truth, ComponentSizes())
    assert np.isnan(match.mean_f1) == (fill == 255)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        segment_errors(np.zeros((2, 3), np.int32), np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match="differ"):
        match_components(np.zeros((2, 3), bool), np.zeros((3, 2), np.uint8), ComponentSizes())
