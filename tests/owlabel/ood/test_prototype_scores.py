"""Scores of a metric head: worked numbers, closed forms, the mixture."""

import math

import numpy as np
import pytest

from owlabel.ood import prototype_scores as scores
from owlabel.ood.registry import SCORES, all_scores

INF = math.inf


def pixel(*values: float) -> np.ndarray:
    return np.array(values, np.float64)[:, None, None]  # (C, 1, 1)


def prototype(n: int, length: float = 3.0) -> np.ndarray:
    return pixel(length, *[0.0] * (n - 1))


def midway(n: int) -> np.ndarray:
    return pixel(1.5, 1.5, *[0.0] * (n - 2))


def some_embedding(seed: int = 0, shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 1.5, shape)


def distances(embedding: np.ndarray, length: float = 3.0) -> np.ndarray:
    n = embedding.shape[0]
    away = embedding[None] - length * np.eye(n)[:, :, None, None]  # (N, N, H, W)
    return (away**2).sum(1)  # (N, H, W)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


@pytest.mark.parametrize(
    ("n", "on_prototype", "origin", "centroid", "between"),
    [(13, 216, 117, 108, 157.5), (16, 270, 144, 135, 198), (11, 180, 99, 90, 130.5),
     (3, 36, 27, 18, 22.5)],
)  # fmt: skip
def test_worked_distance_sums(
    n: int, on_prototype: float, origin: float, centroid: float, between: float
) -> None:
    assert scores.distance_sum(prototype(n)).item() == pytest.approx(on_prototype)
    assert scores.distance_sum(0 * prototype(n)).item() == pytest.approx(origin)
    assert scores.distance_sum(pixel(*[3 / n] * n)).item() == pytest.approx(centroid)
    assert scores.distance_sum(midway(n)).item() == pytest.approx(between)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_worked_mmsp_values(dtype: type) -> None:
    at = scores.mmsp(prototype(13).astype(dtype)).item()
    assert at == pytest.approx(1.83e-7, rel=2e-3)
    assert -math.log1p(-at) == pytest.approx(1.8276e-7, rel=1e-4)  # the DCE loss there
    assert scores.mmsp(midway(13).astype(dtype)).item() == pytest.approx(0.50034, abs=1e-5)
    origin = scores.mmsp(0 * prototype(13).astype(dtype)).item()
    assert origin == pytest.approx(0.92308, abs=1e-5)
    assert -math.log(1 - origin) == pytest.approx(math.log(13), rel=1e-5)  # the DCE loss there


@pytest.mark.parametrize(("length", "largest"), [(1, 0.381), (2, 0.996), (3, 0.9999998)])
def test_the_prototype_length_is_a_temperature(length: float, largest: float) -> None:
    reached = 1 - scores.mmsp(prototype(13, length), length).item()
    assert reached == pytest.approx(largest, abs=10.0 ** -len(str(largest).split(".")[1]))
    assert reached == pytest.approx(1 / (1 + 12 * math.exp(-2 * length**2)))


def test_worked_absolute_eds_values() -> None:
    def absolute(embedding: np.ndarray) -> float:
        return float(scores.eds(embedding, mode="absolute").item())

    assert absolute(prototype(13)) == pytest.approx(0)
    assert absolute(pixel(*[3 / 13] * 13)) == pytest.approx(1)
    assert absolute(0 * prototype(13)) == pytest.approx(0.9167, abs=1e-4)
    assert absolute(0 * prototype(11)) == pytest.approx(0.9)
    assert absolute(midway(13)) == pytest.approx(0.5417, abs=1e-4)
    assert absolute(10 * prototype(13)) == 0


def test_worked_energies_of_the_metric_head() -> None:
    energy = SCORES["energy"].of
    assert energy(prototype(13), 3.0).item() == pytest.approx(-18.0)
    assert energy(0 * prototype(13), 3.0).item() == pytest.approx(-2.565, abs=1e-3)


@pytest.mark.parametrize(
    ("eds", "beta", "gamma", "weight"),
    [(0.8, 20, 0.8, 0.5), (1, 20, 0.8, 0.982014), (0.5, 20, 0.8, 0.002473), (0, 20, 0.8, 1.125e-7),
     (0.9, 50, 0.9, 0.5), (0.9, 5, 0.8, 0.622459)],
)  # fmt: skip
def test_worked_mixture_weights(eds: float, beta: float, gamma: float, weight: float) -> None:
    for dtype in (np.float32, np.float64):
        got = scores.mixture_weight(np.array([eds], dtype), beta, gamma).item()
        assert got == pytest.approx(weight, rel=4e-4)


@pytest.mark.parametrize(
    ("eds", "mmsp", "mixed"), [(0.95, 0.3, 0.919173), (0.5, 0.02, 0.021187), (0.8, 0.2, 0.5)]
)
def test_worked_mixtures(eds: float, mmsp: float, mixed: float) -> None:
    assert scores.mixture(np.array([eds]), np.array([mmsp])).item() == pytest.approx(mixed, 1e-5)


def test_limits_of_the_mixture() -> None:
    eds, mmsp = np.array([0.9, 0.7]), np.array([0.1, 0.4])
    np.testing.assert_allclose(scores.mixture(eds, mmsp, beta=1e9), [0.9, 0.4])
    np.testing.assert_allclose(scores.mixture(eds, mmsp, beta=0), [0.5, 0.55])


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_closed_forms_of_the_metric_head(length: float) -> None:
    f = some_embedding()
    d = distances(f, length)
    assert (d.argmin(0) == f.argmax(0)).all()
    np.testing.assert_allclose(softmax(-d), softmax(2 * length * f), atol=1e-12)
    np.testing.assert_allclose(scores.mmsp(f, length), 1 - softmax(-d).max(0), atol=1e-12)
    np.testing.assert_allclose(scores.distance_sum(f, length), d.sum(0), rtol=1e-12)


def test_distances_first_gives_no_less_than_features_first() -> None:
    f = some_embedding()
    halves = (f[:, :, 1:] + f[:, :, :-1]) / 2  # bilinear, half-way between neighbours
    sums = scores.distance_sum(f)
    distance_first = (sums[:, 1:] + sums[:, :-1]) / 2
    assert (distance_first >= scores.distance_sum(halves) - 1e-9).all()
    edge = np.concatenate([prototype(13), prototype(13)[::-1]], axis=2)
    assert scores.distance_sum(edge).mean() == pytest.approx(216)
    assert scores.distance_sum(edge.mean(2, keepdims=True)).item() == pytest.approx(157.5)


def test_the_mixture_lies_between_its_parts() -> None:
    f = some_embedding()
    eds, mmsp = scores.eds(f), scores.mmsp(f)
    mixed = scores.mixture(eds, mmsp)
    assert (mixed >= np.minimum(eds, mmsp) - 1e-12).all()
    assert (mixed <= np.maximum(eds, mmsp) + 1e-12).all()


def test_minmax_eds_spans_the_image_and_turns_the_order_of_the_sums() -> None:
    f = some_embedding()
    eds = scores.eds(f, clip=False)
    assert eds.min() == 0
    assert eds.max() == 1
    assert (np.argsort(eds.ravel()) == np.argsort(-scores.distance_sum(f).ravel())).all()


def test_the_clip_keeps_one_far_pixel_from_washing_out_the_others() -> None:
    row = [prototype(13), midway(13), 0 * prototype(13), 100 * prototype(13)]
    f = np.concatenate(row, axis=2)
    lowest, limit = 117.0, 1.85 * 216
    assert limit == pytest.approx(400, abs=0.5)
    expected = (limit - np.array([[216, 157.5, 117, limit]])) / (limit - lowest)
    np.testing.assert_allclose(scores.eds(f), expected, atol=1e-12)
    assert scores.eds(f, clip=False)[0, :3].min() > 0.99


@pytest.mark.parametrize("value", [INF, -INF, 1e30])
def test_an_embedding_at_infinity_is_far_from_everything(value: float) -> None:
    f = some_embedding().astype(np.float32)
    f[1, 0, 0] = value
    assert scores.distance_sum(f)[0, 0] > 1e30
    assert scores.eds(f)[0, 0] == 0
    assert scores.eds(f, mode="absolute")[0, 0] == 0
    assert np.isfinite(scores.eds(f)).all()


def test_beta_and_gamma_reach_the_mixture() -> None:
    f = some_embedding()
    mixed = all_scores(f, names=["eds", "mmsp", "mixture"], beta=5, gamma=0.3)
    expected = scores.mixture(mixed["eds"], mixed["mmsp"], 5, 0.3)
    np.testing.assert_allclose(mixed["mixture"], expected)


def test_mmsp_spread_over_the_image_as_in_the_released_code() -> None:
    eds, mmsp = np.array([[0.95, 0.5, 0.8]]), np.array([[0.3, 0.02, 0.2]])
    spread = (mmsp - 0.02) / 0.28  # 1, 0, 0.642857
    expected = scores.mixture(eds, spread)
    np.testing.assert_allclose(scores.mixture(eds, mmsp, mmsp_norm="minmax"), expected)
    assert expected[0, 2] == pytest.approx(0.5 * (0.8 + 0.6428571), abs=1e-6)
    flat = scores.mixture(eds, np.full((1, 3), 0.2), mmsp_norm="minmax")
    np.testing.assert_allclose(flat, scores.mixture(eds, np.zeros((1, 3))))


def test_mmsp_norm_reaches_the_pass_for_several_scores() -> None:
    f = some_embedding(3, (5, 8, 9))
    expected = scores.mixture(scores.eds(f), scores.mmsp(f), mmsp_norm="minmax")
    found = all_scores(f, names=["mixture"], mmsp_norm="minmax")["mixture"]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    with pytest.raises(ValueError, match='"none" or "minmax"'):
        scores.mixture(f[0], f[0], mmsp_norm="max")
