"""Settings of a project that an annotator changes: one table with their checks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from psygnal import Signal

from owlabel.novel.prototypes import LAMBDA_NOVEL
from owlabel.ood.candidates import THRESHOLD
from owlabel.ood.prototype_scores import BETA, GAMMA, MmspNorm, check_mixture
from owlabel.project.cache_eviction import LIMIT_GIB
from owlabel.project.cache_eviction import SETTING as CACHE_LIMIT
from owlabel.session.acts import Acts
from owlabel.view.review_queue import HIDE_ABOVE
from owlabel.view.view import View

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
        raise ValueError(f"the limit of the cache must be positive, got {value} GiB")
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
"""Key of a setting to the function that returns its value or refuses it."""


class Settings:
    """The settings in memory; `set` changes them, one act a key.

    Attributes
    ----------
    lambda_novel : float
        Squared distance within which NPM claims a pixel for a novel class, at least 0.
    threshold : float
        From where on scores and candidates are shown, a fraction of the score's scale.
    hide_above : float
        Probability of being false above which a candidate is hidden; 1 hides none.
    beta, gamma : float
        Steepness and threshold of the mixture of EDS and MMSP.
    mmsp_norm : {"none", "minmax"}
        How the mixture takes MMSP.
    cache_limit_gib : float
        How many GiB of embeddings are kept.
    """

    changed = Signal(object)
    """The keys that changed."""

    lambda_novel: float
    threshold: float
    hide_above: float
    beta: float
    gamma: float
    mmsp_norm: MmspNorm
    cache_limit_gib: float

    def __init__(self, view: View, acts: Acts) -> None:
        self._view, self._acts = view, acts
        self.read()

    def read(self) -> None:
        """Read all settings; without one the model's recipe counts, then the paper's value."""
        recipe = self._view.header.lambda_novel
        defaults: dict[str, Any] = {
            "lambda_novel": LAMBDA_NOVEL if recipe is None else recipe,
            "threshold": THRESHOLD,
            "hide_above": HIDE_ABOVE,
            "beta": BETA,
            "gamma": GAMMA,
            "mmsp_norm": "none",
            CACHE_LIMIT: LIMIT_GIB,
        }
        for key, default in defaults.items():
            try:
                value = CHECKS[key](self._view.project.setting(key, default))
            except (TypeError, ValueError):  # a file from elsewhere may hold anything
                value = default
            setattr(self, key, value)
        self._view.shots.lambda_novel = self.lambda_novel

    def set(self, **values: Any) -> None:
        """Change settings; a value of None or one that is set already changes nothing.

        Raises
        ------
        ValueError
            If a key is unknown or a value out of its range.
        """
        unknown = sorted(values.keys() - CHECKS.keys())
        if unknown:
            raise ValueError(f"there is no setting {unknown[0]!r}: one of {', '.join(CHECKS)}")
        checked = {k: CHECKS[k](value) for k, value in values.items() if value is not None}
        changed = {k: value for k, value in checked.items() if value != getattr(self, k)}
        if changed.keys() & set(MIXTURE):
            check_mixture(**{key: changed.get(key, getattr(self, key)) for key in MIXTURE})
        for key, value in changed.items():
            payload = {"key": key, "value": value}
            with self._acts.act("setting", payload, f"set {key}") as action:
                action.set_setting(key, value)
