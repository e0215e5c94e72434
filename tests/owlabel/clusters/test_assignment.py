from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from owlabel.clusters.assignment import Clusters, fit, nearest, outlier_limits, unit_length
from owlabel.clusters.auxiliary_settings import AuxiliarySettings
from owlabel.clusters.handmade import handmade_features
from owlabel.clusters.label_maps import AuxiliaryMap, assigned, label_image, sample_pixels
from owlabel.clusters.superpixels import superpixels, vote

THREE = AuxiliarySettings(classes=2, samples=1000, superpixels=20)
FEW = settings(max_examples=40, deadline=None)


def bunches(n: int = 100, seed: int = 0) -> np.ndarray:
    """Three directions with a little noise, (3 n, 4)."""
    rng = np.random.default_rng(seed)
    centres = np.eye(4)[:3].repeat(n, axis=0)
    return (centres + rng.normal(0, 0.05, centres.shape)) * rng.uniform(0.5, 9, (3 * n, 1))


def street(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.zeros((60, 84, 3), np.uint8)
    image[:20], image[20:40], image[40:] = (80, 150, 230), (40, 140, 50), (120, 110, 110)
    return (image + rng.integers(0, 12, image.shape)).astype(np.uint8)


def test_k_is_one_and_a_half_times_m_a_half_rounded_up() -> None:
    assert [AuxiliarySettings(classes=m).clusters for m in (2, 10, 11, 19)] == [3, 15, 17, 29]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": 200}, "2 .. 254 clusters, got 200 x 1.5"),
        ({"classes": 100, "samples": 100}, "samples must be at least 150"),
        ({"samples": 2_000_000}, "samples must be .* 1,000,000, got 2000000"),
        ({"extractor": "magic"}, "got 'magic'"),
        ({"extractor": "imagenet"}, "needs the path"),
        ({"algorithm": "guess"}, "got 'guess'"),
        ({"outliers": 1.0}, "outliers must be at least 0 and less than 1"),
        ({"superpixels": -1}, "superpixels must be at least 0"),
        ({"eps": -1.0}, "eps must be at least 0"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AuxiliarySettings(**changes)  # type: ignore[arg-type]


def test_the_key_follows_settings_and_extractor_but_not_the_path_of_a_file() -> None:
    one = AuxiliarySettings(extractor="model", weights="a.safetensors")
    assert one.key("x") == one.replace(weights="b.safetensors").key("x")
    assert len({one.key("x"), one.key("y"), one.replace(seed=1).key("x")}) == 3


@pytest.mark.parametrize(("algorithm", "eps"), [("kmeans", 0.0), ("dbscan", 0.2), ("dbscan", 0.0)])
def test_bunches_are_told_apart_whatever_their_length(algorithm: str, eps: float) -> None:
    found = fit(bunches(), THREE.replace(algorithm=algorithm, outliers=0.0, eps=eps))
    labels = found.assign(bunches(seed=1)).reshape(3, -1)
    assert len(found) == 3
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0])) == 3


def test_the_same_seed_gives_the_same_clusters() -> None:
    one, two = fit(bunches(), THREE), fit(bunches(), THREE)
    assert np.array_equal(one.centres, two.centres)
    assert np.array_equal(one.limits, two.limits)


@FEW
@given(
    st.integers(1, 6), st.floats(0, 0.4), st.integers(0, 99), st.integers(30, 400)
)  # fmt: skip
def test_the_share_of_outliers_of_each_cluster_is_right_up_to_rounding(
    k: int, share: float, seed: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    labels, distances = rng.integers(0, k, n), rng.permutation(n).astype(np.float32)
    limits = outlier_limits(labels, distances, k, share)
    for one in range(k):
        own = distances[labels == one]
        assert abs((own > limits[one]).sum() - share * own.size) <= 0.5 + 1e-6 or own.size == 1


def test_labels_are_clusters_or_removed_and_chunks_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, found = bunches(), fit(bunches(), THREE.replace(outliers=0.1))
    whole = found.assign(features)
    assert set(whole) <= {0, 1, 2, 255}
    assert 0.05 < (whole == 255).mean() < 0.15
    monkeypatch.setattr("owlabel.clusters.assignment.CHUNK", 7)
    assert np.array_equal(found.assign(features), whole)


def test_nearest_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    features, centres = rng.normal(size=(50, 5)), rng.normal(size=(4, 5))
    plain = np.linalg.norm(features[:, None] - centres, axis=2)
    labels, distances = nearest(features.astype(np.float32), centres.astype(np.float32))
    assert np.array_equal(labels, plain.argmin(axis=1))
    np.testing.assert_allclose(distances, plain.min(axis=1), rtol=1e-4)


def test_features_have_length_one_and_zero_stays_zero() -> None:
    made = unit_length(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_too_few_or_equal_samples_and_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot fit 3 clusters to 2 sampled pixels"):
        fit(bunches()[:2], THREE)
    with pytest.raises(ValueError, match="only 1 different features"):
        fit(np.ones((50, 4)), THREE)
    with pytest.raises(ValueError, match="finite"):
        fit(np.full((50, 4), np.nan), THREE)
    with pytest.raises(ValueError, match="choose another eps"):
        fit(bunches(), THREE.replace(algorithm="dbscan", eps=1e-9))


# -- superpixels -------------------------------------------------------------------------------

maps = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255]))
parts_of = hnp.arrays(np.int32, (6, 7), elements=st.integers(0, 8))


@FEW
@given(maps, parts_of)
def test_voting_is_idempotent_and_removes_nothing_more(
    labels: np.ndarray, parts: np.ndarray
) -> None:
    once, share = vote(labels, parts, 3)
    again, _ = vote(once, parts, 3)
    assert np.array_equal(once, again)
    assert (once == 255).sum() <= (labels == 255).sum()
    assert set(np.unique(once)) <= {0, 1, 2, 255}
    assert ((share >= 0) & (share <= 1)).all()


@FEW
@given(maps)
def test_one_superpixel_per_pixel_changes_nothing_and_one_per_image_is_constant(
    labels: np.ndarray,
) -> None:
    each = np.arange(42, dtype=np.int32).reshape(6, 7)
    assert np.array_equal(vote(labels, each, 3)[0], labels)
    assert len(np.unique(vote(labels, np.zeros((6, 7), np.int32), 3)[0])) == 1


def test_of_equal_counts_the_lowest_label_wins() -> None:
    labels = np.array([[2, 1, 255, 255]], np.uint8)
    parts = np.array([[0, 0, 0, 1]], np.int32)
    voted, share = vote(labels, parts, 3)
    assert voted.tolist() == [[1, 1, 1, 255]]
    np.testing.assert_allclose(share, [[1 / 3, 1 / 3, 1 / 3, 0]], rtol=1e-6)


def test_voting_refuses_other_shapes_and_labels() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        vote(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.int32), 3)
    with pytest.raises(ValueError, match=r"0 \.\. 2, got 7"):
        vote(np.full((2, 2), 7, np.uint8), np.zeros((2, 2), np.int32), 3)


def test_superpixels_are_numbered_from_zero() -> None:
    parts = superpixels(street(), 20)
    assert np.array_equal(np.unique(parts), np.arange(parts.max() + 1))
    assert 5 < parts.max() < 60


# -- an image ----------------------------------------------------------------------------------


def test_handmade_features_are_finite_bounded_and_tell_the_parts_apart() -> None:
    features = handmade_features(street())
    assert features.shape == (24, 15, 21)
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 3
    found = fit(sample_pixels(features, 300, np.random.default_rng(0)), THREE)
    made = label_image(features, street(), found, THREE)
    assert made.labels.shape == (60, 84)
    rows = [np.bincount(made.labels[r], minlength=256).argmax() for r in (8, 30, 52)]
    assert len(set(rows)) == 3


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (37, 5, 3)])
def test_images_of_any_size_have_features(shape: tuple[int, int, int]) -> None:
    assert np.isfinite(handmade_features(np.full(shape, 90, np.uint8))).all()


def test_a_grey_array_has_no_features() -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        handmade_features(np.zeros((4, 4), np.uint8))


def test_stripes_do_not_change_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    features = handmade_features(street())
    found = fit(sample_pixels(features, 300, np.random.default_rng(0)), THREE)
    whole = assigned(features, (60, 84), found)
    monkeypatch.setattr("owlabel.clusters.label_maps.STRIPE", 24 * 84 * 7)
    assert np.array_equal(assigned(features, (60, 84), found), whole)


def test_a_map_is_kept_as_png_and_comes_back() -> None:
    labels = np.array([[0, 1], [254, 255]], np.uint8)
    made = AuxiliaryMap(labels, np.array([[0, 1], [0.2, 0.4]], np.float32))
    back = AuxiliaryMap.from_arrays(made.arrays())
    assert np.array_equal(back.labels, labels)
    np.testing.assert_allclose(back.share, made.share, atol=1e-6)
    with pytest.raises(ValueError, match="not a PNG file"):
        AuxiliaryMap.from_arrays({"labels": np.zeros(9, np.uint8), "share": np.zeros(9, np.uint8)})


def test_clusters_without_limits_remove_nothing() -> None:
    found = Clusters(np.eye(3, dtype=np.float32), np.full(3, np.inf, np.float32))
    assert (found.assign(np.eye(3, dtype=np.float32)) == [0, 1, 2]).all()
