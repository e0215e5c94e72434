"""The table of scores: every score by its name, several in one pass, arrays of every kind."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from owlabel.ood import logit_scores, prototype_scores, terms
from owlabel.ood.registry import SCORES, all_scores, available
from owlabel.ood.standardized_logits import sml
from owlabel.ood.terms import Pixels, Terms

LOGIT_SCORES = {
    "msp": logit_scores.msp,
    "entropy": logit_scores.entropy,
    "max_logit": logit_scores.max_logit,
    "energy": logit_scores.energy,
}
INF = math.inf
EMBEDDING = available({"metric head"})


def some_embedding(seed: int = 0, shape: tuple[int, int, int] = (5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 1.5, shape)


@pytest.mark.parametrize("name", EMBEDDING)
def test_the_order_of_the_classes_does_not_matter(name: str) -> None:
    f = some_embedding()
    score = SCORES[name].of
    np.testing.assert_allclose(score(f, 3.0), score(f[[3, 0, 4, 2, 1]], 3.0), atol=1e-12)


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_constant_embedding_has_no_anomaly_relative_to_itself(name: str) -> None:
    f = np.broadcast_to(np.float32([0.3, 1.7, -0.2])[:, None, None], (3, 40, 300))
    values = SCORES[name].of(f, 3.0)
    assert np.isfinite(values).all()
    assert np.ptp(values) == 0
    if name == "eds":
        assert not values.any()


@pytest.mark.parametrize("name", EMBEDDING)
def test_torch_and_numpy_agree(name: str) -> None:
    f = some_embedding().astype(np.float32)
    from_torch = SCORES[name].of(torch.from_numpy(f), 3.0)
    assert isinstance(from_torch, torch.Tensor)
    assert from_torch.dtype == torch.float32
    np.testing.assert_allclose(from_torch.numpy(), SCORES[name].of(f, 3.0), atol=2e-6)


@pytest.mark.parametrize("name", EMBEDDING)
def test_half_precision_is_computed_in_single(name: str) -> None:
    half = some_embedding().astype(np.float16)
    expected = SCORES[name].of(half.astype(np.float32), 3.0)
    np.testing.assert_array_equal(SCORES[name].of(half, 3.0), expected)
    got = SCORES[name].of(torch.from_numpy(half), 3.0)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 3, 20000), (3, 700, 33), (2, 0, 5)])
def test_blocks_leave_no_trace(shape: tuple[int, int, int]) -> None:
    f = some_embedding(1, shape).astype(np.float32)
    np.testing.assert_array_equal(logit_scores.max_logit(f), -f.max(0))
    strided = np.asfortranarray(f)
    np.testing.assert_allclose(logit_scores.entropy(strided), logit_scores.entropy(f), atol=1e-6)


def test_all_scores_at_once_equal_each_alone() -> None:
    f = some_embedding(2, (11, 90, 120)).astype(np.float32)
    together = all_scores(f)
    assert list(together) == EMBEDDING
    for name, values in together.items():
        np.testing.assert_allclose(values, SCORES[name].of(f, 3.0), atol=2e-5)
    assert list(all_scores(f, names=["msp", "eds"])) == ["eds", "msp"]


def test_the_table_is_complete() -> None:
    expected = "eds eds_absolute mmsp mixture entropy energy msp variation_ratio margin max_logit"
    assert expected.split() == EMBEDDING
    assert list(SCORES) == [*EMBEDDING, "sml", "sml_smooth", "rpl_energy"]
    for name, score in SCORES.items():
        assert score.name == name
        assert all([score.title, score.formula, score.range, score.source, score.need])


def test_terms_that_come_late_are_the_same() -> None:
    f = some_embedding(4, (5, 200, 300)).astype(np.float32)
    early, late = Terms(f), Terms(f)
    early.prepare([terms.margin, terms.distance_sum, terms.energy])
    for formula in (terms.energy, terms.margin, terms.distance_sum):
        np.testing.assert_allclose(
            late.pixelwise(formula), early.pixelwise(formula), rtol=1e-5, atol=1e-6
        )

    def backwards(pixels: Pixels) -> np.ndarray:
        values = pixels.softmax.peak - 0.5 * pixels.distance_sum
        return np.asarray(values + pixels.with_second.second)

    expected = -early.pixelwise(terms.max_logit) - 0.5 * early.pixelwise(terms.distance_sum)
    ratio = np.sort(6 * f, axis=0)[-2:]
    expected = expected + np.exp(ratio[0] - ratio[1])
    np.testing.assert_allclose(late.pixelwise(backwards), expected, rtol=1e-4, atol=1e-4)


def test_scores_of_the_data_set_come_with_the_others() -> None:
    f = some_embedding(5).astype(np.float32)
    usual = np.arange(5.0), np.arange(1.0, 6.0)
    energy = np.ones((6, 7), np.float32)
    maps = all_scores(f, statistics=usual, residual=energy)
    assert list(maps) == list(SCORES)
    np.testing.assert_array_equal(maps["sml"], sml(6 * f, *usual))
    assert maps["rpl_energy"] is energy
    assert maps["msp"] is maps["mmsp"] is maps["variation_ratio"]
    assert {s.twin for s in SCORES.values() if s.twin} == {"msp"}


@pytest.mark.parametrize("name", ["sml", "sml_smooth", "rpl_energy"])
def test_a_score_that_needs_more_than_an_embedding_says_what(name: str) -> None:
    with pytest.raises(ValueError, match=SCORES[name].need[:20]):
        SCORES[name].of(some_embedding(), 3.0)


def test_scoring_does_not_import_torch() -> None:
    code = "import sys, owlabel.ood.registry; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (1, 2, 5, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for score in (
        *LOGIT_SCORES.values(),
        prototype_scores.mmsp,
        prototype_scores.distance_sum,
        prototype_scores.eds,
    ):
        with pytest.raises(ValueError, match="expected shape"):
            score(np.zeros(shape))


def test_settings_out_of_range_are_refused() -> None:
    f, flat = some_embedding(), np.zeros((6, 7))
    for length in (0.0, -1.0, math.nan, math.inf):
        for name in EMBEDDING:
            with pytest.raises(ValueError, match="T must be"):
                SCORES[name].of(f, length)
    with pytest.raises(ValueError, match="'median'"):
        prototype_scores.eds(f, mode="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beta"):
        prototype_scores.mixture(flat, flat, beta=-1)
    with pytest.raises(ValueError, match="gamma"):
        prototype_scores.mixture(flat, flat, gamma=1.1)
    with pytest.raises(ValueError, match="shape"):
        prototype_scores.mixture(flat, flat.T)
    with pytest.raises(ValueError, match="unknown score 'edss'"):
        all_scores(f, names=["edss"])


@pytest.mark.parametrize("q", [2, 3, 255])
@pytest.mark.parametrize("name", EMBEDDING)
def test_any_number_of_classes_in_any_order(name: str, q: int) -> None:
    f = some_embedding(3, (q, 5, 6)).astype(np.float32)
    order = np.random.default_rng(0).permutation(q)
    values = SCORES[name].of(f, 3.0)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(SCORES[name].of(f[order], 3.0), values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", EMBEDDING)
def test_a_nan_stays_at_its_pixel(name: str, kind: str) -> None:
    f = some_embedding().astype(np.float32)
    spoiled = f.copy()
    spoiled[2, 3, 4] = np.nan
    given_in = spoiled if kind == "numpy" else torch.from_numpy(spoiled)
    values = np.asarray(SCORES[name].of(given_in, 3.0))
    assert np.isnan(values[3, 4])
    others = np.ones((6, 7), bool)
    others[3, 4] = False
    if name in ("eds", "mixture"):  # relative to the least and the largest of the other pixels
        f[:, 3, 4] = f[:, 0, 0]
    expected = np.asarray(SCORES[name].of(f, 3.0))
    np.testing.assert_allclose(values[others], expected[others], atol=1e-5)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_nan_in_a_constant_image_is_no_zero(kind: str) -> None:
    f = np.ones((3, 4, 5), np.float32)
    f[1, 2, 3] = np.nan
    values = np.asarray(prototype_scores.eds(f if kind == "numpy" else torch.from_numpy(f)))
    assert np.isnan(values[2, 3])
    assert np.nansum(values) == 0
    assert values.dtype == np.float32


def test_the_pass_for_several_scores_keeps_the_limits() -> None:
    z = np.array([[[INF, 1, -INF]], [[0, -INF, -INF]], [[0, 1, -INF]]], np.float32)
    found = all_scores(z, 0.5, ["msp", "entropy", "energy", "max_logit", "margin"])
    for name, values in found.items():
        np.testing.assert_allclose(values, getattr(logit_scores, name)(z), rtol=1e-6, err_msg=name)
