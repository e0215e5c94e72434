from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from owlabel_training.weak_shot.similarity import (
    SimNet,
    dist_loss,
    dist_values,
    sample_pairs,
    sim_loss,
    valid_pairs,
)


@pytest.fixture
def net() -> SimNet:
    torch.manual_seed(0)
    return SimNet(8)


def pixels(count: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 8, generator=generator),
        torch.randn(count, 8, generator=generator),
    )


def test_similarity_lies_between_0_and_1_and_is_not_symmetric(net: SimNet) -> None:
    first, second = pixels()
    there, back = net.eval()(first, second), net.eval()(second, first)
    assert there.shape == (6, 6)
    assert bool(((there > 0) & (there < 1)).all())
    assert not torch.allclose(there, back.T)


def test_each_pair_is_judged_on_its_own(net: SimNet) -> None:
    first, second = pixels()
    whole = net.eval()(first, second)
    torch.testing.assert_close(net(first[2:3], second[4:5])[0, 0], whole[2, 4])


def test_a_pair_is_valid_if_one_pixel_is_base() -> None:
    labels = torch.tensor([0, 1, 2, 255])
    expected = torch.ones(4, 4, dtype=torch.bool)
    expected[2:, 2:] = False
    assert valid_pairs(labels, labels, 2).equal(expected)


def test_sim_loss_trains_sim_net_only(net: SimNet) -> None:
    first, second = (p.requires_grad_() for p in pixels())
    labels = torch.tensor([0, 0, 1, 1, 255, 2])
    sim_loss(net, (first, second), (labels, labels), 2).backward()
    assert first.grad is None
    assert second.grad is None
    assert all(p.grad is not None for p in net.parameters())


def test_two_pixels_that_are_not_base_say_nothing(net: SimNet) -> None:
    labels = torch.tensor([2, 2, 255, 255, 2, 255])
    assert sim_loss(net, pixels(), (labels, labels), 2).item() == 0


def test_the_weight_of_a_class_is_the_share_of_the_other_over_25_iterations(net: SimNet) -> None:
    assert net.balance(1, 3) == (0.75, 0.25)
    assert net.balance(3, 1) == (0.5, 0.5)
    for _ in range(25):
        weights = net.balance(0, 4)
    assert weights == (1.0, 0.0)


def test_the_window_is_part_of_the_state(net: SimNet) -> None:
    net.balance(1, 3)
    other = SimNet(8)
    other.load_state_dict(net.state_dict())
    assert other.balance(3, 1) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("r", "s", "expected"),
    [(1, 1, -0.34657), (1, 0, 0), (0, 0, -0.34657), (0, 1, 0), (0.5, 0.3, 0)],
)
def test_cce_at_worked_points(r: float, s: float, expected: float) -> None:
    value = dist_values(torch.tensor(float(r)), torch.tensor(float(s)), "cce")
    assert float(value) == pytest.approx(expected, abs=5e-6)


@given(st.floats(0, 1), st.floats(0, 1))
def test_cce_is_bounded(r: float, s: float) -> None:
    value = float(dist_values(torch.tensor(r), torch.tensor(s), "cce"))
    assert -math.log(2) / 2 - 1e-6 <= value <= 1e-6


def test_ce_is_clamped_cross_entropy() -> None:
    value = dist_values(torch.tensor(1.0), torch.tensor(0.0), "ce")
    assert float(value) == pytest.approx(-0.99 * math.log(0.01) - 0.01 * math.log(0.99))
    with pytest.raises(ValueError, match="mse"):
        dist_values(torch.tensor(1.0), torch.tensor(0.0), "mse")  # type: ignore[arg-type]


def test_dist_loss_leaves_the_teacher_alone(net: SimNet) -> None:
    scores = tuple(torch.rand(6, 3, requires_grad=True) for _ in range(2))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    dist_loss(net, pixels(), (scores[0], scores[1]), "cce").backward()
    assert all(p.grad is None for p in net.parameters())
    assert all(s.grad is not None and bool((s.grad != 0).any()) for s in scores)
    assert all(before[key].equal(value) for key, value in net.state_dict().items())
    assert net.training


def test_four_fifths_of_the_pixels_lie_in_the_common_class() -> None:
    labels = (torch.tensor([0] * 30 + [1] * 30 + [255] * 30), torch.tensor([1] * 50 + [2] * 50))
    torch.manual_seed(0)
    places = sample_pairs(labels, 2, 50)
    assert places is not None
    for one, place in zip(labels, places, strict=True):
        assert int((one[place] == 1).sum()) == 40
        assert len(place) == 50


def test_without_a_common_class_any_base_region_will_do() -> None:
    labels = (torch.tensor([0, 0, 255, 255]), torch.tensor([1, 255, 255, 255]))
    places = sample_pairs(labels, 2, 10)
    assert places is not None
    assert [int((one[p] < 2).sum()) for one, p in zip(labels, places, strict=True)] == [8, 8]


def test_without_a_base_pixel_there_are_no_pairs() -> None:
    assert sample_pairs((torch.tensor([255, 2]), torch.tensor([0, 1])), 2, 4) is None


def test_no_pixel_is_sampled_where_nobody_knows() -> None:
    labels = torch.tensor([0, 253, 253, 255])
    places = sample_pairs((labels, labels), 1, 20)
    assert places is not None
    assert {int(i) for place in places for i in labels[place]} == {0, 255}
