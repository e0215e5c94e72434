"""Features of segments: worked numbers, agreement with a plain loop, and what must always hold."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.segment_search import compiler, search_features
from benchmarks.segments import THRESHOLD, label, plain_features
from owlabel.ood import candidates
from owlabel.ood import logit_scores as scores
from owlabel.ood import segment_features as segments
from owlabel.ood.segment_features import feature_names, probability_entropy, segment_features


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def random_p(shape: tuple[int, int], q: int = 3, seed: int = 0) -> np.ndarray:
    return softmax(3 * np.random.default_rng(seed).standard_normal((q, *shape)))


def block(shape: tuple[int, int], rows: slice, cols: slice) -> np.ndarray:
    mask = np.zeros(shape, np.int32)
    mask[rows, cols] = 1
    return mask


@pytest.mark.parametrize(("q", "columns"), [(2, 12), (11, 30), (16, 40), (19, 46)])
def test_there_are_2q_and_8_features(q: int, columns: int) -> None:
    table = segment_features(random_p((5, 6), q), block((5, 6), slice(1, 3), slice(1, 4)))
    assert table.values.shape == (1, columns)
    assert len(table.columns) == len(set(table.columns)) == columns
    assert len(feature_names(q, extended=True)) == 2 * q + 37


def test_a_block_inside_an_image() -> None:
    segment = block((6, 7), slice(1, 4), slice(2, 6))
    table = segment_features(random_p((6, 7)), segment, extended=True)
    row = dict(zip(table.columns, table.values[0], strict=True))
    assert (row["S"], row["S_in"], row["S_bd"]) == (12, 2, 10)
    assert (row["S_rel"], row["S_rel_in"]) == (1.2, 0.2)
    assert (row["C_h"], row["C_w"]) == (2.0, 3.5)
    assert neighbours(segment) == 18


def neighbours(segment: np.ndarray) -> int:
    """Count neighbour pixels through the shares: only one of the pixels is of class 1."""
    p = np.zeros((2, *segment.shape))
    p[0] = 1
    touching = np.argwhere(plain_touch(segment))
    if not len(touching):
        return 0
    p[:, *touching[0]] = (0, 1)
    share = segment_features(p, segment)["N1"][0]
    return round(1 / share)


def plain_touch(segment: np.ndarray) -> np.ndarray:
    padded = np.pad(segment > 0, 1)
    h, w = segment.shape
    grown = np.logical_or.reduce([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)])
    return grown & (segment == 0)


def test_a_block_in_the_corner_has_the_edge_of_the_image_as_boundary() -> None:
    segment = block((6, 7), slice(0, 3), slice(0, 4))
    table = segment_features(random_p((6, 7)), segment, extended=True)
    assert (table["S_in"][0], table["S_bd"][0]) == (2, 10)
    assert (table["C_h"][0], table["C_w"][0]) == (1.0, 1.5)
    assert neighbours(segment) == 8


def test_one_pixel() -> None:
    segment = block((5, 5), slice(2, 3), slice(3, 4))
    table = segment_features(random_p((5, 5)), segment, extended=True)
    expected = {"S": 1, "S_bd": 1, "S_in": 0, "S_rel": 1, "S_rel_in": 0, "E_var": 0, "E_in": 0}
    assert {name: table[name][0] for name in expected} == expected
    assert neighbours(segment) == 8


def test_a_segment_that_fills_the_image_has_no_neighbours() -> None:
    table = segment_features(random_p((3, 3)), np.ones((3, 3), np.int32), extended=True)
    assert table["S_bd"][0] == 8
    assert [table[f"N{j}"][0] for j in range(3)] == [0, 0, 0]


def test_three_diagonal_pixels_are_one_segment() -> None:
    assert candidates.segments(np.eye(3), 0.5).max() == 1


def test_entropy_variation_and_margin_of_one_pixel() -> None:
    p = np.array([0.7, 0.2, 0.1])[:, None, None]
    table = segment_features(p, np.ones((1, 1), int))
    assert table["E"][0] == pytest.approx(0.7298466992, abs=1e-9)
    assert (table["V"][0], table["M"][0]) == pytest.approx((0.3, 0.5))
    certain = segment_features(np.array([1.0, 0, 0])[:, None, None], np.ones((1, 1), int))
    assert [certain[name][0] for name in "EVM"] == [0, 0, 0]


def test_entropy_is_the_one_of_the_scores() -> None:
    z = np.random.default_rng(1).normal(size=(5, 40, 30)).astype(np.float32)
    np.testing.assert_allclose(probability_entropy(softmax(z)), scores.entropy(z), atol=2e-6)


label_maps = st.tuples(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(2, 5)
)


def scene(drawn: tuple[int, int, int, int], ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Any label map, segments that touch included, and probabilities."""
    h, w, seed, q = drawn
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, ids + 1, (h, w))
    labels = np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(h, w)
    return softmax(4 * rng.standard_normal((q, h, w))), labels.astype(np.int32)


@settings(max_examples=60, deadline=None)
@given(label_maps, st.integers(0, 6), st.booleans())
def test_it_agrees_with_a_plain_loop(drawn: tuple[int, int, int, int], ids: int, ext: bool) -> None:
    p, labels = scene(drawn, ids)
    table = segment_features(p, labels, ext)
    np.testing.assert_allclose(table.values, plain_features(p, labels, ext), atol=1e-12)


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_compiled_search_of_the_bench_finds_the_same() -> None:
    p = random_p((30, 40), 4).astype(np.float32)
    table = segment_features(p, label(probability_entropy(p)), extended=True)
    searched = search_features(np.ascontiguousarray(p.transpose(1, 2, 0)), THRESHOLD)
    near = [i for i, name in enumerate(table.columns) if name[0] == "N"]  # contacts, not pixels
    np.testing.assert_allclose(
        np.delete(searched, near, 1), np.delete(table.values, near, 1), rtol=1e-4, atol=1e-4
    )


def test_sixty_thousand_segments_in_little_memory() -> None:
    labels = np.zeros((480, 1000), np.int32)
    labels[::2, ::4] = np.arange(1, 60001).reshape(240, 250)
    p = random_p((480, 1000), 19).astype(np.float32)
    tracemalloc.start()
    segment_features(p, labels, extended=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 80 * 2**20


@pytest.mark.parametrize("rows", [1, 37, 400])
def test_blocks_do_not_show(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    p, labels = scene((40, 37, 3, 4), 1)
    labels = candidates.segments(labels, 0.5)
    whole = segment_features(p, labels, extended=True)
    monkeypatch.setattr(segments, "_ROWS_PIXELS", rows)
    monkeypatch.setattr(segments, "_BLOCK_PIXELS", rows)
    np.testing.assert_allclose(segment_features(p, labels, True).values, whole.values, atol=1e-12)
    np.testing.assert_array_equal(probability_entropy(p)[:1], probability_entropy(p[:, :1]))


@settings(max_examples=40, deadline=None)
@given(label_maps, st.integers(1, 4))
def test_what_must_always_hold(drawn: tuple[int, int, int, int], ids: int) -> None:
    p, labels = scene(drawn, ids)
    q, table = len(p), segment_features(p.astype(np.float32), labels)
    np.testing.assert_allclose(sum(table[f"p{j}"] for j in range(q)), 1, atol=1e-5)
    near = sum(table[f"N{j}"] for j in range(q))
    assert np.all((np.abs(near - 1) < 1e-9) | (near == 0))
    for name in "EVM":
        assert np.all((table[name] >= 0) & (table[name] <= 1))
    assert np.all(table["V"] <= table["M"] + 1e-12)
    assert table["S"].sum() == np.count_nonzero(labels)


@settings(max_examples=25, deadline=None)
@given(label_maps, st.integers(1, 4))
def test_a_transposed_image_swaps_the_centre_only(
    drawn: tuple[int, int, int, int], ids: int
) -> None:
    p, labels = scene(drawn, ids)
    one = segment_features(p, labels, True)
    other = segment_features(p.transpose(0, 2, 1), labels.T, True)
    swap = {"C_h": "C_w", "C_w": "C_h"}
    for name in one.columns:
        np.testing.assert_allclose(one[name], other[swap.get(name, name)], atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(label_maps, st.integers(1, 4))
def test_permuted_classes_permute_their_columns(drawn: tuple[int, int, int, int], ids: int) -> None:
    p, labels = scene(drawn, ids)
    order = np.random.default_rng(drawn[2]).permutation(len(p))
    one, other = segment_features(p, labels), segment_features(p[order], labels)
    for new, old in enumerate(order):
        for kind in "pN":
            np.testing.assert_allclose(other[f"{kind}{new}"], one[f"{kind}{old}"], atol=1e-12)
    for name in ("E", "V", "M", "S", "S_rel", "S_rel_in", "C_h", "C_w"):
        np.testing.assert_allclose(other[name], one[name], atol=1e-12)


def test_variances_keep_their_digits_in_a_large_segment_of_nearly_equal_pixels() -> None:
    rng = np.random.default_rng(0)
    p = np.full((2, 300, 400), 0.5) + 1e-4 * rng.standard_normal((1, 300, 400))
    p[1] = 1 - p[0]
    single = p.astype(np.float32)
    ours = segment_features(single, np.ones((300, 400), np.int32), True)
    truth = np.var(1 - single.max(axis=0).astype(np.float64))
    assert ours["V_var"][0] == pytest.approx(truth, rel=1e-6)


def test_sixty_thousand_segments() -> None:
    labels = np.zeros((600, 800), np.int32)
    labels[::2, ::4] = np.arange(1, 60001).reshape(300, 200)
    table = segment_features(random_p((600, 800), 2), labels)
    assert len(table) == 60000
    assert table["C_w"][59_999] == 796


@pytest.mark.parametrize("count", [32_767, 32_768])
def test_ids_of_two_sizes(count: int) -> None:
    labels = np.zeros((400, 400), np.int64)
    corners = labels[::2, ::2].size
    labels[::2, ::2] = np.arange(1, corners + 1).reshape(200, 200)
    labels[labels > count] = 0
    labels[1::2, 1::2][labels[::2, ::2] == count] = 1  # two pixels of one, next to the last
    p = random_p((400, 400), 2)
    table = segment_features(p, labels, extended=True)
    assert table["S"].sum() == count + 1
    row, col = divmod(count - 1, 200)
    touched = p[:, max(2 * row - 1, 0) : 2 * row + 2, max(2 * col - 1, 0) : 2 * col + 2]
    ones = (touched.argmax(axis=0) == 1).sum() - (p[:, 2 * row, 2 * col].argmax() == 1)
    assert table["N1"][-1] == pytest.approx(ones / (touched[0].size - 1))
    np.testing.assert_allclose(table["V"][-1], 1 - p[:, 2 * row, 2 * col].max(), rtol=1e-12)


@pytest.mark.parametrize("extended", [False, True])
def test_an_entropy_at_hand_changes_nothing(extended: bool) -> None:
    p = random_p((40, 50), 4).astype(np.float32)
    entropy = probability_entropy(p)
    labels = label(entropy)
    with_it = segment_features(p, labels, extended, entropy).values
    np.testing.assert_array_equal(with_it, segment_features(p, labels, extended).values)
    assert not np.array_equal(with_it, segment_features(p, labels, extended, entropy / 2).values)
    with pytest.raises(ValueError, match=r"entropy must have shape \(40, 50\), got \(50, 40\)"):
        segment_features(p, labels, extended, entropy.T)


def test_nothing_gives_an_empty_table() -> None:
    assert segment_features(random_p((4, 5)), np.zeros((4, 5), int)).values.shape == (0, 14)


@pytest.mark.parametrize(
    ("p", "labels", "words"),
    [
        (np.ones((1, 2, 2)), np.ones((2, 2), int), "q >= 2"),
        (np.ones((2, 2, 2)), np.ones((2, 3), int), r"shape \(2, 2\)"),
        (np.ones((2, 2, 2)), np.ones((2, 2)), "integers"),
        (np.ones((2, 2, 2)), np.full((2, 2), -1), "at least 0"),
        (np.ones((2, 2, 2)), np.full((2, 2), 2), "1 has no pixel"),
        (np.full((2, 2, 2), np.nan), np.ones((2, 2), int), "NaN"),
    ],
)
def test_bad_input_is_refused(p: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        segment_features(p, labels)
