"""Standardised max-logit: statistics by class, streaming; borders and smoothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owlabel.ood.standardized_logits import (
    ClassStatistics,
    sml,
    sml_smooth,
    smooth_dilated,
    suppress_boundaries,
)

QUICK = settings(max_examples=30, deadline=None)


def some_logits(seed: int, classes: int = 4, shape: tuple[int, int] = (9, 11)) -> np.ndarray:
    return np.random.default_rng(seed).normal(2, 3, (classes, *shape)).astype(np.float32)


def counted(*images: np.ndarray) -> ClassStatistics:
    statistics = ClassStatistics(len(images[0]))
    for image in images:
        statistics.update(image)
    return statistics


@QUICK
@given(st.integers(0, 99), st.integers(2, 6))
def test_on_its_own_images_each_predicted_class_has_mean_0_and_variance_1(
    seed: int, classes: int
) -> None:
    images = [some_logits(seed + i, classes) for i in range(3)]
    means, stds = counted(*images).mean_and_std()
    scores = np.concatenate([sml(z, means, stds).ravel() for z in images]).astype(np.float64)
    predicted = np.concatenate([z.argmax(0).ravel() for z in images])
    for c in np.unique(predicted):
        of_class = scores[predicted == c]
        if len(of_class) > 1:
            assert of_class.mean() == pytest.approx(0, abs=1e-4)
            assert of_class.var(ddof=1) == pytest.approx(1, rel=1e-4)


def test_parts_of_a_stream_add_up() -> None:
    images = [some_logits(i) for i in range(4)]
    whole = counted(*images)
    merged = counted(*images[:1]) + counted(*images[1:])
    for one, other in zip(whole.mean_and_std(), merged.mean_and_std(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    again = ClassStatistics.from_arrays(whole.arrays())
    np.testing.assert_array_equal(again.mean_and_std()[1], whole.mean_and_std()[1])


def test_a_class_that_is_never_predicted_has_the_statistics_of_all_pixels() -> None:
    z = some_logits(0)
    z[3] = -100
    means, stds = counted(z).mean_and_std()
    assert means[3] == pytest.approx(z.max(0).mean(), rel=1e-5)
    assert stds[3] == pytest.approx(z.max(0).std(ddof=1), rel=1e-5)
    assert np.isfinite(sml(some_logits(1), means, stds)).all()


def test_equal_logits_everywhere_are_usual() -> None:
    z = np.ones((3, 4, 5), np.float32)
    assert not sml(z, *counted(z).mean_and_std()).any()


def test_only_the_pixels_asked_for_are_counted() -> None:
    z, where = some_logits(0), np.zeros((9, 11), bool)
    where[2:5] = True
    statistics = ClassStatistics(4)
    statistics.update(z, where)
    means, stds = counted(z[:, 2:5]).mean_and_std()
    np.testing.assert_allclose(statistics.mean_and_std(), (means, stds))


def test_permuting_classes_with_their_statistics_changes_nothing() -> None:
    z, order = some_logits(0), [2, 0, 3, 1]
    means, stds = counted(z).mean_and_std()
    np.testing.assert_array_equal(sml(z[order], means[order], stds[order]), sml(z, means, stds))


def test_a_pixel_without_numbers_counts_nowhere_and_scores_nan() -> None:
    z, broken = some_logits(0), some_logits(0)
    broken[1, 3, 4] = np.nan
    where = np.ones((9, 11), bool)
    where[3, 4] = False
    expected = ClassStatistics(4)
    expected.update(z, where)
    np.testing.assert_array_equal(counted(broken).means, expected.means)
    score = sml(broken, *expected.mean_and_std())
    assert np.isnan(score[3, 4])
    assert np.isnan(score).sum() == 1


def test_statistics_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="classes must be at least 2"):
        ClassStatistics(1)
    with pytest.raises(ValueError, match="at least 2 pixels"):
        ClassStatistics(3).mean_and_std()
    with pytest.raises(ValueError, match="cannot add"):
        ClassStatistics(3) + ClassStatistics(4)
    with pytest.raises(ValueError, match=r"expected logits of shape \(4, H, W\)"):
        ClassStatistics(4).update(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="where must have shape"):
        ClassStatistics(3).update(np.zeros((3, 2, 2)), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="above 0"):
        sml(np.zeros((2, 1, 1)), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="counts, means and squares"):
        ClassStatistics.from_arrays({"counts": np.zeros(3)})


def test_borders_take_the_average_beside_them() -> None:
    labels = np.zeros((12, 20), np.uint8)
    labels[:, 10:] = 1
    score = np.where(np.abs(np.arange(20) - 9.5) < 2, 5.0, 1.0).astype(np.float32)
    score = np.tile(score, (12, 1))
    np.testing.assert_allclose(suppress_boundaries(score, labels), 1.0)
    flat = np.zeros_like(labels)
    np.testing.assert_array_equal(suppress_boundaries(score, flat), score)


def test_a_border_without_neighbours_keeps_its_scores() -> None:
    labels = (np.indices((6, 6)).sum(0) % 2).astype(np.uint8)
    score = np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)
    np.testing.assert_array_equal(suppress_boundaries(score, labels), score)
    with pytest.raises(ValueError, match="differ in shape"):
        suppress_boundaries(score, labels[:3])


def test_smoothing_keeps_constants_and_has_dilated_taps() -> None:
    np.testing.assert_allclose(smooth_dilated(np.full((40, 50), 3.0, np.float32)), 3, rtol=1e-6)
    point = np.zeros((61, 61), np.float32)
    point[30, 30] = 1
    spread = smooth_dilated(point)
    rows, cols = np.nonzero(spread > 1e-7)
    assert set(rows - 30) == set(cols - 30) == {-18, -12, -6, 0, 6, 12, 18}
    assert spread.sum() == pytest.approx(1, rel=1e-5)
    with pytest.raises(ValueError, match="odd"):
        smooth_dilated(point, size=6)


def test_the_smooth_score_has_the_authors_steps_at_full_size() -> None:
    z = some_logits(5)
    usual = counted(z).mean_and_std()
    labels = z.argmax(0).astype(np.uint8)
    expected = smooth_dilated(suppress_boundaries(sml(z, *usual), labels, 4, 4), 7, 1.0, 6)
    np.testing.assert_array_equal(sml_smooth(z, *usual, stride=1), expected)


def test_the_smooth_score_on_the_grid_spreads_a_point_as_far_in_pixels() -> None:
    z = np.zeros((2, 61, 61), np.float32)
    z[0] = 1.0
    z[0, 30, 30] = 0.5
    score = sml_smooth(z, np.ones(2), np.ones(2))  # 0.5 at the point, 0 elsewhere
    away = 4 * (np.arange(61) - 30)  # pixels
    profile = score.sum(axis=0)
    assert profile.sum() == pytest.approx(0.5, abs=1e-5)
    assert np.sqrt((profile * away**2).sum() / profile.sum()) == pytest.approx(6, rel=0.06)
    with pytest.raises(ValueError, match="stride"):
        sml_smooth(z, np.ones(2), np.ones(2), stride=0)


def test_the_smooth_score_takes_seams_from_beside_them() -> None:
    z = np.full((2, 40, 40), 0.0, np.float32)
    z[0, :, :20], z[1, :, 20:] = 5.0, 5.0
    z[0, :, 19], z[1, :, 20] = 1.0, 1.0  # unsure where the classes meet
    means, stds = np.full(2, 5.0), np.ones(2)
    assert sml(z, means, stds).max() == 4
    assert sml_smooth(z, means, stds).max() < 1e-6
