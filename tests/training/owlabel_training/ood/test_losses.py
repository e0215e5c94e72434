from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from owlabel_training.core.metric_losses import dce_loss
from owlabel_training.ood.losses import (
    Samples,
    contrastive_loss,
    entropy_loss,
    out_loss,
    rpl_terms,
)

LOGITS = torch.tensor([[2, 0, 0], [0, 1, 0], [0, 0, 3], [5, 5, 5]], dtype=torch.float64)
BATCH = LOGITS.T.reshape(1, 3, 1, 4)
TARGET = torch.tensor([[[0, 1, 254, 255]]])


def pixel(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)


def probabilities(*values: float) -> torch.Tensor:
    return pixel(*values).log()


@pytest.mark.parametrize(
    ("averaging", "lambda_ood", "expected"),
    [("separate", 0.9, 1.9249801), ("separate", 0.25, 0.8203518), ("joint", 0.9, 0.1637108)],
)
def test_the_worked_batch(averaging: str, lambda_ood: float, expected: float) -> None:
    loss = entropy_loss(BATCH, TARGET, lambda_ood, averaging)  # type: ignore[arg-type]
    assert float(loss) == pytest.approx(expected, abs=5e-8)


def test_both_terms_of_the_worked_batch() -> None:
    assert float(entropy_loss(BATCH, TARGET, 0.0, "separate")) == pytest.approx(0.3954947, abs=5e-8)
    assert float(entropy_loss(BATCH, TARGET, 1.0, "separate")) == pytest.approx(2.0949230, abs=5e-8)


def test_the_objective_at_worked_points() -> None:
    assert float(out_loss(pixel(5, 5, 5))) == pytest.approx(math.log(3))
    assert float(out_loss(probabilities(0.7, 0.2, 0.1))) == pytest.approx(1.4228993, abs=5e-8)
    assert float(out_loss(probabilities(0.98, 0.01, 0.01))) == pytest.approx(3.0768, abs=5e-5)


def test_its_gradient_does_not_vanish_for_a_confident_pixel() -> None:
    logits = pixel(2, 0, -1).requires_grad_()
    out_loss(logits).sum().backward()
    expected = pixel(0.510461, -0.219138, -0.291323)
    torch.testing.assert_close(logits.grad, expected, atol=1e-6, rtol=0)
    assert float(logits.grad.sum()) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.floats(-60, 60), min_size=2, max_size=8))
def test_the_objective_is_at_least_log_q(values: list[float]) -> None:
    assert float(out_loss(pixel(*values))) >= math.log(len(values)) - 1e-9


def test_lambda_zero_is_plain_cross_entropy() -> None:
    target = torch.where(TARGET == 254, 255, TARGET)
    expected = dce_loss(BATCH, target, 0.5)
    torch.testing.assert_close(entropy_loss(BATCH, TARGET, 0.0, "separate"), expected)


@pytest.mark.parametrize("averaging", ["joint", "separate"])
def test_ignored_pixels_have_no_gradient(averaging: str) -> None:
    logits = BATCH.clone().requires_grad_()
    entropy_loss(logits, TARGET, 0.5, averaging).backward()  # type: ignore[arg-type]
    assert (logits.grad[..., 3] == 0).all()
    assert (logits.grad[..., :3] != 0).all()


@pytest.mark.parametrize("averaging", ["joint", "separate"])
@pytest.mark.parametrize("value", [0, 254, 255])
def test_a_batch_of_one_kind_is_finite(averaging: str, value: int) -> None:
    target = torch.full_like(TARGET, value)
    assert torch.isfinite(entropy_loss(BATCH, target, 0.9, averaging))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lambda_ood", "averaging", "reason"), [(1.5, "joint", "1.5"), (0.9, "mean", "'mean'")]
)
def test_what_makes_no_sense_is_refused(lambda_ood: float, averaging: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        entropy_loss(BATCH, TARGET, lambda_ood, averaging)  # type: ignore[arg-type]


def test_without_a_residual_only_the_pseudo_labels_cost() -> None:
    terms = rpl_terms(pixel(2, 0, -1), pixel(2, 0, -1), torch.zeros(1, 1, 1).long())
    assert float(terms.pseudo) == pytest.approx(0.169846, abs=5e-7)
    assert float(terms.entropy) == 0
    assert float(terms.energy) == 0


@pytest.mark.parametrize(("logit", "expected"), [(-5.0, 0.0), (0.0, math.log(19))])
def test_positive_energy_of_nineteen_equal_logits(logit: float, expected: float) -> None:
    logits = torch.full((1, 19, 1, 1), logit, dtype=torch.float64)
    terms = rpl_terms(logits, logits, torch.full((1, 1, 1), 254))
    assert float(logits.logsumexp(1)) == pytest.approx(logit + math.log(19))
    assert float(terms.energy) == pytest.approx(expected)


def test_ood_and_void_pixels_say_nothing_of_inliers_and_void_ones_nothing_of_outliers() -> None:
    logits = BATCH.clone().requires_grad_()
    terms = rpl_terms(logits, torch.zeros_like(BATCH), TARGET)
    (inside,) = torch.autograd.grad(terms.pseudo + terms.entropy, logits, retain_graph=True)
    (outside,) = torch.autograd.grad(terms.energy, logits)
    assert (inside[..., 2:] == 0).all()
    assert (inside[..., :2] != 0).any(dim=1).all()
    assert (outside[..., [0, 1, 3]] == 0).all()
    assert (outside[..., 2] != 0).all()


def test_on_distance_logits_it_learns_nothing_of_outliers() -> None:
    f = torch.randn(2, 13, 6, 6, generator=torch.Generator().manual_seed(0)).double() * 3
    target = torch.full((2, 6, 6), 254)
    prototypes = 3 * torch.eye(13, dtype=torch.float64)
    f[0, :, 0, 0] = prototypes[4]  # where the distance logits come nearest to a positive LSE
    distance = (f.unsqueeze(1) - prototypes.view(1, 13, 13, 1, 1)).square().sum(2)
    assert float(rpl_terms(-distance, -distance, target).energy) <= 2e-7
    assert float(rpl_terms(6 * f, 6 * f, target).energy) > 1


def samples(ood: torch.Tensor, inlier: torch.Tensor, swapped: bool = False) -> Samples:
    far = (inlier, ood) if swapped else (ood, inlier)
    return Samples(ood, inlier, *far)


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_contrast_of_orthonormal_embeddings() -> None:
    ood, inlier = rows([1, 0]), rows([0, 1])
    assert float(contrastive_loss(samples(ood, inlier))) == pytest.approx(9.07957e-5, rel=1e-5)
    swapped = contrastive_loss(samples(ood, inlier, swapped=True))
    assert float(swapped) == pytest.approx(10.0000908, abs=5e-8)
    assert float(contrastive_loss(samples(ood, ood))) == pytest.approx(math.log(3))


def random_samples(n: int = 5) -> Samples:
    generator = torch.Generator().manual_seed(3)
    return Samples(*(torch.randn(n, 4, generator=generator, dtype=torch.float64) for _ in range(4)))


@given(st.floats(0.01, 100), st.integers(0, 3))
def test_contrast_does_not_depend_on_the_length_of_projections(scale: float, which: int) -> None:
    plain = random_samples()
    scaled = Samples(*(g * scale if i == which else g for i, g in enumerate(plain)))
    torch.testing.assert_close(contrastive_loss(scaled), contrastive_loss(plain))


def test_contrast_does_not_depend_on_the_order_within_a_group() -> None:
    plain = random_samples()
    turned = Samples(*(g.flip(0) for g in plain))
    torch.testing.assert_close(contrastive_loss(turned), contrastive_loss(plain))


@pytest.mark.parametrize("contexts", ["both", "city", "context", "all"])
def test_contrast_agrees_with_a_slow_loop(contexts: str) -> None:
    groups = random_samples(3)
    unit = [torch.nn.functional.normalize(g, dim=1) for g in groups]
    rows_of = [(g, i % 2 == 0, v) for i, g in enumerate("ccxx") for v in unit[i]]
    city = [r for r in rows_of if r[0] == "c"]
    other = [r for r in rows_of if r[0] == "x"]
    anchors, contrast = {
        "both": (city, rows_of), "city": (city, city),
        "context": (other, other), "all": (rows_of, rows_of),
    }[contexts]  # fmt: skip
    total = 0.0
    for anchor in anchors:
        values = [math.exp(float(anchor[2] @ r[2]) / 0.1) for r in contrast]
        no = sum(v for v, r in zip(values, contrast, strict=True) if r[1] != anchor[1])
        yes = [
            v
            for v, r in zip(values, contrast, strict=True)
            if r[1] == anchor[1] and r is not anchor
        ]
        total -= sum(math.log(v / (v + no)) for v in yes) / len(yes)
    expected = total / len(anchors)
    assert float(contrastive_loss(groups, 0.1, contexts)) == pytest.approx(expected)
