"""The classifier of false segments, its evaluation, and its reasons in words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owlabel.evaluation.segments import predicted_segments, segment_errors
from owlabel.ood.explanation import explain
from owlabel.ood.meta_classifier import MetaClassifier, leave_groups_out, leave_one_out, quality
from owlabel.ood.segment_features import feature_names

COLUMNS = feature_names(2)


def toy(rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features in which false segments are small and certain."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, len(COLUMNS)))
    false = np.arange(rows) % 2 == 0
    values[:, COLUMNS.index("S")] = np.where(false, 10, 1000) + rng.normal(size=rows)
    values[:, COLUMNS.index("E")] = np.where(false, 0.2, 0.8)
    return values, false


def test_a_separable_set_is_told_apart_without_an_error() -> None:
    values, false = toy()
    model = MetaClassifier.fit(values, false, COLUMNS)
    np.testing.assert_array_equal(model.probability_false(values) > 0.5, false)
    for held_out in (leave_one_out(values, false), leave_groups_out(values, false, range(40), 5)):
        assert quality(held_out, false)["auroc"] == 1
        np.testing.assert_array_equal(held_out > 0.5, false)


@pytest.mark.parametrize("kind", [True, False])
def test_with_one_class_only_everything_is_kept(kind: bool) -> None:
    values, _ = toy(6)
    one = np.full(6, kind)
    model = MetaClassifier.fit(values, one, COLUMNS)
    assert model.keeps_all
    for kept in (
        model.probability_false(values),
        leave_one_out(values, one),
        leave_groups_out(values, one, [0, 0, 1, 1, 2, 2]),
    ):
        np.testing.assert_array_equal(kept, 0)


def test_without_rows_everything_is_kept() -> None:
    model = MetaClassifier.fit(np.zeros((0, len(COLUMNS))), np.zeros(0, bool), COLUMNS)
    assert model.probability_false(toy(3)[0]).tolist() == [0, 0, 0]


def test_it_is_the_logistic_regression_of_the_released_code() -> None:
    from sklearn.linear_model import LogisticRegression

    values, false = toy(30, seed=3)
    values[:, COLUMNS.index("S")] = np.random.default_rng(1).normal(size=30)  # not separable
    scaled = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-10)
    theirs = LogisticRegression(solver="liblinear").fit(scaled, false)
    ours = MetaClassifier.fit(values, false, COLUMNS).probability_false(values)
    np.testing.assert_allclose(ours, theirs.predict_proba(scaled)[:, 1], atol=1e-12)


def test_the_held_out_image_is_unknown_to_its_own_fit() -> None:
    values, false = toy()
    groups = [i // 4 for i in range(40)]
    before = leave_groups_out(values, false, groups)
    values[:4, COLUMNS.index("S")] = [10, 1000, 10, 1000]
    changed = values.copy()
    changed[3] *= 1e6  # an outlier in the held-out image changes no other row of it
    after = leave_groups_out(changed, false, groups)
    np.testing.assert_allclose(before[:3], after[:3], atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 12))
def test_contributions_add_up_to_the_log_odds(seed: int, rows: int) -> None:
    values, false = toy(2 * rows, seed)
    model = MetaClassifier.fit(values, false, COLUMNS)
    p = model.probability_false(values)
    total = model.contributions(values).sum(axis=1) + model.intercept
    assert np.all((p >= 0) & (p <= 1))
    np.testing.assert_allclose(1 / (1 + np.exp(-total)), p, atol=1e-12)


def test_it_survives_json_and_nothing_else_is_taken() -> None:
    values, false = toy()
    model = MetaClassifier.fit(values, false, COLUMNS)
    again = MetaClassifier.from_json(json.loads(json.dumps(model.to_json())))
    np.testing.assert_array_equal(again.probability_false(values), model.probability_false(values))
    for damage in ({"mean": [1]}, {"coefficients": ["x"] * len(COLUMNS)}, {"columns": None}):
        with pytest.raises(ValueError, match="stored classifier"):
            MetaClassifier.from_json(model.to_json() | damage)


def test_a_rare_feature_does_not_decide_alone_when_all_candidates_standardise() -> None:
    values, false = toy(12)
    rare = COLUMNS.index("p0")
    values[:, rare] = 1e-6 * np.arange(12)
    others = np.random.default_rng(5).uniform(size=(200, len(COLUMNS)))
    narrow = MetaClassifier.fit(values, false, COLUMNS)
    wide = MetaClassifier.fit(values, false, COLUMNS, population=np.concatenate([values, others]))
    assert abs(narrow.contributions(others)[:, rare]).max() > 100
    assert abs(wide.contributions(others)[:, rare]).max() < 1


def test_quality_without_both_kinds_is_nan() -> None:
    assert math.isnan(quality(np.array([0.2, 0.9]), np.array([True, True]))["auroc"])


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda v, f: MetaClassifier.fit(v[:, :3], f, COLUMNS), "shape"),
        (lambda v, f: MetaClassifier.fit(v * np.nan, f, COLUMNS), "finite"),
        (lambda v, f: leave_groups_out(v, f, [1]), "same length"),
        (lambda v, f: leave_groups_out(v, f, range(40), 1), "folds"),
    ],
)
def test_bad_input_is_refused(act, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        act(*toy())


def test_dropping_nothing_changes_nothing_and_dropping_everything_misses_everything() -> None:
    score = np.zeros((20, 30))
    score[2:6, 2:6] = score[10:12, 10:12] = score[15:18, 20:28] = 1
    truth = np.zeros((20, 30), np.uint8)
    truth[3:5, 3:5] = truth[0:2, 25:28] = 1
    segments, _ = predicted_segments(score, truth, 0.5)
    kept = segment_errors(segments, truth)
    assert (kept.false, kept.missed, kept.objects) == (2, 1, 2)
    dropped = segment_errors(np.zeros_like(segments), truth)
    assert (dropped.false, dropped.missed, dropped.epsilon) == (0, 2, 0)


def test_reasons_are_words_people_understand() -> None:
    values, false = toy()
    near = COLUMNS.index("N1")
    values[:, near] = np.where(false, 0.9, 0.1)
    model = MetaClassifier.fit(values, false, COLUMNS)
    small, large = (explain(model, values[i], {0: "road", 1: "sky"}, [0, 1]) for i in (0, 1))
    assert {"small", "rather certain", "mostly next to sky"} <= {r.words for r in small.false}
    assert {"large", "unusually uncertain"} <= {r.words for r in large.real}
    assert small.probability_false > 0.5 > large.probability_false
    weights = [r.weight for r in small.false]
    assert weights == sorted(weights, reverse=True)
