"""The table of anomaly scores, and several of them in one pass; higher is stranger, always.

The formulas are in `logit_scores`, `metric_scores` and `standardised`; they are offered from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from owlabel.arrays.cache_blocks import Array, Scratch, by_blocks, softmax_terms, unit
from owlabel.ood.logit_scores import (
    energy,
    energy_of,
    entropy,
    entropy_of,
    margin,
    margin_of,
    max_logit,
    max_logit_of,
    msp,
    msp_of,
    scored,
    variation_ratio,
)
from owlabel.ood.prototype_scores import (
    BETA,
    CLIP_FACTOR,
    GAMMA,
    PROTOTYPE_LENGTH,
    MmspNorm,
    absolute_of,
    checked_length,
    distance_sum,
    distance_sum_of,
    eds,
    mixture,
    mixture_weight,
    mmsp,
    turned_minmax,
)

__all__ = [
    "BETA", "CLIP_FACTOR", "GAMMA", "OVERLAYS", "PROTOTYPE_LENGTH", "SCORES", "Score", "all_scores",
    "distance_sum", "eds", "energy", "entropy", "margin", "max_logit", "mixture", "mixture_weight",
    "mmsp", "msp", "variation_ratio",
]  # fmt: skip

Need = Literal["logits", "prototypes", "statistics", "residual"]
NEEDS: dict[Need, str] = {
    "logits": "any segmentation model",
    "prototypes": "a model with a metric head",
    "statistics": "any segmentation model, and each class's mean and variance over the data set",
    "residual": "a trained residual block (RPL)",
}
"""What a score may need, in words."""


@dataclass(frozen=True)
class Score:
    """One score as the annotator meets it.

    Attributes
    ----------
    name, label : str
        Its key in `OVERLAYS`, and its name for people.
    formula, range, source : str
        One line each, for the table in the window and the manual; z = 2T f.
    function : callable
        ``function(embedding, T) -> map``: shapes (N, H, W) to (H, W).  Raises ValueError where the
        embedding of the image is not enough.
    display : tuple of float or None
        The values shown as no and full colour before there is a calibration; None: those of the
        image.
    needs : str
        A key of `NEEDS`.
    """

    name: str
    label: str
    formula: str
    range: str
    source: str
    function: Callable[[Array, float], Array]
    display: tuple[float, float] | None = (0.0, 1.0)
    needs: Need = "logits"

    @property
    def need(self) -> str:
        """What it needs, in words."""
        return NEEDS[self.needs]


def all_scores(
    embedding: Array,
    T: float = PROTOTYPE_LENGTH,
    names: Sequence[str] | None = None,
    beta: float = BETA,
    gamma: float = GAMMA,
    mmsp_norm: MmspNorm = "none",
) -> dict[str, Array]:
    """Compute several scores in one pass that shares the exponentials.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head; of logits z take ``z / (2T)``, or give T = 0.5.
    T : float
        Length of the prototypes.
    names : sequence of str, optional
        Keys of `SCORES`; all by default.
    beta, gamma, mmsp_norm
        Of the mixture, see there.

    Returns
    -------
    dict of str to array, shape (H, W)
        In the order of `SCORES`; equal to what each score's own function gives.  "msp", "mmsp" and
        "variation_ratio" are one array.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    wanted = set(SCORES if names is None else names)
    if unknown := wanted - set(SCORES):
        raise ValueError(f"unknown scores {sorted(unknown)}; there are {list(SCORES)}")
    scale = 2 * checked_length(T) * unit(embedding)
    if wanted & {"eds", "mixture"}:
        wanted |= {"sums"}
    if "mixture" in wanted:
        wanted |= {"mmsp"}
    lowest = (embedding.shape[0] - 1) * T * T
    made = [name for name, group in _ONE_PASS.items() if wanted & group]

    def kernel(block: Array, scratch: Scratch) -> tuple[Array, ...]:
        found = {}
        if wanted & {"sums", "eds_absolute"}:
            found["sums"] = distance_sum_of(block, T, scratch, scale)
        if "eds_absolute" in wanted:
            found["eds_absolute"] = absolute_of(found["sums"], lowest)
        terms = softmax_terms(block, scratch, "margin" in wanted)
        for name in made:
            if name in _FROM_TERMS:
                found[name] = _FROM_TERMS[name](terms)
        return tuple(found[name] for name in made)

    maps = dict(zip(made, by_blocks(kernel, embedding, scale), strict=True))
    if "sums" in maps:
        maps["eds"] = turned_minmax(maps.pop("sums"), CLIP_FACTOR * 2 * lowest)
    if "mixture" in wanted:
        maps["mixture"] = mixture(maps["eds"], maps["msp"], beta, gamma, mmsp_norm)
    for twin in ("mmsp", "variation_ratio"):
        if twin in wanted:
            maps[twin] = maps["msp"]
    asked = set(SCORES if names is None else names)
    return {name: maps[name] for name in SCORES if name in asked}


_FROM_TERMS = {
    "msp": msp_of,
    "margin": margin_of,
    "entropy": entropy_of,
    "energy": energy_of,
    "max_logit": max_logit_of,
}
_ONE_PASS = {
    "sums": {"sums"},
    "eds_absolute": {"eds_absolute"},
    "msp": {"msp", "mmsp", "variation_ratio"},
    **{name: {name} for name in ("margin", "entropy", "energy", "max_logit")},
}
"""The maps that the pass makes, each with the names for which it is needed."""


def _of_logits(score: Callable[..., Array]) -> Callable[[Array, float], Array]:
    """Return a score of logits as one of an embedding, z = 2T f."""
    second = score is margin_of
    return lambda f, T: scored(score, f, 2 * checked_length(T), second)


def _refuse(name: str, needs: Need) -> Callable[[Array, float], Array]:
    """Return a function that says what the score needs beyond an embedding."""

    def refuse(embedding: Array, T: float) -> Array:
        raise ValueError(f"{name} cannot be had from an embedding alone: it needs {NEEDS[needs]}")

    return refuse


_CEN, _CHAN = "Cen et al. 2021 (DMLNet)", "Chan et al. 2020"
OVERLAYS: dict[str, Score] = {
    score.name: score
    for score in (
        Score("eds", "Distance sum, this image", "1 - minmax(S), S = sum of d over all classes",
              "0 .. 1, relative to the image", _CEN, lambda f, T: eds(f, T), needs="prototypes"),
        Score("eds_absolute", "Distance sum, absolute", "clip(2 - S / ((N - 1) T^2), 0, 1)",
              "0 on a prototype .. 1 at their centroid", f"after {_CEN}",
              lambda f, T: eds(f, T, mode="absolute"), needs="prototypes"),
        Score("mmsp", "Metric softmax", "1 - max softmax(-d)", "0 .. 1 - 1/N", _CEN, mmsp,
              needs="prototypes"),
        Score("mixture", "Distance sum and metric softmax",
              "a EDS + (1 - a) MMSP, a = 1 / (1 + exp(-beta (EDS - gamma)))",
              "0 .. 1, relative to the image", f"{_CEN}, eq. 10",
              lambda f, T: mixture(eds(f, T), mmsp(f, T)), needs="prototypes"),
        Score("entropy", "Softmax entropy", "-sum p log p / log N", "0 .. 1", f"{_CHAN}, eq. 1",
              _of_logits(entropy_of)),
        Score("energy", "Energy", "-log sum exp z", "unbounded", "Liu et al. 2020, eq. 4",
              _of_logits(energy_of), None),
        Score("msp", "Softmax probability", "1 - max p", "0 .. 1 - 1/N",
              "Hendrycks and Gimpel 2017", mmsp),
        Score("variation_ratio", "Variation ratio", "1 - max p (the same as MSP)", "0 .. 1 - 1/N",
              f"{_CHAN}, eq. 12", mmsp),
        Score("margin", "Probability margin", "1 - p_1 + p_2", "0 .. 1", f"{_CHAN}, eq. 13",
              _of_logits(margin_of)),
        Score("max_logit", "Largest logit", "-max z", "unbounded", "Hendrycks et al. 2022",
              lambda f, T: max_logit(f) * (2 * checked_length(T)), None),
        Score("sml", "Largest logit, standardised", "-(max z - mean_c) / std_c, c = argmax z",
              "unbounded, in standard deviations", "Jung et al. 2021",
              _refuse("sml", "statistics"), None, "statistics"),
        Score("sml_smooth", "Largest logit, standardised, smooth",
              "SML; seams take the mean beside them; Gaussian of 6 pixels",
              "unbounded, in standard deviations", "Jung et al. 2021, sec. 3.3 and 3.4",
              _refuse("sml_smooth", "statistics"), None, "statistics"),
        Score("rpl_energy", "Residual energy (RPL)",
              "-log sum exp of the residual path, 7 x 7 Gaussian", "unbounded",
              "Liu et al. 2023 (RPL)", _refuse("rpl_energy", "residual"), None, "residual"),
    )
}  # fmt: skip
"""Everything that can be shown by name, in the order it is offered."""
SCORES: dict[str, Score] = {
    name: score for name, score in OVERLAYS.items() if score.needs in ("logits", "prototypes")
}
"""The scores that need the embedding of the image alone."""
