from itertools import pairwise

import numpy as np
import pytest

from owlabel.arrays import embedding_grid
from owlabel.classes import VOID
from owlabel.novel import prototypes as fewshot
from owlabel.novel.prototypes import NovelPrototype

T = 3.0
MU = np.array([0.5, 0.75, 0.75])
TOY = {  # embedding: label of the base, labels with lambda 0.5, 1.5, 2, inf (9 = novel)
    (0.5, 0.75, 0.75): (1, 9, 9, 9, 9),
    (1.5, 0.5, 0.5): (0, 0, 9, 9, 9),
    (1.6, 0.4, 0.4): (0, 0, 9, 9, 9),
    (0.0, 0.0, 0.0): (0, 0, 9, 9, 9),
    (-1.0, 1.0, 1.0): (1, 1, 1, 1, 9),
    (2.5, 0.2, 0.2): (0, 0, 0, 0, 0),
}
LAMBDAS = (0.5, 1.5, 2.0, np.inf)


def _prototypes(*vectors: np.ndarray, first_id: int = 9) -> list[NovelPrototype]:
    return [NovelPrototype(first_id + i, v, 1) for i, v in enumerate(vectors)]


def _smooth(seed: int, n: int = 5, grid_shape=(12, 16), scale: float = 2.0) -> np.ndarray:
    """Embedding whose pixels lie near prototypes, near the origin and between."""
    coarse = np.random.default_rng(seed).normal(size=(n, 5, 6)) * scale
    return embedding_grid.upsample(coarse, grid_shape)


def _plain(embedding, base_map, prototypes, lambda_novel):
    """The rule with explicit distances at full size; also where it is not a matter of rounding."""
    f = embedding_grid.upsample(embedding, base_map.shape).astype(np.float64)
    old = [np.square(f - T * e[:, None, None]).sum(0) for e in np.eye(len(f))]
    novel = np.stack([np.square(f - p.vector[:, None, None]).sum(0) for p in prototypes])
    nearest, least = novel.argmin(0), novel.min(0)
    won = (least < lambda_novel) & (least < np.min(old, axis=0))
    ids = np.array([p.class_id for p in prototypes], np.uint8)
    two = np.sort(np.concatenate([novel, old]), axis=0)[:2]
    clear = (two[1] - two[0] > 1e-4) & (np.abs(least - lambda_novel) > 1e-4)
    return np.where(won, ids[nearest], base_map), clear


def test_the_prototype_is_the_mean_of_image_means() -> None:
    first = np.array([[[1, 1]], [[1, 0]], [[0, 1]]], np.float32)  # (3, 1, 2)
    second = np.array([[[0, 5]], [[1, 5]], [[1, 5]]], np.float32)
    means = [
        fewshot.image_mean(first, np.array([[True, True]])),
        fewshot.image_mean(second, np.array([[True, False]])),
    ]
    np.testing.assert_allclose(fewshot.novel_prototype(means), MU)


def test_the_image_mean_is_that_of_the_upsampled_embedding() -> None:
    embedding = _smooth(0)
    mask = np.random.default_rng(1).random((49, 61)) > 0.7
    mask[:9] = mask[:, 50:] = False
    expected = embedding_grid.upsample(embedding, (49, 61))[:, mask].mean(axis=1)
    np.testing.assert_allclose(fewshot.image_mean(embedding, mask), expected, atol=1e-5)


def test_a_duplicated_shot_changes_nothing() -> None:
    means = [np.array([1.0, 2.0]), np.array([3.0, 0.0])]
    twice = fewshot.novel_prototype(means * 2)
    np.testing.assert_array_equal(twice, fewshot.novel_prototype(means))


def test_an_empty_shot_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one annotated pixel"):
        fewshot.image_mean(_smooth(0), np.zeros((48, 64), bool))
    with pytest.raises(ValueError, match="at least one"):
        fewshot.novel_prototype([])


@pytest.mark.parametrize(("embedding", "expected"), TOY.items())
def test_toy_table(embedding, expected) -> None:
    point = np.array(embedding, np.float32)[:, None, None]  # (3, 1, 1)
    base = embedding_grid.argmax_upsampled(point, (1, 1))
    got = [fewshot.claim_novel(point, base, _prototypes(MU), lam)[0, 0] for lam in LAMBDAS]
    assert (base[0, 0], *got) == expected
    assert fewshot.claim_novel(point, base, _prototypes(MU), 0.0)[0, 0] == expected[0]


@pytest.mark.parametrize(("grid_shape", "shape"), [((12, 16), (48, 64)), ((12, 16), (41, 67))])
@pytest.mark.parametrize("lambda_novel", [0.3, 1.5, 4.0, np.inf])
@pytest.mark.parametrize("classes", [1, 3])
def test_claims_equal_explicit_distances(grid_shape, shape, lambda_novel, classes) -> None:
    embedding = _smooth(classes, grid_shape=grid_shape)
    rng = np.random.default_rng(classes)
    prototypes = _prototypes(*rng.uniform(-1, 1, (classes, 5)))
    base = embedding_grid.argmax_upsampled(embedding, shape)
    expected, clear = _plain(embedding, base, prototypes, lambda_novel)
    got = fewshot.claim_novel(embedding, base, prototypes, lambda_novel)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got[clear], expected[clear])
    assert lambda_novel < 1 or 0.001 < (got >= 9).mean() < 0.99


def test_the_claim_grows_with_lambda() -> None:
    embedding, base = _smooth(3), np.zeros((48, 64), np.uint8)
    claims = [
        fewshot.claim_novel(embedding, base, _prototypes(np.full(5, 0.4)), lam) == 9
        for lam in (0, 0.1, 0.5, 1, 1.5, 2, 3, 5, 8, np.inf)
    ]
    assert all((small <= large).all() for small, large in pairwise(claims))
    sizes = [claim.sum() for claim in claims]
    assert sizes[0] == 0
    assert len(set(sizes)) > 5


def test_claims_do_not_depend_on_the_order_of_the_classes() -> None:
    embedding, base = _smooth(4), np.zeros((48, 64), np.uint8)
    vector = np.full(5, 0.3)
    prototypes = _prototypes(vector, vector, np.full(5, -0.2))  # two classes at the same place
    one = fewshot.claim_novel(embedding, base, prototypes, 4.0)
    np.testing.assert_array_equal(one, fewshot.claim_novel(embedding, base, prototypes[::-1], 4.0))


def test_pixels_that_are_not_claimed_keep_their_label() -> None:
    embedding = _smooth(5)
    base = np.random.default_rng(0).integers(0, 253, (48, 64)).astype(np.uint8)
    before = base.copy()
    got = fewshot.claim_novel(embedding, base, _prototypes(np.full(5, 0.3), first_id=252), 2.0)
    assert ((got == before) | (got == 252)).all()
    np.testing.assert_array_equal(base, before)


def test_a_prototype_on_an_old_one_claims_nothing() -> None:
    base = np.zeros((48, 64), np.uint8)
    old = T * np.eye(5)[2]
    got = fewshot.claim_novel(_smooth(6, scale=4), base, _prototypes(old), np.inf)
    np.testing.assert_array_equal(got, base)


def test_pixels_like_the_prototype_are_claimed_for_every_lambda() -> None:
    embedding = np.broadcast_to(MU[:, None, None], (3, 4, 4)).astype(np.float32)
    base = np.ones((16, 16), np.uint8)
    got = fewshot.claim_novel(embedding, base, _prototypes(MU), 1e-3)
    assert (got == 9).all()


def test_a_claim_says_what_is_wrong_with_its_arguments() -> None:
    embedding, base = _smooth(0), np.zeros((48, 64), np.uint8)
    with pytest.raises(ValueError, match="-1"):
        fewshot.claim_novel(embedding, base, [], -1.0)
    with pytest.raises(ValueError, match=r"got \[9, 9\]"):
        fewshot.claim_novel(embedding, base, _prototypes(np.ones(5)) * 2)
    with pytest.raises(ValueError, match=r"got \(4,\)"):
        fewshot.claim_novel(embedding, base, _prototypes(np.ones(4)))


def test_plm_targets_put_the_shot_over_the_heads_over_the_base() -> None:
    base = np.zeros((2, 4), np.uint8)
    head, later = np.zeros((2, 2, 4), bool)
    shot, void = np.zeros((2, 2, 4), bool)
    head[0], later[0, 2:], shot[:, 3], void[1, :2] = True, True, True, True
    targets = fewshot.plm_targets(base, [(5, head), (6, later)], shot, 7, void)
    assert targets.tolist() == [[5, 5, 6, 7], [VOID, VOID, 0, 7]]
    assert not base.any()


def test_plm_targets_hold_no_void_unless_it_was_marked() -> None:
    base = np.random.default_rng(0).integers(0, 11, (9, 9)).astype(np.uint8)
    shot = base == 3
    targets = fewshot.plm_targets(base, [], shot, 11)
    assert (targets[shot] == 11).all()
    np.testing.assert_array_equal(targets[~shot], base[~shot])
    base[0, 0] = VOID
    with pytest.raises(ValueError, match="up to 255"):
        fewshot.plm_targets(base, [], shot, 11)


def test_plm_all_uses_only_the_newest_class_of_each_head() -> None:
    base = np.zeros((24, 32), np.uint8)
    heads = [(5, _smooth(1, n=6, grid_shape=(6, 8))), (6, _smooth(2, n=7, grid_shape=(6, 8)))]
    newest = [embedding_grid.argmax_upsampled(f, (24, 32)) == len(f) - 1 for _, f in heads]
    got = fewshot.overwrite_with_heads(base, heads, (24, 32))
    assert newest[0].any()
    assert (got[newest[1]] == 6).all()
    assert (got[newest[0] & ~newest[1]] == 5).all()
    np.testing.assert_array_equal(got[~newest[0] & ~newest[1]], 0)
