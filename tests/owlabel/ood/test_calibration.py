"""One scale per score and data set: order, false alarms, merging, storing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from owlabel.ood.calibration import LEVELS, Basis, Calibration, CalibrationSet, Calibrator
from owlabel.ood.registry import SCORES, all_scores, available
from owlabel.ood.standardized_logits import ClassStatistics

QUICK = settings(max_examples=40, deadline=None)
QUANTILES = arrays(np.float64, LEVELS.shape, elements=st.floats(-50, 50)).map(np.sort)


def embedding(seed: int, shape: tuple[int, int, int] = (4, 30, 40)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.7, 1.2, shape).astype(np.float32)


def calibrated(*images: np.ndarray) -> CalibrationSet:
    statistics = ClassStatistics(len(images[0]))
    for image in images:
        statistics.update(6 * image)
    counter = Calibrator(len(images[0]), 3.0, statistics)
    for image in images:
        counter.update(image)
    points = sum(image[0].size for image in images)
    return CalibrationSet(
        counter.quantiles(),
        counter.joint,
        statistics,
        "all",
        len(images),
        points,
        Basis(3, 1, "ab"),
    )


@QUICK
@given(QUANTILES, st.floats(-60, 60), st.floats(-60, 60))
def test_false_alarms_fall_with_the_threshold(
    quantiles: np.ndarray, one: float, other: float
) -> None:
    scale = Calibration.of("energy", quantiles)
    low, high = sorted((one, other))
    assert 1 >= scale.share_above(low) >= scale.share_above(high) >= 0
    assert scale.share_above(quantiles[-1]) == 0
    assert scale.share_above(np.nextafter(quantiles[0], -np.inf)) == 1
    assert scale.low < scale.high


@QUICK
@given(QUANTILES, st.floats(-0.5, 1.5))
def test_fraction_and_value_are_inverse_and_keep_the_order(
    quantiles: np.ndarray, fraction: float
) -> None:
    scale = Calibration.of("energy", quantiles)
    if scale.high - scale.low > 1e-3:
        assert scale.fraction(scale.value(fraction)) == pytest.approx(fraction, abs=1e-9)
    assert scale.value(fraction) < scale.value(fraction + 0.1)


@QUICK
@given(QUANTILES, st.floats(0, 1), st.floats(0, 1))
def test_cuts_rise_from_the_usual_score_to_the_strangest_thousandth(
    quantiles: np.ndarray, one: float, other: float
) -> None:
    scale, (low, high) = Calibration.of("energy", quantiles), sorted((one, other))
    assert scale.cut(0) == scale.low
    assert scale.cut(1) == pytest.approx(np.interp(0.999, LEVELS, quantiles))
    assert scale.cut(low) <= scale.cut(high)
    assert scale.share_above(scale.cut(high)) <= 0.5 * 0.002**high + 1e-9


def test_equal_steps_divide_the_false_alarms_of_every_score_alike() -> None:
    held = calibrated(*(embedding(i) for i in range(9)))
    for name in ("entropy", "energy", "margin", "sml"):
        scale = held.calibration(name)
        assert scale is not None
        assert scale.share_above(scale.cut(0.5)) == pytest.approx(0.5 * 0.002**0.5, rel=1e-3)


@QUICK
@given(st.integers(0, 1000), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_the_share_above_is_that_of_the_pixels_counted(seed: int, level: float) -> None:
    images = [embedding(seed), embedding(seed + 1)]
    held = calibrated(*images)
    for name in ("entropy", "energy", "max_logit", "margin"):
        values = np.concatenate([all_scores(f, 3.0, [name])[name].ravel() for f in images])
        cut = float(np.quantile(values, level))
        scale = held.calibration(name)
        assert scale is not None
        assert scale.share_above(cut) == pytest.approx((values > cut).mean(), abs=0.012), name


def test_a_usual_image_does_not_glow_and_a_strange_one_does() -> None:
    rng = np.random.default_rng(0)
    usual = np.zeros((3, 60, 60), np.float32)
    usual[rng.integers(0, 3, (60, 60)), np.arange(60)[:, None], np.arange(60)] = 3
    usual += rng.normal(0, 0.1, usual.shape).astype(np.float32)
    strange = usual.copy()
    strange[:, 20:30, 20:30] = 1
    held = calibrated(usual)
    for name in available({"metric head"}):
        if name in ("eds", "mixture"):
            continue  # relative to their own image
        scale = held.calibration(name)
        assert scale is not None
        shown = (all_scores(strange, 3.0, [name])[name] - scale.low) / (scale.high - scale.low)
        assert np.median(shown) <= 0.5, name
        assert shown[20:30, 20:30].min() > 1, name
        assert (all_scores(usual, 3.0, [name])[name] > scale.high).mean() <= 0.002, name


def test_every_score_of_an_embedding_has_a_scale_and_rpl_none_without_maps() -> None:
    held = calibrated(embedding(0))
    assert all(held.calibration(name) for name in available({"metric head", "statistics"}))
    assert held.calibration("rpl_energy") is None
    with pytest.raises(ValueError, match="no score 'edss'"):
        held.calibration("edss")


def test_scores_from_elsewhere_are_calibrated_too() -> None:
    counter = Calibrator(4)
    counter.update(embedding(0), residual=np.arange(1200.0).reshape(30, 40))
    assert counter.quantiles()["rpl_energy"][[0, -1]] == pytest.approx([0, 1199])


@pytest.mark.parametrize("norm", ["none", "minmax"])
@pytest.mark.parametrize(("beta", "gamma"), [(20.0, 0.8), (5.0, 0.3), (0.0, 0.5), (50.0, 1.0)])
def test_the_mixture_is_calibrated_for_any_settings(beta: float, gamma: float, norm: Any) -> None:
    f = embedding(3, (5, 80, 90))
    scale = calibrated(f).calibration("mixture", beta, gamma, norm)
    values = all_scores(f, 3.0, ["mixture"], beta, gamma, norm)["mixture"]
    assert scale is not None
    expected = np.quantile(values, [0.1, 0.5, 0.9, 0.99])
    got = np.interp([0.1, 0.5, 0.9, 0.99], LEVELS, scale.quantiles)
    np.testing.assert_allclose(got, expected, atol=0.02)


def test_parts_of_a_data_set_add_up() -> None:
    images = [embedding(i) for i in range(3)]
    whole, first, second = Calibrator(4), Calibrator(4), Calibrator(4)
    for image in images:
        whole.update(image)
    first.update(images[0])
    second.update(images[1])
    second.update(images[2])
    merged = first + second
    np.testing.assert_array_equal(merged.joint, whole.joint)
    for name, values in whole.quantiles().items():
        np.testing.assert_array_equal(merged.quantiles()[name], values)
    with pytest.raises(ValueError, match="different models"):
        first + Calibrator(5)


def test_only_the_pixels_asked_for_are_counted() -> None:
    f, where = embedding(0), np.zeros((30, 40), bool)
    where[:10] = True
    part, cut = Calibrator(4), Calibrator(4)
    part.update(f, where)
    cut.update(f[:, :10])
    np.testing.assert_array_equal(part.quantiles()["energy"], cut.quantiles()["energy"])


def test_a_constant_score_has_a_scale_on_which_nothing_glows() -> None:
    held = calibrated(np.ones((3, 8, 9), np.float32))
    for name in available({"metric head"}):
        scale = held.calibration(name)
        assert scale is not None
        assert scale.low < scale.high
        assert all_scores(np.ones((3, 8, 9), np.float32), 3.0, [name])[name].max() < scale.high


def test_pixels_that_are_no_numbers_are_left_out() -> None:
    f = embedding(0)
    f[1, 2, 3] = np.nan
    f[2, 5, 5] = np.inf
    for values in calibrated(f).quantiles.values():
        assert np.isfinite(values).all()


def test_what_is_stored_comes_back() -> None:
    held = calibrated(embedding(0), embedding(1))
    again = CalibrationSet.from_stored(held.arrays(), held.metadata())
    assert (again.source, again.images, again.points, again.basis) == ("all", 2, 2400, held.basis)
    for name in SCORES:
        one, other = held.calibration(name), again.calibration(name)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.low, one.high) == (other.low, other.high)


def test_what_is_stored_wrongly_is_refused() -> None:
    held = calibrated(embedding(0))
    with pytest.raises(ValueError, match="lacks 'joint'"):
        CalibrationSet.from_stored({**held.quantiles}, held.metadata())
    spoiled = {**held.arrays(), "quantiles.energy": np.zeros(3)}
    with pytest.raises(ValueError, match="expected 261 quantiles"):
        CalibrationSet.from_stored(spoiled, held.metadata())
    with pytest.raises(ValueError, match="must not fall"):
        Calibration.of("energy", -LEVELS)
    with pytest.raises(ValueError, match=r"expected shape \(4, h, w\)"):
        Calibrator(4).update(embedding(0, (3, 2, 2)))


@pytest.mark.parametrize(
    ("before", "now", "due"),
    [
        (Basis(), Basis(0), False),
        (Basis(), Basis(1), True),
        (Basis(10), Basis(19), False),
        (Basis(10), Basis(20), True),
        (Basis(80), Basis(100), True),  # all are there now
        (Basis(100), Basis(100), False),
        (Basis(100), Basis(100, 2), False),
        (Basis(100), Basis(100, 3), True),
        (Basis(100, 50), Basis(100, 59), False),
        (Basis(100, 50), Basis(100, 60), True),
        (Basis(100, 50), Basis(100, 40), True),  # reviews were taken back
        (Basis(100), Basis(100, 0, "ab"), True),
        (Basis(100), Basis(100, packages=frozenset({"theirs"})), True),
        (Basis(100, packages=frozenset({"theirs"})), Basis(100), False),
    ],
)
def test_when_a_calibration_is_made_again(before: Basis, now: Basis, due: bool) -> None:
    assert before.outgrown(now, total=100) == due
