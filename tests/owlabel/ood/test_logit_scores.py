"""Scores of logits: worked numbers, the textbook, invariances, limits."""

import math
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from owlabel.ood import logit_scores as scores
from owlabel.ood.prototype_scores import distance_sum, mmsp
from owlabel.ood.registry import SCORES, all_scores, available

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LOGITS = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=4),
    elements=st.floats(-60, 60, width=32),
)
INF = math.inf


def pixel(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None, None]  # (C, 1, 1)


def some_embedding(seed: int = 0, shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 1.5, shape)


def distances(embedding: np.ndarray, length: float = 3.0) -> np.ndarray:
    n = embedding.shape[0]
    away = embedding[None] - length * np.eye(n)[:, :, None, None]  # (N, N, H, W)
    return (away**2).sum(1)  # (N, H, W)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


@pytest.mark.parametrize("q", [2, 11, 16, 19])
def test_equal_logits_are_as_uncertain_as_can_be(q: int) -> None:
    logits = pixel(*[-math.log(q)] * q)
    assert scores.msp(logits).item() == pytest.approx(1 - 1 / q)
    assert scores.entropy(logits).item() == pytest.approx(1)
    assert scores.energy(logits).item() == pytest.approx(0, abs=1e-12)
    assert scores.energy(0 * logits).item() == pytest.approx(-math.log(q))


def test_a_worked_distribution() -> None:
    logits = np.log(pixel(0.7, 0.2, 0.1))
    assert scores.msp(logits).item() == pytest.approx(0.3)
    assert scores.entropy(logits).item() == pytest.approx(0.7298466992)
    assert scores.entropy(logits).item() * math.log(3) == pytest.approx(0.8018185525)


def test_a_worked_energy() -> None:
    assert scores.energy(pixel(2, 0, -1)).item() == pytest.approx(-2.1698460196)
    assert scores.max_logit(pixel(2, 0, -1)).item() == -2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_certain_pixel_scores_zero_even_where_p_underflows(dtype: type) -> None:
    logits = np.array([[[0.0]], [[-200.0]], [[-60000.0]]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scores.msp(logits).item() == pytest.approx(0, abs=1e-80)
        assert scores.entropy(logits).item() == pytest.approx(0, abs=1e-80)


def test_worked_margin_and_variation_ratio() -> None:
    logits = np.log(pixel(0.7, 0.2, 0.1))
    assert scores.margin(logits).item() == pytest.approx(0.5)
    assert scores.variation_ratio(logits).item() == pytest.approx(0.3)
    for q in (2, 11, 255):
        assert scores.margin(np.zeros((q, 1, 1))).item() == pytest.approx(1)
    certain = pixel(500, 0, 0).astype(np.float32)
    assert scores.margin(certain).item() == scores.variation_ratio(certain).item() == 0


@QUICK
@given(LOGITS)
def test_scores_are_finite_and_within_range(logits: np.ndarray) -> None:
    c = len(logits)
    for name in available({"metric head"}):
        score, values = SCORES[name], SCORES[name].of(logits, 3.0)
        assert values.shape == logits.shape[1:], name
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        if score.display is not None:
            assert values.min() >= 0
            assert values.max() <= 1 + 1e-6
    assert mmsp(logits).max() <= 1 - 1 / c + 1e-6


@QUICK
@given(LOGITS)
def test_scores_agree_with_the_textbook(logits: np.ndarray) -> None:
    z = logits.astype(np.float64)
    p = softmax(z)
    np.testing.assert_allclose(scores.msp(logits), 1 - p.max(0), atol=1e-6)
    textbook = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(0) / np.log(len(p))
    np.testing.assert_allclose(scores.entropy(logits), textbook, atol=2e-6)
    total = z.max(0) + np.log(np.exp(z - z.max(0)).sum(0))
    np.testing.assert_allclose(scores.energy(logits), -total, rtol=1e-6, atol=1e-5)
    sums = distances(z).sum(0)
    np.testing.assert_allclose(distance_sum(logits), sums, rtol=1e-5)


@QUICK
@given(LOGITS)
def test_the_margin_agrees_with_the_textbook(logits: np.ndarray) -> None:
    p = np.sort(softmax(logits.astype(np.float64)), axis=0)
    np.testing.assert_allclose(scores.margin(logits), 1 - p[-1] + p[-2], atol=3e-6)


@QUICK
@given(LOGITS, st.floats(-50, 50))
def test_a_constant_added_to_all_logits(logits: np.ndarray, constant: float) -> None:
    z = logits.astype(np.float64)
    np.testing.assert_allclose(scores.msp(z + constant), scores.msp(z), atol=1e-9)
    np.testing.assert_allclose(scores.entropy(z + constant), scores.entropy(z), atol=1e-9)
    np.testing.assert_allclose(scores.energy(z + constant), scores.energy(z) - constant, atol=1e-9)
    np.testing.assert_allclose(
        scores.max_logit(z + constant), scores.max_logit(z) - constant, atol=1e-9
    )


def test_msp_follows_from_energy_and_max_logit() -> None:
    z = some_embedding()
    got = np.exp(-scores.max_logit(z) + scores.energy(z))
    np.testing.assert_allclose(1 - scores.msp(z), got, rtol=1e-12)


def test_entropy_falls_with_the_scale_of_the_logits() -> None:
    z = some_embedding()
    assert scores.entropy(z * 1e-6).min() == pytest.approx(1)
    assert scores.entropy(z * 1e6).max() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("as_array", [np.array, torch.tensor])
@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ((INF, 0, 0), {"msp": 0, "entropy": 0, "margin": 0, "max_logit": -INF, "energy": -INF}),
        ((INF, INF, 0), {"msp": 0.5, "margin": 1, "energy": -INF}),
        ((1, 1, -INF), {"msp": 0.5, "margin": 1, "energy": -1 - math.log(2)}),
        ((2, -INF, -INF), {"msp": 0, "entropy": 0, "margin": 0, "energy": -2}),
        ((-INF,) * 3, {"msp": 2 / 3, "entropy": 1, "margin": 1, "max_logit": INF, "energy": INF}),
    ],
)
def test_infinite_logits_are_limits(logits: tuple, expected: dict, as_array: type) -> None:
    z = as_array(logits)[:, None, None]
    for name, value in expected.items():
        got = getattr(scores, name)(z).item()
        assert got == pytest.approx(value, rel=1e-6, abs=1e-12), name


def test_logits_far_apart_are_as_quick_as_others() -> None:
    near = some_embedding(0, (8, 300, 400)).astype(np.float32)
    far = near * 60  # powers below the normal numbers: a hundred times as slow if they were taken

    def quickest(f: np.ndarray) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            all_scores(f, 3.0, ["msp", "entropy", "energy"])
            times.append(time.process_time() - start)
        return min(times)

    assert quickest(far) < 5 * quickest(near)
