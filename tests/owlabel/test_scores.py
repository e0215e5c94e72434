import math
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from owlabel import scores
from owlabel.scores import OVERLAYS, SCORES

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LOGIT_SCORES = {
    "msp": scores.msp,
    "entropy": scores.entropy,
    "max_logit": scores.max_logit,
    "energy": scores.energy,
}
LOGITS = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=4),
    elements=st.floats(-60, 60, width=32),
)


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


# ---- closed-form values


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
    energy = SCORES["energy"].function
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


# ---- properties


@QUICK
@given(LOGITS)
def test_scores_are_finite_and_within_range(logits: np.ndarray) -> None:
    c = len(logits)
    for name, score in SCORES.items():
        values = score.function(logits, 3.0)
        assert values.shape == logits.shape[1:], name
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        if score.display is not None:
            assert values.min() >= 0
            assert values.max() <= 1 + 1e-6
    assert scores.mmsp(logits).max() <= 1 - 1 / c + 1e-6


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
    np.testing.assert_allclose(scores.distance_sum(logits), sums, rtol=1e-5)


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


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_the_classes_does_not_matter(name: str) -> None:
    f = some_embedding()
    score = SCORES[name].function
    np.testing.assert_allclose(score(f, 3.0), score(f[[3, 0, 4, 2, 1]], 3.0), atol=1e-12)


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


@pytest.mark.parametrize("name", SCORES)
def test_a_constant_embedding_has_no_anomaly_relative_to_itself(name: str) -> None:
    f = np.broadcast_to(np.float32([0.3, 1.7, -0.2])[:, None, None], (3, 40, 300))
    values = SCORES[name].function(f, 3.0)
    assert np.isfinite(values).all()
    assert np.ptp(values) == 0
    if name == "eds":
        assert not values.any()


# ---- arrays of every kind


@pytest.mark.parametrize("name", SCORES)
def test_torch_and_numpy_agree(name: str) -> None:
    f = some_embedding().astype(np.float32)
    from_torch = SCORES[name].function(torch.from_numpy(f), 3.0)
    assert isinstance(from_torch, torch.Tensor)
    assert from_torch.dtype == torch.float32
    np.testing.assert_allclose(from_torch.numpy(), SCORES[name].function(f, 3.0), atol=2e-6)


@pytest.mark.parametrize("name", SCORES)
def test_half_precision_is_computed_in_single(name: str) -> None:
    half = some_embedding().astype(np.float16)
    expected = SCORES[name].function(half.astype(np.float32), 3.0)
    np.testing.assert_array_equal(SCORES[name].function(half, 3.0), expected)
    got = SCORES[name].function(torch.from_numpy(half), 3.0)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 3, 20000), (3, 700, 33), (2, 0, 5)])
def test_blocks_leave_no_trace(shape: tuple[int, int, int]) -> None:
    f = some_embedding(1, shape).astype(np.float32)
    np.testing.assert_array_equal(scores.max_logit(f), -f.max(0))
    strided = np.asfortranarray(f)
    np.testing.assert_allclose(scores.entropy(strided), scores.entropy(f), atol=1e-6)


def test_all_scores_at_once_equal_each_alone() -> None:
    f = some_embedding(2, (11, 90, 120)).astype(np.float32)
    together = scores.all_scores(f)
    assert list(together) == list(SCORES)
    for name, values in together.items():
        np.testing.assert_allclose(values, SCORES[name].function(f, 3.0), atol=2e-5)
    assert list(scores.all_scores(f, names=["msp", "eds"])) == ["eds", "msp"]


def test_the_table_is_complete() -> None:
    expected = "eds eds_absolute mmsp mixture entropy energy msp variation_ratio margin max_logit"
    assert list(SCORES) == expected.split()
    assert list(OVERLAYS) == [*SCORES, "sml", "rpl_energy"]
    for name, score in OVERLAYS.items():
        assert score.name == name
        assert all([score.label, score.formula, score.range, score.source, score.need])


@pytest.mark.parametrize("name", ["sml", "rpl_energy"])
def test_a_score_that_needs_more_than_an_embedding_says_what(name: str) -> None:
    with pytest.raises(ValueError, match=OVERLAYS[name].need[:20]):
        OVERLAYS[name].function(some_embedding(), 3.0)


def test_scoring_does_not_import_torch() -> None:
    code = "import sys, owlabel.scores; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- errors


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (1, 2, 5, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for score in (*LOGIT_SCORES.values(), scores.mmsp, scores.distance_sum, scores.eds):
        with pytest.raises(ValueError, match="expected shape"):
            score(np.zeros(shape))


def test_settings_out_of_range_are_refused() -> None:
    f, flat = some_embedding(), np.zeros((6, 7))
    for length in (0.0, -1.0, math.nan, math.inf):
        for score in SCORES.values():
            with pytest.raises(ValueError, match="T must be"):
                score.function(f, length)
    with pytest.raises(ValueError, match="'median'"):
        scores.eds(f, mode="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beta"):
        scores.mixture(flat, flat, beta=-1)
    with pytest.raises(ValueError, match="gamma"):
        scores.mixture(flat, flat, gamma=1.1)
    with pytest.raises(ValueError, match="shape"):
        scores.mixture(flat, flat.T)
    with pytest.raises(ValueError, match="unknown scores"):
        scores.all_scores(f, names=["edss"])


# ---- margin and variation ratio


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
def test_the_margin_agrees_with_the_textbook(logits: np.ndarray) -> None:
    p = np.sort(softmax(logits.astype(np.float64)), axis=0)
    np.testing.assert_allclose(scores.margin(logits), 1 - p[-1] + p[-2], atol=3e-6)


# ---- many classes, and logits that are no finite numbers


@pytest.mark.parametrize("q", [2, 3, 255])
@pytest.mark.parametrize("name", SCORES)
def test_any_number_of_classes_in_any_order(name: str, q: int) -> None:
    f = some_embedding(3, (q, 5, 6)).astype(np.float32)
    order = np.random.default_rng(0).permutation(q)
    values = SCORES[name].function(f, 3.0)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(SCORES[name].function(f[order], 3.0), values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", SCORES)
def test_a_nan_stays_at_its_pixel(name: str, kind: str) -> None:
    f = some_embedding().astype(np.float32)
    spoiled = f.copy()
    spoiled[2, 3, 4] = np.nan
    given_in = spoiled if kind == "numpy" else torch.from_numpy(spoiled)
    values = np.asarray(SCORES[name].function(given_in, 3.0))
    assert np.isnan(values[3, 4])
    others = np.ones((6, 7), bool)
    others[3, 4] = False
    if name in ("eds", "mixture"):  # relative to the least and the largest of the other pixels
        f[:, 3, 4] = f[:, 0, 0]
    expected = np.asarray(SCORES[name].function(f, 3.0))
    np.testing.assert_allclose(values[others], expected[others], atol=1e-5)


INF = math.inf


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


@pytest.mark.parametrize("value", [INF, -INF, 1e30])
def test_an_embedding_at_infinity_is_far_from_everything(value: float) -> None:
    f = some_embedding().astype(np.float32)
    f[1, 0, 0] = value
    assert scores.distance_sum(f)[0, 0] > 1e30
    assert scores.eds(f)[0, 0] == 0
    assert scores.eds(f, mode="absolute")[0, 0] == 0
    assert np.isfinite(scores.eds(f)).all()


def test_the_pass_for_several_scores_keeps_the_limits() -> None:
    z = np.array([[[INF, 1, -INF]], [[0, -INF, -INF]], [[0, 1, -INF]]], np.float32)
    found = scores.all_scores(z, 0.5, ["msp", "entropy", "energy", "max_logit", "margin"])
    for name, values in found.items():
        np.testing.assert_allclose(values, getattr(scores, name)(z), rtol=1e-6, err_msg=name)


def test_logits_far_apart_are_as_quick_as_others() -> None:
    near = some_embedding(0, (8, 300, 400)).astype(np.float32)
    far = near * 60  # powers below the normal numbers: a hundred times as slow if they were taken

    def quickest(f: np.ndarray) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            scores.all_scores(f, 3.0, ["msp", "entropy", "energy"])
            times.append(time.process_time() - start)
        return min(times)

    assert quickest(far) < 5 * quickest(near)


def test_beta_and_gamma_reach_the_mixture() -> None:
    f = some_embedding()
    mixed = scores.all_scores(f, names=["eds", "mmsp", "mixture"], beta=5, gamma=0.3)
    expected = scores.mixture(mixed["eds"], mixed["mmsp"], 5, 0.3)
    np.testing.assert_allclose(mixed["mixture"], expected)
