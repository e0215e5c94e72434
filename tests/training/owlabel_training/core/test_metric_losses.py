from __future__ import annotations

import math

import pytest
import torch

from owlabel_training.core.metric_losses import dce_loss, hybrid_loss, variance_loss

N, T = 13, 3.0


def constant(vector: torch.Tensor) -> torch.Tensor:
    return vector.double().view(1, -1, 1, 1).expand(1, len(vector), 2, 3)


def random_case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)
    return embedding, torch.randint(0, 4, (2, 5, 6), generator=generator)


def test_dce_on_a_prototype_and_at_the_origin() -> None:
    target = torch.full((1, 2, 3), 4)
    at_prototype = dce_loss(constant(T * torch.eye(N)[4]), target, T)
    assert float(at_prototype) == pytest.approx(1.8276e-7, rel=1e-4)
    assert float(dce_loss(constant(torch.zeros(N)), target, T)) == pytest.approx(math.log(N))


def test_dce_is_cross_entropy_on_minus_the_squared_distances() -> None:
    embedding, target = random_case()
    prototypes = T * torch.eye(4, dtype=torch.float64)
    distance = (embedding.unsqueeze(1) - prototypes.view(1, 4, 4, 1, 1)).square().sum(2)
    expected = torch.nn.functional.cross_entropy(-distance, target)
    torch.testing.assert_close(dce_loss(embedding, target, T), expected)


def test_variance_loss_is_the_mean_squared_distance_to_the_own_prototype() -> None:
    embedding, target = random_case()
    own = (T * torch.eye(4, dtype=torch.float64))[target].permute(0, 3, 1, 2)
    expected = (embedding - own).square().sum(1).mean()
    torch.testing.assert_close(variance_loss(embedding, target, T), expected)


def test_the_gradient_of_the_variance_loss() -> None:
    embedding, target = random_case()
    embedding.requires_grad_()
    variance_loss(embedding, target, T).backward()
    own = (T * torch.eye(4, dtype=torch.float64))[target].permute(0, 3, 1, 2)
    torch.testing.assert_close(embedding.grad, 2 * (embedding.detach() - own) / target.numel())


@pytest.mark.parametrize("loss", [dce_loss, variance_loss, hybrid_loss])
@pytest.mark.parametrize("ignored", [253, 254, 255])
def test_pixels_that_are_no_class_change_nothing(loss, ignored: int) -> None:  # type: ignore[no-untyped-def]
    embedding, target = random_case()
    wide = torch.cat([embedding, 9 * embedding], dim=3)
    more = torch.cat([target, torch.full_like(target, ignored)], dim=2)
    torch.testing.assert_close(loss(wide, more, T), loss(embedding, target, T))


def test_the_hybrid_is_the_weighted_sum() -> None:
    embedding, target = random_case()
    expected = dce_loss(embedding, target, T) + 0.08 * variance_loss(embedding, target, T)
    torch.testing.assert_close(hybrid_loss(embedding, target, T, 0.08), expected)


def test_nothing_valid_is_no_loss_and_no_nan() -> None:
    embedding, target = random_case()
    embedding.requires_grad_()
    loss = hybrid_loss(embedding, torch.full_like(target, 255), T)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not embedding.grad.isnan().any()  # type: ignore[union-attr]


def test_shapes_must_agree() -> None:
    embedding, target = random_case()
    with pytest.raises(ValueError, match="must agree"):
        dce_loss(embedding, target[:, :4], T)
