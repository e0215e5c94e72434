"""The settings of a project, checked when they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from owlabel.novel.prototypes import LAMBDA_NOVEL
from owlabel.ood.candidates import THRESHOLD
from owlabel.ood.prototype_scores import BETA, GAMMA, MmspNorm
from owlabel.project.cache_eviction import LIMIT_GIB
from owlabel.project.cache_eviction import SETTING as CACHE_LIMIT
from owlabel.project.store import Project
from owlabel.view.queue_order import HIDE_ABOVE

MIXTURE = ("beta", "gamma", "mmsp_norm")


def _lambda(value: float) -> float:
    if not value >= 0:
        raise ValueError(f"lambda_novel must be at least 0, got {value}")
    return float(value)


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return float(value)


def _cache_limit(value: float) -> float:
    if not value > 0:
        raise ValueError(f"the cache limit must be above 0 GiB, got {value}")
    return float(value)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "lambda_novel": _lambda,
    "threshold": partial(_fraction, "threshold"),
    "hide_above": partial(_fraction, "hide_above"),
    "beta": float,
    "gamma": float,
    "mmsp_norm": str,
    CACHE_LIMIT: _cache_limit,
}
"""Key of a setting to the function that checks a value and returns it."""


class StoredSettings:
    """The settings of a project, kept in memory.

    Parameters
    ----------
    project : Project

    Attributes
    ----------
    lambda_novel : float
        Squared distance within which NPM claims a pixel for a novel class, at least 0.
    threshold : float
        Scores and candidates above it are shown; a fraction of the score's scale.
    hide_above : float
        Probability of being false above which a candidate is hidden; 1 hides none.
    beta, gamma : float
        Steepness and threshold of the mixture of EDS and MMSP.
    mmsp_norm : {"none", "minmax"}
        How MMSP is normalised before it enters the mixture.
    cache_limit_gib : float
        Limit of the cache of embeddings, in GiB.
    """

    lambda_novel: float
    threshold: float
    hide_above: float
    beta: float
    gamma: float
    mmsp_norm: MmspNorm
    cache_limit_gib: float

    def __init__(self, project: Project) -> None:
        self._project = project

    def read(self, recipe_lambda: float | None) -> None:
        """Read all settings.

        Parameters
        ----------
        recipe_lambda : float or None
            The `lambda_novel` from the recipe of the model in use. It is the default where the
            project has no setting; without a recipe, the paper's value is.
        """
        defaults: dict[str, Any] = {
            "lambda_novel": LAMBDA_NOVEL if recipe_lambda is None else recipe_lambda,
            "threshold": THRESHOLD,
            "hide_above": HIDE_ABOVE,
            "beta": BETA,
            "gamma": GAMMA,
            "mmsp_norm": "none",
            CACHE_LIMIT: LIMIT_GIB,
        }
        for key, default in defaults.items():
            try:
                value = CHECKS[key](self._project.setting(key, default))
            except (TypeError, ValueError):  # a project from elsewhere may hold any value
                value = default
            setattr(self, key, value)
