from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from owlabel_training.core.infonce import info_nce

TAU = 0.1


def loss(rows: torch.Tensor, labels: list[int]) -> float:
    names = torch.tensor(labels)
    return float(info_nce(rows, rows, (names, names), TAU))


def test_equal_embeddings_give_log_of_one_and_the_negatives() -> None:
    assert loss(torch.ones(4, 3, dtype=torch.float64), [0, 0, 1, 1]) == pytest.approx(1.0986123)
    for k, n in ((3, 4), (5, 2)):
        rows = torch.ones(k * n, 8, dtype=torch.float64)
        negatives = (k - 1) * n
        labels = [c for c in range(k) for _ in range(n)]
        assert loss(rows, labels) == pytest.approx(math.log(1 + negatives))


def test_orthogonal_clusters_give_the_worked_number() -> None:
    rows = torch.eye(2, dtype=torch.float64).repeat_interleave(2, dim=0)
    assert loss(rows, [0, 0, 1, 1]) == pytest.approx(9.07957e-5, rel=1e-5)
    more = torch.eye(4, dtype=torch.float64).repeat_interleave(3, dim=0)
    labels = [c for c in range(4) for _ in range(3)]
    assert loss(more, labels) == pytest.approx(math.log(1 + 9 * math.exp(-1 / TAU)), rel=1e-6)


def random_rows(n: int = 12) -> torch.Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_plain_loop_agrees() -> None:
    rows, labels = random_rows(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 7]
    v = torch.nn.functional.normalize(rows, dim=1)
    total, anchors = 0.0, 0
    for i, own in enumerate(labels):
        similar = [math.exp(float(v[i] @ v[j]) / TAU) for j in range(len(labels))]
        positives = [j for j, other in enumerate(labels) if other == own and j != i]
        negative = sum(similar[j] for j, other in enumerate(labels) if other != own)
        if positives:
            terms = [-math.log(similar[j] / (similar[j] + negative)) for j in positives]
            total, anchors = total + sum(terms) / len(terms), anchors + 1
    assert anchors == 11, "the last one has no positive"
    assert loss(rows, labels) == pytest.approx(total / anchors)


@given(st.permutations(range(12)), st.permutations(range(3)))
def test_neither_order_nor_names_nor_rotation_matter(order: list[int], names: list[int]) -> None:
    rows, labels = random_rows(), [i % 3 for i in range(12)]
    plain = loss(rows, labels)
    turn = torch.linalg.qr(random_rows()[:5, :5]).Q
    moved = loss((rows @ turn)[order], [names[labels[i]] for i in order])
    assert moved == pytest.approx(plain)
    assert loss(rows * 7, labels) == pytest.approx(plain)


def test_without_a_positive_there_is_no_loss() -> None:
    assert loss(random_rows(3), [0, 1, 2]) == 0


def test_bad_input_is_refused() -> None:
    rows, names = random_rows(4), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="tau must be above 0"):
        info_nce(rows, rows, (names, names), 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        info_nce(rows, rows, (names[:3], names), TAU)
