"""The pixel InfoNCE with labels that CoroCL and the contrastive pre-training share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(
    anchors: Tensor, contrast: Tensor, labels: tuple[Tensor, Tensor], tau: float = 0.1
) -> Tensor:
    """Return the supervised InfoNCE of some samples against others.

    Parameters
    ----------
    anchors : Tensor, shape (A, R)
        Raw projections, normalised here.  They are the first rows of `contrast`, so that a sample
        meets itself on the diagonal, where it is no positive.
    contrast : Tensor, shape (C, R)
    labels : tuple of Tensor of int, shapes (A,) and (C,)
        Samples of the same label are positives, the others negatives.
    tau : float
        Temperature, above 0.

    Returns
    -------
    Tensor, shape ()
        ``-1/|A| sum_a 1/|P(a)| sum_p log(e^(a p/tau) / (e^(a p/tau) + sum_N e^(a n/tau)))``,
        anchors without a positive left out; 0 where none has one.

    Raises
    ------
    ValueError
        If tau is not positive or the shapes do not fit.

    References
    ----------
    .. [1] P. Khosla et al., "Supervised Contrastive Learning", 2020, eq. (2), over pixels.
    .. [2] Y. Liu et al., "Residual Pattern Learning for Pixel-wise Out-of-Distribution Detection in
       Semantic Segmentation", ICCV 2023, eq. (7), from the authors' code.
    """
    if tau <= 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    shapes = [tuple(t.shape) for t in (anchors, contrast, *labels)]
    if shapes[2:] != [(len(anchors),), (len(contrast),)] or len(anchors) > len(contrast):
        raise ValueError(f"anchors, contrast and their labels do not fit: {shapes}")
    a, c = functional.normalize(anchors, dim=1), functional.normalize(contrast, dim=1)
    similar = a @ c.T / tau  # (A, C)
    same = labels[0][:, None] == labels[1][None, :]  # (A, C)
    positive = same & ~torch.eye(len(a), len(c), dtype=torch.bool, device=a.device)
    lowest = torch.finfo(similar.dtype).min
    negatives = similar.masked_fill(same, lowest).logsumexp(dim=1, keepdim=True)  # (A, 1)
    each = torch.logaddexp(similar, negatives) - similar  # -log of the share
    count = positive.sum(dim=1)  # (A,)
    per_anchor = (each * positive).sum(dim=1) / count.clamp(min=1)
    return per_anchor.sum() / (count > 0).sum().clamp(min=1)
