"""The table of anomaly scores, and a function that computes several scores in one pass.

Higher scores are always more anomalous.  The formulas are in `logit_scores`, `prototype_scores` and
`standardized_logits`.  A package adds a score through an entry point of the group
``owlabel.scores`` whose object is a `Score`.  The window, the command line, the calibration and the
evaluation then offer it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from owlabel.arrays.cache_blocks import Array
from owlabel.ood import terms
from owlabel.ood.prototype_scores import BETA, GAMMA, PROTOTYPE_LENGTH, MmspNorm
from owlabel.ood.terms import Mixing, PixelFormula, Terms
from owlabel.registry import Registry, instance_of

_log = logging.getLogger("owlabel.plugins")
Need = Literal["metric head", "statistics", "residual"]
NEEDS: dict[Need, str] = {
    "metric head": "a model with a metric head",
    "statistics": "each class's mean and variance over the data set",
    "residual": "a trained residual block (RPL)",
}
"""Inputs that a score may need in addition to an embedding, with a description of each."""
Scale = Literal["unit", "image", "unbounded"]
"""Range of a score: "unit" is 0 .. 1 and comparable across images, "image" is 0 .. 1 relative to
its image, and "unbounded" is any number."""


@dataclass(frozen=True)
class Score:
    """One score: its formula and its description for the annotator.

    Attributes
    ----------
    name : str
        Key in `SCORES`, in commands and in files.
    title : str
        Name in the window and the manual, as the papers write it.
    formula, range, source : str
        One line each, for the table in the window and the manual; z = 2T f.
    function : callable
        ``function(terms) -> map`` of shape (H, W), from the `Terms` of one image.
    scale : {"unit", "image", "unbounded"}
        Range and comparability of the values, see `Scale`.
    needs : tuple of str
        Keys of `NEEDS`: inputs required in addition to an embedding.
    parts : tuple of callable
        Formulas of `owlabel.ood.terms` that the function gets from `Terms.pixelwise`.  Listed
        formulas of all scores share one pass; an unlisted formula costs an extra pass.
    twin : str
        Another name of the same score; both share map and calibration.
    """

    name: str
    title: str
    formula: str
    range: str
    source: str
    function: Callable[[Terms], Array]
    scale: Scale = "unit"
    needs: tuple[Need, ...] = ()
    parts: tuple[PixelFormula, ...] = ()
    twin: str = ""

    @property
    def need(self) -> str:
        """The required inputs in words."""
        return ", and ".join(NEEDS[need] for need in self.needs) or "any segmentation model"

    @property
    def display(self) -> tuple[float, float] | None:
        """Values shown without and in full colour before calibration; None: range of the image."""
        return None if self.scale == "unbounded" else (0.0, 1.0)

    def of(self, embedding: Array, T: float = PROTOTYPE_LENGTH) -> Array:
        """Return this score of one embedding, shape (N, H, W) to (H, W).

        Raises
        ------
        ValueError
            If the score needs more than an embedding, or the embedding or T is invalid.
        """
        return all_scores(embedding, T, [self.name])[self.name]


def all_scores(
    embedding: Array,
    T: float = PROTOTYPE_LENGTH,
    names: Sequence[str] | None = None,
    beta: float = BETA,
    gamma: float = GAMMA,
    mmsp_norm: MmspNorm = "none",
    statistics: tuple[Any, Any] | None = None,
    residual: Array | None = None,
    skip_failing: bool = False,
) -> dict[str, Array]:
    """Compute several scores of an image; shared terms are computed once.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head.  For logits z pass ``z / (2T)``, or z with T = 0.5.
    T : float
        Length of the prototypes.
    names : sequence of str, optional
        Keys of `SCORES`; by default all scores whose inputs are available.
    beta, gamma, mmsp_norm
        Settings of the mixture, see `owlabel.ood.prototype_scores.mixture`.
    statistics : tuple of ndarray, shape (N,), optional
        Mean and standard deviation of each class's largest logit over the data set
        (`ClassStatistics.mean_and_std`).
    residual : array, shape (H, W), optional
        Energy of the residual path (RPL) of this image.
    skip_failing : bool
        Leave out a score that fails or returns a map of the wrong shape, and log a warning.

    Returns
    -------
    dict of str to array, shape (H, W)
        In the order of `SCORES`.  Twins are one array.

    Raises
    ------
    ValueError
        If a name is unknown, or a score fails or lacks what it needs.
    """
    image = Terms(
        embedding,
        T,
        mixing=Mixing(beta, gamma, mmsp_norm),
        statistics=statistics,
        residual=residual,
    )
    inputs = {"metric head"}
    inputs |= {"statistics"} if statistics is not None else set()
    inputs |= {"residual"} if residual is not None else set()
    if names is None:
        names = available(inputs)
    chosen = SCORES.pick(names)
    for score in chosen:
        if missing := [NEEDS[need] for need in score.needs if need not in inputs]:
            needs = ", and ".join(missing)
            raise ValueError(f"{score.name} cannot be computed here: it needs {needs}")
    image.prepare(part for score in chosen for part in score.parts if part in _SHARED)
    maps = {}
    for score in chosen:
        try:
            maps[score.name] = _map_of(score, image)
        except ValueError as error:
            if not skip_failing:
                raise
            _log.warning("left out the score %s: %s", score.name, error)
    return maps


def _map_of(score: Score, image: Terms) -> Array:
    """Return one score of an image; any error in a package's score becomes a ValueError."""
    if SCORES.is_builtin(score.name):
        return image.of(score.function)
    try:
        values = image.of(score.function)
    except Exception as error:
        raise ValueError(f"{score.name} failed: {type(error).__name__}: {error}") from error
    shape = tuple(image.embedding.shape[1:])
    if tuple(getattr(values, "shape", ())) != shape:
        returned = getattr(values, "shape", type(values).__name__)
        raise ValueError(f"{score.name} must return a map of shape {shape}, returned {returned}")
    return values


def available(there: Iterable[str]) -> list[str]:
    """Return the names of the scores that need only the inputs `there`, keys of `NEEDS`."""
    held = set(there)
    return [name for name, score in SCORES.items() if held.issuperset(score.needs)]


def _pixelwise(formula: PixelFormula) -> dict[str, Any]:
    """Return function and parts of a score that is one formula of single pixels."""
    return {"function": lambda image: image.pixelwise(formula), "parts": (formula,)}


_METRIC: tuple[Need, ...] = ("metric head",)
_CEN, _CHAN = "Cen et al. 2021 (DMLNet)", "Chan et al. 2021"
_BUILTIN = (
    Score("eds", "EDS", "1 - minmax(S), S = sum of d over all classes",
          "0 .. 1, relative to the image", _CEN, terms.eds, "image", _METRIC,
          (terms.distance_sum,)),
    Score("eds_absolute", "EDS absolute", "clip(2 - S / ((N - 1) T^2), 0, 1)",
          "0 on a prototype .. 1 at their centroid", f"after {_CEN}",
          needs=_METRIC, **_pixelwise(terms.eds_absolute)),
    Score("mmsp", "MMSP", "1 - max softmax(-d)", "0 .. 1 - 1/N", _CEN, needs=_METRIC, twin="msp",
          **_pixelwise(terms.msp)),
    Score("mixture", "Mixture of EDS and MMSP",
          "a EDS + (1 - a) MMSP, a = 1 / (1 + exp(-beta (EDS - gamma)))",
          "0 .. 1, relative to the image", f"{_CEN}, eq. 10", terms.eds_mmsp_mixture, "image",
          _METRIC, (terms.distance_sum, terms.msp)),
    Score("entropy", "Entropy", "-sum p log p / log N", "0 .. 1", f"{_CHAN}, eq. 1",
          **_pixelwise(terms.entropy)),
    Score("energy", "Energy", "-log sum exp z", "unbounded", "Liu et al. 2020, eq. 4",
          scale="unbounded", **_pixelwise(terms.energy)),
    Score("msp", "MSP", "1 - max p", "0 .. 1 - 1/N", "Hendrycks and Gimpel 2017",
          **_pixelwise(terms.msp)),
    Score("variation_ratio", "Variation ratio", "1 - max p (the same as MSP)", "0 .. 1 - 1/N",
          f"{_CHAN}, eq. 12", twin="msp", **_pixelwise(terms.msp)),
    Score("margin", "Margin", "1 - p_1 + p_2", "0 .. 1", f"{_CHAN}, eq. 13",
          **_pixelwise(terms.margin)),
    Score("max_logit", "Max logit", "-max z", "unbounded", "Hendrycks et al. 2022",
          scale="unbounded", **_pixelwise(terms.max_logit)),
    Score("sml", "SML", "-(max z - mean_c) / std_c, c = argmax z",
          "unbounded, in standard deviations", "Jung et al. 2021", terms.sml,
          "unbounded", ("statistics",)),
    Score("sml_smooth", "SML smooth", "SML; seams take the mean beside them; Gaussian of 6 pixels",
          "unbounded, in standard deviations", "Jung et al. 2021, sec. 3.3 and 3.4",
          terms.sml_smooth, "unbounded", ("statistics",)),
    Score("rpl_energy", "RPL energy", "-log sum exp of the residual path, 7 x 7 Gaussian",
          "unbounded", "Liu et al. 2023 (RPL)", terms.residual_energy, "unbounded",
          ("residual",)),
)  # fmt: skip
_SHARED = {part for score in _BUILTIN for part in score.parts}
"""Formulas that may share a pass.  Formulas of packages run apart, so their errors stay apart."""
SCORES: Registry[Score] = Registry(
    "owlabel.scores", "score", {score.name: score for score in _BUILTIN}, instance_of(Score)
)
"""Every score by name, in the order of the menus."""
