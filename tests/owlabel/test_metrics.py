import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score, roc_curve

from owlabel.classes import OOD_PROXY, UNSET, VOID
from owlabel.metrics import (
    ConfusionMatrix,
    ExactPixelOod,
    OodResult,
    PixelOod,
    exact_ood,
    harmonic,
    mean_ood,
    ood_scores,
)

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def matrix(n: int, truth: list[int], prediction: list[int]) -> ConfusionMatrix:
    counted = ConfusionMatrix(n)
    counted.update(np.array(truth), np.array(prediction))
    return counted


def streamed(scores: np.ndarray, labels: np.ndarray) -> OodResult:
    stream = PixelOod()
    stream.update(scores, labels)
    return stream.result()


def twice_read(scores: np.ndarray, labels: np.ndarray) -> OodResult:
    stream = ExactPixelOod(ood_scores(scores, labels))
    stream.update(scores, labels)
    return stream.result()


def overlapping(seed: int = 0, count: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.1).astype(np.uint8)
    return (rng.normal(size=count) + 1.5 * labels).astype(np.float32), labels


# ---- labels


@pytest.mark.parametrize(
    ("old", "novel", "mean"),
    [(67.6, 64.6, 66.07), (63.7, 75.7, 69.18), (66.9, 60.1, 63.32), (64.2, 26.1, 37.11)],
)
def test_worked_harmonic_means(old: float, novel: float, mean: float) -> None:
    assert harmonic(old, novel) == pytest.approx(mean, abs=0.005)


def test_the_harmonic_mean_with_zero_is_zero() -> None:
    assert harmonic(0, 0.5) == harmonic(0.5, 0) == harmonic(0, 0) == 0
    assert math.isnan(harmonic(math.nan, 0.5))


def test_a_matrix_worked_by_hand() -> None:
    counted = matrix(3, [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2])
    assert counted.counts[:, :3].tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(counted.iou(), [2 / 4, 1 / 3, 1])
    assert counted.miou([0, 1]) == pytest.approx(5 / 12)
    assert counted.harmonic([0, 1], [2]) == pytest.approx(harmonic(5 / 12, 1))


def test_pixels_without_truth_do_not_count() -> None:
    counted = matrix(2, [0, 1, VOID, OOD_PROXY, UNSET], [0, 1, 0, 1, 200])
    assert counted.counts.sum() == 2
    assert counted.miou() == 1


def test_a_pixel_without_prediction_is_an_error_of_its_class_only() -> None:
    np.testing.assert_allclose(matrix(2, [0, 0, 1], [0, VOID, 1]).iou(), [0.5, 1])


def test_a_class_that_never_occurs_is_nan_and_skipped() -> None:
    counted = matrix(4, [0, 1], [0, 2])
    np.testing.assert_array_equal(counted.iou(), [1, 0, 0, np.nan])
    assert counted.miou() == pytest.approx(1 / 3)
    assert math.isnan(counted.miou([3]))
    assert math.isnan(ConfusionMatrix(2).miou())


def test_missed_ood_pixels_lower_the_open_miou() -> None:
    counted = matrix(2, [0] * 10 + [1] * 2, [0] * 12)
    assert counted.miou([0]) == pytest.approx(10 / 12)
    assert matrix(2, [0] * 10 + [VOID] * 2, [0] * 12).miou([0]) == 1


@QUICK
@given(st.integers(0, 2**32 - 1))
def test_iou_agrees_with_scikit_learn_and_adds_up(seed: int) -> None:
    truth, prediction = np.random.default_rng(seed).integers(0, 5, (2, 4, 30), np.uint8)
    halves = [ConfusionMatrix(5), ConfusionMatrix(5)]
    for half, rows in zip(halves, (slice(0, 2), slice(2, 4)), strict=True):
        half.update(truth[rows], prediction[rows])
    whole = halves[0] + halves[1]
    oracle = jaccard_score(truth.ravel(), prediction.ravel(), average=None, labels=range(5))
    np.testing.assert_allclose(whole.iou(), oracle)
    assert (4 * whole.miou(range(4)) + whole.miou([4])) / 5 == pytest.approx(whole.miou())


def test_malformed_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        ConfusionMatrix(2).update(np.zeros((2, 3), int), np.zeros((3, 2), int))
    for truth, prediction in (
        ([0, 2], [0, 0]),
        ([0, 0], [0, 7]),
        ([-1], [0]),
        ([0], [256]),
        ([256], [0]),
    ):
        with pytest.raises(ValueError, match=r"0 \.\. 1"):
            matrix(2, truth, prediction)
    for n in (0, 254):
        with pytest.raises(ValueError, match="n must lie"):
            ConfusionMatrix(n)
    with pytest.raises(ValueError, match="3"):
        ConfusionMatrix(2) + ConfusionMatrix(3)
    with pytest.raises(ValueError, match="class ids"):
        ConfusionMatrix(2).miou([2])
    with pytest.raises(ValueError, match="negative"):
        harmonic(-1, 2)


# ---- anomaly scores


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
def test_a_ranking_worked_by_hand(measure) -> None:
    got = measure(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 0, 0]))
    assert got == OodResult(pytest.approx(5 / 6), pytest.approx((1 + 2 / 3) / 2), 1 / 3, 2, 3)


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
def test_equal_scores_tell_nothing(measure) -> None:
    got = measure(np.full(20, 0.4), np.arange(20) < 3)
    assert (got.auroc, got.ap, got.fpr95) == (0.5, pytest.approx(0.15), 1)


def test_random_scores_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    got = exact_ood(rng.random(200_000), rng.random(200_000) < 0.1)
    assert got.auroc == pytest.approx(0.5, abs=0.01)
    assert got.ap == pytest.approx(0.1, abs=0.01)
    assert got.fpr95 == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
def test_a_perfect_score_and_its_opposite(measure) -> None:
    labels = np.arange(40) >= 30
    perfect = measure(np.arange(40.0), labels)
    assert (perfect.auroc, perfect.ap, perfect.fpr95) == (1, 1, 0)
    opposite = measure(-np.arange(40.0), labels)
    assert (opposite.auroc, opposite.fpr95) == (0, 1)


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [255, 255, 255]])
def test_one_kind_of_pixel_alone_has_no_measure(measure, labels: list[int]) -> None:
    got = measure(np.array([1.0, 2.0, 3.0]), np.array(labels))
    assert (got.positives, got.negatives) == (labels.count(1), labels.count(0))
    assert all(math.isnan(v) for v in (got.auroc, got.ap, got.fpr95))


@QUICK
@given(
    st.lists(
        st.tuples(st.integers(-4, 4), st.sampled_from([0, 1])), min_size=2, max_size=60
    ).filter(lambda rows: len({label for _, label in rows}) == 2)
)
def test_measures_agree_with_scikit_learn_also_with_ties(rows: list[tuple[int, int]]) -> None:
    values, labels = (np.array(column) for column in zip(*rows, strict=True))
    fpr, tpr, _ = roc_curve(labels, values, drop_intermediate=False)
    for got in (f(values / 4, labels) for f in (exact_ood, streamed, twice_read)):
        assert got.auroc == pytest.approx(roc_auc_score(labels, values))
        assert got.ap == pytest.approx(average_precision_score(labels, values))
        assert got.fpr95 == pytest.approx(fpr[tpr >= 0.95 - 1e-12][0])


def test_measures_of_many_pixels() -> None:
    scores, labels = overlapping(count=100_000)
    exact, binned = exact_ood(scores, labels), streamed(scores, labels)
    assert exact.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert exact.ap == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert binned.auroc == pytest.approx(exact.auroc, abs=1e-5)
    assert binned.ap == pytest.approx(exact.ap, abs=1e-3)
    assert binned.fpr95 == pytest.approx(exact.fpr95, abs=1e-3)


def test_half_precision_scores_are_streamed_exactly() -> None:
    scores, labels = overlapping()
    half = scores.astype(np.float16)
    assert streamed(half, labels) == exact_ood(half, labels)


def test_reading_twice_is_exact_however_the_stream_is_cut() -> None:
    scores, labels = overlapping()
    positives = ood_scores(scores, labels)
    parts = [ExactPixelOod(positives), ExactPixelOod(positives)]
    for i, piece in enumerate(np.array_split(np.arange(5000), 7)):
        parts[i % 2].update(scores[piece], labels[piece])
    assert (parts[0] + parts[1]).result() == exact_ood(scores, labels)
    with pytest.raises(ValueError, match="different positives"):
        parts[0] + ExactPixelOod(positives[1:])


def test_streams_can_be_cut_and_merged() -> None:
    scores, labels = overlapping()
    parts = [PixelOod(), PixelOod()]
    for i, piece in enumerate(np.array_split(np.arange(5000), 7)):
        parts[i % 2].update(scores[piece], labels[piece])
    assert (parts[0] + parts[1]).result() == streamed(scores, labels)


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
def test_order_preserving_maps_void_and_shape_change_nothing(measure) -> None:
    scores, labels = overlapping(count=600)
    plain = measure(scores, labels)
    padded = np.append(scores, [99, -99]).reshape(2, 301), np.append(labels, [255, 7])
    assert measure(padded[0], padded[1].reshape(2, 301)) == plain
    assert measure(scores * 4, labels.astype(bool)) == plain


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
def test_infinities_and_both_zeros_are_ordered(measure) -> None:
    got = measure(np.array([np.inf, -np.inf, 0.0, -0.0]), np.array([1, 0, 1, 0]))
    assert got.auroc == (2 + 1.5) / 4


def test_the_fpr_rules_differ_where_recall_is_coarse() -> None:
    labels = np.array([1] * 9 + [0, 0, 0, 0, 1])
    scores = -np.arange(14.0)
    assert exact_ood(scores, labels).fpr95 == 1
    ten = exact_ood(scores, labels, "closest")  # 0.9 and 1.0 are equally close: the first wins
    assert (ten.fpr95, ten.fpr_rule) == (0, "closest")


def test_twenty_positives_reach_095_at_the_nineteenth() -> None:
    labels = np.array([1] * 19 + [0] + [1])
    assert exact_ood(-np.arange(21.0), labels).fpr95 == 0


def test_the_mean_over_images_skips_those_of_one_kind() -> None:
    easy = exact_ood([1.0, 0.0], [1, 0])
    tied = exact_ood([0.5, 0.5], [1, 0])
    empty = exact_ood([0.5, 0.5], [0, 0])
    assert mean_ood([easy, tied, empty]) == OodResult(0.75, 0.75, 0.5, 2, 2)
    with pytest.raises(ValueError, match="both kinds"):
        mean_ood([empty])


@pytest.mark.parametrize("measure", [exact_ood, streamed, twice_read])
def test_malformed_scores_are_refused(measure) -> None:
    with pytest.raises(ValueError, match="1 NaN"):
        measure(np.array([np.nan, 1.0]), np.array([0, 1]))
    with pytest.raises(ValueError, match="differ in shape"):
        measure(np.zeros(3), np.zeros(4))


def test_an_unknown_fpr_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="fpr_rule"):
        exact_ood([1.0, 0.0], [1, 0], "last")  # type: ignore[arg-type]
