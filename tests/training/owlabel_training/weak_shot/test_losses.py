from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from owlabel_training.weak_shot.losses import (
    IGNORE_LOGIT,
    Targets,
    cls_loss,
    comp_loss,
    complement,
    dice_loss,
    focal_loss,
    mask_loss,
    targets_of,
)
from owlabel_training.weak_shot.matching import match, matching_cost

NONE = torch.zeros(0, dtype=torch.int64)


def targets(labels: list[list[int]], novel: tuple[int, ...] = (), n_base: int = 2) -> Targets:
    return targets_of(torch.tensor(labels), n_base, torch.tensor(novel, dtype=torch.int64))


def pairs(*found: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    both = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def test_focal_and_dice_of_zero_logits() -> None:
    half = torch.tensor([[[1.0, 1, 0, 0]]])
    assert float(focal_loss(torch.zeros(1, 1, 4), half)) == pytest.approx(0.0866434, abs=5e-8)
    assert float(dice_loss(torch.zeros(1, 1, 4), half)) == pytest.approx(0.4)


def test_the_weighted_mean_of_cls_loss_divides_by_the_weights() -> None:
    logits = torch.tensor([[[2.0, 0, 0], [0, 0, 1], [0, 0, 1]]])
    one = targets([[0, 0]])
    assert float(cls_loss(logits, [one], [pairs((0, 0))])) == pytest.approx(0.2915281, abs=5e-8)


def worked_comp() -> tuple[torch.Tensor, Targets]:
    """Six pixels: base on the first two, padding on the last; two novel proposals."""
    logits = torch.full((1, 3, 1, 6), -5.0)
    logits[0, 1, 0, 2] = logits[0, 2, 0, 3] = 5
    padding = torch.tensor([[False] * 5 + [True]])
    mask = torch.tensor([[[True, True, False, False, False, False]]])
    return logits, Targets(
        torch.tensor([0]), mask, torch.tensor([2, 3]), padding, ~padding & padding
    )


def test_the_worked_comp_loss() -> None:
    logits, target = worked_comp()
    pred, wanted = complement(logits[0, 1:], target)
    low = IGNORE_LOGIT
    assert pred[0, 0].tolist() == pytest.approx([low, low, 5, 5, low, low])
    assert wanted[0, 0].tolist() == [0, 0, 1, 1, 1, 0]
    assert float(focal_loss(pred, wanted)) == pytest.approx(0.1126983, abs=5e-8)
    assert float(dice_loss(pred, wanted)) == pytest.approx(0.1799673, abs=5e-8)
    found = pairs((0, 0), (1, 1), (2, 2))
    assert float(comp_loss(logits, [target], [found])) == pytest.approx(2.4339333, abs=5e-7)


def test_comp_loss_is_zero_without_novel_tags() -> None:
    logits = torch.randn(1, 3, 2, 2)
    assert float(comp_loss(logits, [targets([[0, 255], [1, 255]])], [pairs((0, 0))])) == 0


def test_without_a_base_mask_everything_is_novel() -> None:
    _, wanted = complement(torch.zeros(1, 2, 2), targets([[255, 255], [255, 255]], (2,)))
    assert bool((wanted == 1).all())


@given(st.integers(0, 1), st.floats(0.1, 3))
def test_novel_proposals_are_punished_inside_base_masks_only(column: int, more: float) -> None:
    target = targets([[0, 255]], (2,))
    logits = torch.full((1, 1, 1, 2), -1.0)
    before = float(comp_loss(logits, [target], [pairs((0, 1))]))
    logits[0, 0, 0, column] += more
    after = float(comp_loss(logits, [target], [pairs((0, 1))]))
    assert after > before if column == 0 else after < before


def test_a_novel_proposal_below_the_floor_changes_nothing() -> None:
    logits, target = worked_comp()
    both, _ = complement(torch.cat([logits[0, 1:], torch.full((1, 1, 6), -2.95)]), target)
    assert both.equal(complement(logits[0, 1:], target)[0])


def test_an_image_of_which_nobody_knows_anything_costs_nothing() -> None:
    logits = torch.randn(1, 2, 1, 2)
    assert float(comp_loss(logits, [targets([[253, 253]], (2,))], [pairs((0, 0))])) == 0


def test_mask_loss_divides_by_base_masks_and_ignores_novel_proposals() -> None:
    logits = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    target = targets([[0, 0], [1, 255]], (2,))
    found = pairs((0, 0), (1, 1), (2, 2))
    wanted = target.masks.float()
    expected = (20 * focal_loss(logits[0, :2], wanted) + dice_loss(logits[0, :2], wanted)).sum() / 2
    torch.testing.assert_close(mask_loss(logits, [target], [found]), expected)
    logits[0, 2] += 3
    torch.testing.assert_close(mask_loss(logits, [target], [found]), expected)


def test_a_batch_without_base_masks_is_finite() -> None:
    logits = torch.randn(1, 3, 2, 2)
    target = targets([[255, 255], [255, 255]], (2,))
    assert float(mask_loss(logits, [target], [pairs((0, 0))])) == 0
    assert math.isfinite(float(comp_loss(logits, [target], [pairs((0, 0))])))


def test_a_novel_class_has_no_mask_cost() -> None:
    torch.manual_seed(0)
    classes, masks = torch.randn(5, 4), torch.randn(5, 2, 2)
    target = targets([[0, 0], [1, 255]], (2,))
    cost = matching_cost(classes, masks, target)
    torch.testing.assert_close(cost[:, 2], -classes.softmax(dim=1)[:, 2])
    moved = matching_cost(classes, masks + 3, target)
    torch.testing.assert_close(moved[:, 2], cost[:, 2])
    assert not torch.isclose(moved[:, :2], cost[:, :2]).any()


def test_the_cost_of_a_base_class_is_its_losses() -> None:
    torch.manual_seed(0)
    classes, masks = torch.randn(5, 3), torch.randn(5, 2, 2)
    target = targets([[0, 0], [1, 255]])
    wanted = target.masks[0].float().expand(5, 2, 2)
    expected = 20 * focal_loss(masks, wanted) + dice_loss(masks, wanted)
    expected = expected - classes.softmax(dim=1)[:, 0]
    torch.testing.assert_close(matching_cost(classes, masks, target)[:, 0], expected)


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2))
def test_matching_pairs_are_distinct_and_as_many_as_possible(q: int, t: int, v: int) -> None:
    labels = torch.tensor([[*range(t), 255]])
    target = targets_of(labels, t, torch.arange(t, t + v))
    proposals, found = match(torch.randn(q, t + v + 1), torch.randn(q, 1, t + 1), target)
    assert len(proposals) == min(q, t + v)
    assert len(set(proposals.tolist())) == len(set(found.tolist())) == len(proposals)


def test_nothing_is_said_of_a_class_that_nobody_spoke_of() -> None:
    logits = torch.randn(1, 2, 4)
    unknown = torch.tensor([False, False, True, False])
    target = targets_of(torch.tensor([[0, 0]]), 2, NONE, unknown)
    before = cls_loss(logits, [target], [pairs((0, 0))])
    logits[0, :, 2] += 5
    torch.testing.assert_close(cls_loss(logits, [target], [pairs((0, 0))]), before)


def test_no_loss_looks_where_nobody_knows() -> None:
    torch.manual_seed(0)
    target = targets([[0, 1, 253], [0, 255, 253]], (2,))
    logits, classes = torch.randn(1, 4, 2, 3), torch.randn(4, 4)
    found = pairs((0, 0), (1, 1), (2, 2))

    def told() -> list[torch.Tensor]:
        return [
            mask_loss(logits, [target], [found]),
            comp_loss(logits, [target], [found]),
            matching_cost(classes, logits[0], target),
        ]

    before = told()
    logits[..., 2] += 4
    for one, other in zip(before, told(), strict=True):
        torch.testing.assert_close(one, other)
