"""Meta classification: predict from its features whether a segment is a false detection."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.metrics import exact_ood

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

_TINY = 1e-10
"""Added to standard deviations, as in the released code."""


@dataclass(frozen=True)
class MetaClassifier:
    """Logistic regression on standardised features; the positive class is "false segment".

    The probability that a segment is false is ``sigmoid(b + sum_i c_i)`` with the contributions
    ``c_i = w_i (x_i - mean_i) / scale_i``, so each term explains its share of a decision.

    Attributes
    ----------
    columns : tuple of str
        Names of the n features.
    mean, scale : ndarray, shape (n,)
        Mean and standard deviation that standardise the features.
    coefficients : ndarray, shape (n,)
        w.
    intercept : float
        b.
    true, false : int
        Number of training segments of each class.  If one is 0, the classifier keeps every segment.

    References
    ----------
    .. [1] R. Chan, M. Rottmann, H. Gottschalk, "Entropy Maximization and Meta Classification for
       Out-Of-Distribution Detection in Semantic Segmentation", 2020, sec. 4 and eq. (9).
    """

    columns: tuple[str, ...]
    mean: Doubles
    scale: Doubles
    coefficients: Doubles
    intercept: float
    true: int
    false: int

    @classmethod
    def fit(
        cls,
        values: Doubles,
        false: Bools,
        columns: Sequence[str],
        population: Doubles | None = None,
    ) -> MetaClassifier:
        """Fit to labelled segments with L2 and C = 1; liblinear also penalises the intercept.

        Parameters
        ----------
        values : ndarray, shape (k, n)
            Features.
        false : ndarray of bool, shape (k,)
            Whether a segment shares no pixel with an OoD object.
        columns : sequence of str
            Names of the n features.
        population : ndarray, shape (m, n), optional
            Segments whose mean and standard deviation standardise the features; `values` by
            default.  With few labelled segments pass all segments.  Otherwise a feature that hardly
            varies among the labelled ones would dominate the decision on the others.

        Raises
        ------
        ValueError
            If the shapes do not fit or a feature is not finite.
        """
        false = np.asarray(false, bool)
        if values.shape != (len(false), len(columns)):
            raise ValueError(
                f"values must have shape ({len(false)}, {len(columns)}), got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError("features must be finite numbers, got NaN or infinity")
        basis = values if population is None or not len(population) else population
        mean, scale = _statistics(basis if len(basis) else np.zeros((1, len(columns))))
        weights, intercept = _regression((values - mean) / scale, false)
        return cls(
            tuple(columns), mean, scale, weights, intercept, int((~false).sum()), int(false.sum())
        )

    @property
    def keeps_all(self) -> bool:
        """Whether only one class was in the training data, so that no segment counts as false."""
        return not self.true or not self.false

    def contributions(self, values: Doubles) -> Doubles:
        """Return the contribution of each feature to the log-odds of "false", (k, n) to (k, n)."""
        return np.asarray((values - self.mean) / self.scale * self.coefficients)

    def probability_false(self, values: Doubles) -> Doubles:
        """Return the probability that each segment is false, (k, n) to (k,); 0 if it keeps all."""
        if self.keeps_all:
            return np.zeros(len(values))
        return _sigmoid(self.contributions(values).sum(axis=1) + self.intercept)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_json` makes the same classifier."""
        return {
            "columns": list(self.columns),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
            "true": self.true,
            "false": self.false,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> MetaClassifier:
        """Return the classifier that `to_json` wrote.

        Raises
        ------
        ValueError
            If an entry is missing or has the wrong length or type.
        """
        try:
            columns = tuple(str(c) for c in stored["columns"])
            vectors = [np.asarray(stored[k], float) for k in ("mean", "scale", "coefficients")]
            plain = float(stored["intercept"]), int(stored["true"]), int(stored["false"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the stored classifier is malformed: {error!r}") from error
        if any(v.shape != (len(columns),) or not np.isfinite(v).all() for v in vectors):
            raise ValueError(
                f"mean, scale and coefficients of a stored classifier must each hold "
                f"{len(columns)} finite numbers, one per column"
            )
        return cls(columns, vectors[0], vectors[1], vectors[2], *plain)


def _statistics(values: Doubles) -> tuple[Doubles, Doubles]:
    return values.mean(axis=0), values.std(axis=0) + _TINY


def _sigmoid(x: Doubles) -> Doubles:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def _regression(features: Doubles, false: Bools) -> tuple[Doubles, float]:
    """Return weights and intercept; zeros if there is only one class."""
    if false.all() or not false.any():
        return np.zeros(features.shape[1]), 0.0
    from sklearn.linear_model import LogisticRegression  # the import takes two seconds

    model = LogisticRegression(C=1.0, solver="liblinear").fit(features, false)
    return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])


# -- evaluation ------------------------------------------------------------------------------------


def leave_one_out(values: Doubles, false: Bools) -> Doubles:
    """Return the probability of "false" of each segment from a fit to all others, (k,).

    As in the paper, the features are standardised over all segments, including the held-out one.
    Use this only to compare with the paper.

    Parameters
    ----------
    values : ndarray, shape (k, n)
    false : ndarray of bool, shape (k,)
    """
    false = np.asarray(false, bool)
    mean, scale = _statistics(values) if len(values) else (0.0, 1.0)
    features = (values - mean) / scale
    probability = np.zeros(len(false))
    for i in range(len(false)):
        rest = np.arange(len(false)) != i
        probability[i] = _held_out(features[rest], false[rest], features[i : i + 1])[0]
    return probability


def leave_groups_out(
    values: Doubles, false: Bools, groups: Sequence[Hashable], folds: int | None = None
) -> Doubles:
    """Return the probability of "false" of each segment from a fit to other images, (k,).

    Neither the fit nor the mean and scale use any segment of a held-out image.

    Parameters
    ----------
    values : ndarray, shape (k, n)
    false : ndarray of bool, shape (k,)
    groups : sequence, length k
        The image (or drive) of each segment.
    folds : int, optional
        Number of folds; groups are assigned to them in turn.  By default each group is one fold.

    Raises
    ------
    ValueError
        If the lengths differ or `folds` is below 2.
    """
    false = np.asarray(false, bool)
    if not len(values) == len(false) == len(groups):
        raise ValueError(
            "values, false and groups must have the same length, "
            f"got {len(values)}, {len(false)} and {len(groups)}"
        )
    if folds is not None and folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    fold = np.array([order[group] for group in groups], np.int64)
    fold = fold if folds is None else fold % folds
    probability = np.zeros(len(false))
    for held in np.unique(fold):
        out = fold == held
        if out.all():
            continue  # no training segments left: keep all
        mean, scale = _statistics(values[~out])
        features = (values - mean) / scale
        probability[out] = _held_out(features[~out], false[~out], features[out])
    return probability


def _held_out(features: Doubles, false: Bools, held: Doubles) -> Doubles:
    """Return the probability of held-out segments; 0 if the training segments have one class."""
    if false.all() or not false.any():
        return np.zeros(len(held))
    weights, intercept = _regression(features, false)
    return _sigmoid(held @ weights + intercept)


def quality(probability: Doubles, false: Bools) -> dict[str, float]:
    """Return AUROC and AUPRC of the probability of "false", and how many segments 0.5 drops.

    Returns
    -------
    dict
        ``auroc``, ``auprc`` (positives are false segments; NaN if one kind is missing),
        ``segments``, ``false``, ``false_dropped``, ``true_dropped``.
    """
    false = np.asarray(false, bool)
    measured = exact_ood(probability, false.astype(np.uint8))
    drop = probability > 0.5
    return {
        "auroc": measured.auroc,
        "auprc": measured.ap,
        "segments": len(false),
        "false": int(false.sum()),
        "false_dropped": int((drop & false).sum()),
        "true_dropped": int((drop & ~false).sum()),
    }
