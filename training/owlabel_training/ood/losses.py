"""The losses of OoD training: entropy maximisation, positive energy (RPL), context contrast.

Targets are label maps: class ids 0 .. q-1, 254 an OoD pixel, 255 nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from owlabel.classes import MAX_CLASSES, OOD_PROXY
from owlabel_training.core.infonce import info_nce

Averaging = Literal["joint", "separate"]
LOWEST_PROBABILITY = 1e-7
"""Probabilities in the entropies of RPL are clamped here, as in the authors' code."""


def out_loss(logits: Tensor) -> Tensor:
    """Return the OoD objective of every pixel, ``-(1/q) sum_j log f_j`` >= log q.

    Parameters
    ----------
    logits : Tensor, shape (B, q, h, w)
        z = 2T f.

    Returns
    -------
    Tensor, shape (B, h, w)
        log q exactly where all classes are equally likely; its gradient is ``f - 1/q``.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, eq. (4).
    """
    return logits.logsumexp(dim=1) - logits.mean(dim=1)


def entropy_loss(
    logits: Tensor, target: Tensor, lambda_ood: float = 0.9, averaging: Averaging = "joint"
) -> Tensor:
    """Weigh cross entropy on known pixels against maximal entropy on OoD pixels.

    Parameters
    ----------
    logits : Tensor, shape (B, q, h, w)
        z = 2T f.
    target : Tensor of int64, shape (B, h, w)
    lambda_ood : float
        0 is plain cross entropy, 1 ignores the labels.
    averaging : {"joint", "separate"}
        "joint", as the authors' code: one mean over all pixels and classes, ignored pixels
        counted; "separate", their eq. (2): a mean over known pixels and one over OoD pixels.

    Returns
    -------
    Tensor, shape ()
        Finite for every batch, 0 where nothing counts.

    Raises
    ------
    ValueError
        If shapes differ, lambda is outside [0, 1], or the averaging is unknown.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, eqs. (2)-(4).
    """
    _check(logits, target)
    if not 0 <= lambda_ood <= 1:
        raise ValueError(f"lambda_ood must lie in [0, 1], got {lambda_ood}")
    known, ood = target < MAX_CLASSES, target == OOD_PROXY  # (B, h, w)
    log_sum = logits.logsumexp(dim=1)  # (B, h, w)
    own = logits.gather(1, target.where(known, 0).unsqueeze(1)).squeeze(1)  # (B, h, w)
    zero = torch.zeros((), dtype=logits.dtype, device=logits.device)
    inside = torch.where(known, log_sum - own, zero).sum()
    outside = torch.where(ood, log_sum - logits.mean(dim=1), zero).sum()
    if averaging == "joint":
        pixels = max(target.numel() * logits.shape[1], 1)
        return ((1 - lambda_ood) * inside + lambda_ood * outside) / pixels
    if averaging == "separate":
        n_in, n_out = known.sum().clamp(min=1), ood.sum().clamp(min=1)
        return (1 - lambda_ood) * inside / n_in + lambda_ood * outside / n_out
    raise ValueError(f'averaging must be "joint" or "separate", got {averaging!r}')


class RplTerms(NamedTuple):
    """The terms of RPL's loss, each a Tensor of shape ().

    Attributes
    ----------
    pseudo : mean cross entropy against the frozen path's class map.
    entropy : mean squared difference of the entropies of both paths.
    energy : mean positive energy ``max(0, LSE)`` on OoD pixels.
    """

    pseudo: Tensor
    entropy: Tensor
    energy: Tensor

    def total(self, beta: float) -> Tensor:
        """Return L_in + beta L_out."""
        return self.pseudo + self.entropy + beta * self.energy


def rpl_terms(residual: Tensor, frozen: Tensor, target: Tensor) -> RplTerms:
    """Return RPL's loss; no class label is used, only where OoD pixels (254) and nothing (255) are.

    Parameters
    ----------
    residual : Tensor, shape (B, q, h, w)
        Logits of the residual path, z = 2T f.
    frozen : Tensor, shape (B, q, h, w)
        Logits of the frozen path.
    target : Tensor of int64, shape (B, h, w)

    Raises
    ------
    ValueError
        If shapes differ.

    References
    ----------
    .. [1] Y. Liu et al., "Residual Pattern Learning for Pixel-wise Out-of-Distribution Detection in
       Semantic Segmentation", ICCV 2023, eq. (3); weights as in the authors' code.
    """
    _check(residual, target)
    if residual.shape != frozen.shape:
        raise ValueError(
            f"both paths must agree, got {tuple(residual.shape)} and {tuple(frozen.shape)}"
        )
    inside, ood = target < MAX_CLASSES, target == OOD_PROXY  # (B, h, w)
    frozen = frozen.detach()
    cross = functional.cross_entropy(residual, frozen.argmax(dim=1), reduction="none")
    difference = (_entropy(residual) - _entropy(frozen)).square()  # (B, h, w)
    positive = residual.logsumexp(dim=1).clamp(min=0)  # (B, h, w)
    return RplTerms(_mean(cross, inside), _mean(difference, inside), _mean(positive, ood))


class Samples(NamedTuple):
    """Embeddings of four groups of pixels, n rows each, shape (n, R)."""

    city_ood: Tensor
    city_in: Tensor
    context_ood: Tensor
    context_in: Tensor


def contrastive_loss(samples: Samples, tau: float = 0.1, contexts: str = "both") -> Tensor:
    """CoroCL: city pixels as anchors, pixels of city and of OoD context as contrast.

    Parameters
    ----------
    samples : Samples
        Raw projections; normalised here.
    tau : float
        Temperature, above 0.
    contexts : {"both", "city", "context", "all"}
        Which anchors see which contrast (RPL, Table 3): "both" (the method) has city anchors
        against both contexts; "city" and "context" stay within one; "all" has anchors of both too.

    Returns
    -------
    Tensor, shape ()
        ``-1/|A| sum_a 1/|P(a)| sum_p log(e^(a p/tau) / (e^(a p/tau) + sum_N e^(a n/tau)))``.

    Raises
    ------
    ValueError
        If the groups differ in size, tau is not positive, or the contexts are unknown.

    References
    ----------
    .. [1] Y. Liu et al., "Residual Pattern Learning for Pixel-wise Out-of-Distribution Detection in
       Semantic Segmentation", ICCV 2023, eq. (7), from the authors' code.
    """
    if len({tuple(group.shape) for group in samples}) != 1:
        raise ValueError(f"the groups must agree, got {[tuple(g.shape) for g in samples]}")
    city, context = (samples.city_ood, samples.city_in), (samples.context_ood, samples.context_in)
    sets = {
        "both": (city, (*city, *context)),
        "city": (city, city),
        "context": (context, context),
        "all": ((*city, *context), (*city, *context)),
    }
    if contexts not in sets:
        raise ValueError(f"contexts must be one of {sorted(sets)}, got {contexts!r}")
    anchors, contrast = sets[contexts]
    n = len(samples.city_ood)
    is_ood = torch.arange(len(contrast) * n, device=samples.city_ood.device) // n % 2 == 0
    labels = (is_ood[: len(anchors) * n], is_ood)
    return info_nce(torch.cat(anchors), torch.cat(contrast), labels, tau)


def _entropy(logits: Tensor) -> Tensor:
    """Return the entropy (natural log, not normalised) of every pixel, (B, h, w)."""
    p = logits.softmax(dim=1).clamp(min=LOWEST_PROBABILITY)
    return -(p * p.log()).sum(dim=1)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean over some pixels, 0 where there are none."""
    zero = torch.zeros((), dtype=values.dtype, device=values.device)
    return torch.where(where, values, zero).sum() / where.sum().clamp(min=1)


def _check(logits: Tensor, target: Tensor) -> None:
    expected = (logits.shape[0], *logits.shape[2:])
    if logits.ndim != 4 or tuple(target.shape) != expected:
        raise ValueError(
            f"logits (B, q, h, w) and target (B, h, w) must agree, "
            f"got {tuple(logits.shape)} and {tuple(target.shape)}"
        )
