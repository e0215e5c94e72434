"""Pixel-pixel similarity of SimFormer: SimNet, SimLoss, DistLoss, and the pixels they look at.

References
----------
.. [1] J. Chen, L. Niu et al., "Weak-shot Semantic Segmentation via Dual Similarity Transfer",
   NeurIPS 2022; formulas from the authors' code, the student of DistLoss across images.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from owlabel.classes import UNSET

INSIDE = 0.8
"""Share of SimLoss's pixels that lie in the common base class."""
WINDOW = 25
"""Iterations over which SimLoss counts pairs for its class balance."""
DistKind = Literal["ce", "cce"]


class _Residual(nn.Module):
    """Two 1x1 convolutions with BatchNorm and ReLU beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip
        same = inputs == outputs
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU())
        )

    def forward(self, pairs: Tensor) -> Tensor:
        """Return the block's output, (1, outputs, J, J)."""
        after: Tensor = self.body(pairs) + self.shortcut(pairs)
        return after


class SimNet(nn.Module):
    """Similarity of two pixel embeddings in (0, 1); not symmetric in its arguments.

    Parameters
    ----------
    channels : int
        C of the pixel embedding F.
    """

    pair_counts: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _Residual(2 * channels, channels),
            _Residual(channels, channels),
            _Residual(channels, channels),
            nn.Conv2d(channels, 2, 1),
        )
        self.register_buffer("pair_counts", torch.zeros(WINDOW, 2))

    def logits(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the logits (J, J', 2) of F at pixels, (J, C) each; the second is "same class"."""
        rows, columns = len(first), len(second)
        pairs = torch.cat(
            [
                first.T[:, :, None].expand(-1, rows, columns),
                second.T[:, None, :].expand(-1, rows, columns),
            ]
        )  # (2C, J, J')
        logits: Tensor = self.blocks(pairs[None])[0]  # (2, J, J')
        return logits.permute(1, 2, 0)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return r, (J, J'), the similarity of all pairs."""
        return self.logits(first, second).softmax(dim=2)[:, :, 1]

    def balance(self, same: int, different: int) -> tuple[float, float]:
        """Count this iteration's pairs; return the weights of "same" and of "different".

        The weight of a class is the share of the other one in the last 25 iterations.
        """
        rolled = self.pair_counts.roll(1, dims=0)
        rolled[0, 0], rolled[0, 1] = float(same), float(different)
        self.pair_counts = rolled
        total = rolled.sum(dim=0)
        share = total / total.sum().clamp(min=1)
        return float(share[1]), float(share[0])


def valid_pairs(first: Tensor, second: Tensor, n_base: int) -> Tensor:
    """Return which pairs of labels (J,) and (J',) tell something: one pixel at least is base."""
    return (first < n_base)[:, None] | (second < n_base)[None, :]


def sim_loss(
    net: SimNet, pixels: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], n_base: int
) -> Tensor:
    """SimLoss: SimNet shall see whether two pixels have the same base class.

    Parameters
    ----------
    net : SimNet
    pixels : tuple of Tensor, shape (J, C)
        F at the pixels of image and reference; no gradient reaches it.
    labels : tuple of Tensor of int64, shape (J,)
    n_base : int

    Returns
    -------
    Tensor, shape ()
        Binary cross entropy balanced by class, mean over valid pairs; 0 without any.
    """
    valid = valid_pairs(*labels, n_base)
    logits = net.logits(pixels[0].detach(), pixels[1].detach())  # (J, J, 2)
    same = labels[0][:, None] == labels[1][None, :]
    n_same = int((same & valid).sum())
    weights = net.balance(n_same, int(valid.sum()) - n_same)
    if not bool(valid.any()):
        return logits.sum() * 0
    each = functional.cross_entropy(logits[valid], same[valid].long(), reduction="none")
    return (each * torch.where(same[valid], *weights)).mean()


def dist_values(teacher: Tensor, student: Tensor, kind: DistKind) -> Tensor:
    """Return DistLoss of every pair.

    Parameters
    ----------
    teacher, student : Tensor, equal shapes
        r and s in [0, 1].
    kind : {"ce", "cce"}
        "ce" is cross entropy with both clamped to [0.01, 0.99]; "cce" lies in [-log(2) / 2, 0].

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind == "ce":
        r, s = teacher.clamp(0.01, 0.99), student.clamp(0.01, 0.99)
        return -r * s.log() - (1 - r) * (1 - s).log()
    if kind == "cce":
        like, unlike = (teacher - 0.5).clamp(min=0), (0.5 - teacher).clamp(min=0)
        return -like * (1 + student).log() - unlike * (2 - student).log()
    raise ValueError(f'the kind of DistLoss must be "ce" or "cce", got {kind!r}')


def dist_loss(
    net: SimNet, pixels: tuple[Tensor, Tensor], scores: tuple[Tensor, Tensor], kind: DistKind
) -> Tensor:
    """DistLoss: novel scores of two pixels are as similar as SimNet says their embeddings are.

    Parameters
    ----------
    net : SimNet
        The teacher; no gradient reaches it, and its running statistics stay what they are.
    pixels : tuple of Tensor, shape (J, C)
        F at pixels of image and reference that are not base.
    scores : tuple of Tensor, shape (J, V)
        u, the scores of the novel classes there, at least 0.
    kind : {"ce", "cce"}

    Returns
    -------
    Tensor, shape ()
        Mean over J x J pairs.
    """
    training = net.training
    net.eval()
    with torch.no_grad():
        teacher = net(*pixels)  # (J, J)
    net.train(training)
    u, v = (functional.normalize(score, dim=1, eps=1e-6) for score in scores)
    return dist_values(teacher, (u @ v.T).clamp(0, 1), kind).mean()


def sample_pairs(
    labels: tuple[Tensor, Tensor], n_base: int, count: int
) -> tuple[Tensor, Tensor] | None:
    """Return the places of SimLoss's pixels in both images, (J,) each.

    Four fifths lie in a base class that both hold (in any base region where there is none), the
    rest outside it.

    Parameters
    ----------
    labels : tuple of Tensor of int64, shape (N,)
        Base ids, UNSET where nobody knows, or anything else from `n_base` on.
    n_base, count : int
        `count` is J.

    Returns
    -------
    tuple of Tensor of int64, or None
        None where an image has no base pixel.
    """
    present = [{c for c in range(n_base) if bool((one == c).any())} for one in labels]
    if not all(present):
        return None
    common = sorted(present[0] & present[1])
    chosen = common[int(torch.randint(len(common), (1,)))] if common else None
    places = []
    for one in labels:
        inside = one < n_base if chosen is None else one == chosen
        outside = ~inside & (one != UNSET)
        n_inside = round(INSIDE * count) if bool(outside.any()) else count
        parts = [sample(inside, n_inside)]
        if n_inside < count:
            parts.append(sample(outside, count - n_inside))
        places.append(torch.cat(parts))
    return places[0], places[1]


def sample(where: Tensor, count: int) -> Tensor:
    """Return `count` places at which a mask (N,) is true; some repeat where it is small."""
    places = where.nonzero()[:, 0]
    if len(places) >= count:
        order = torch.randperm(len(places), device="cpu")[:count]
    else:
        order = torch.randint(len(places), (count,))
    return places[order.to(places.device)]
