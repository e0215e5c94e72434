"""Explain a candidate in words: the terms of a `MetaClassifier`, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owlabel.ood.meta_classifier import MetaClassifier

Doubles = NDArray[np.float64]

_WEIGHT = 0.1
"""Reasons with a smaller weight in log-odds are left out."""
_MOST = 0.5
"""A candidate lies "mostly next to" a class that holds this share of its neighbour pixels."""


@dataclass(frozen=True)
class Reason:
    """One reason in words; `weight` is its term in the log-odds that the candidate is false."""

    words: str
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The reasons why a candidate is rated as real or false.

    Attributes
    ----------
    probability_false : float
        In [0, 1].
    real, false : tuple of Reason
        Reasons for a real object and for a false detection, the strongest first.
    """

    probability_false: float
    real: tuple[Reason, ...]
    false: tuple[Reason, ...]


def explain(
    classifier: MetaClassifier, features: Doubles, names: Mapping[int, str], classes: Sequence[int]
) -> Explanation:
    """Describe in words how each feature of a candidate changes its probability of being false.

    Related features form one reason: entropy, variation ratio and margin describe uncertainty,
    and the two size ratios describe shape.

    Parameters
    ----------
    classifier : MetaClassifier
    features : ndarray, shape (n,)
    names : mapping
        Class id to name.
    classes : sequence of int
        Class id of each of the q output channels.
    """
    row = features[None]
    added = dict(zip(classifier.columns, classifier.contributions(row)[0].tolist(), strict=True))
    value = dict(zip(classifier.columns, features.tolist(), strict=True))
    apart = (features - classifier.mean) / classifier.scale
    above = dict(zip(classifier.columns, (apart > 0).tolist(), strict=True))
    reasons = [
        Reason(
            "unusually uncertain" if above["E"] else "rather certain", _sum(added, "E", "V", "M")
        ),
        Reason("large" if above["S"] else "small", added["S"]),
        Reason("compact" if above["S_rel"] else "thin", _sum(added, "S_rel", "S_rel_in")),
        Reason("low in the image" if above["C_h"] else "high in the image", added["C_h"]),
        Reason("in the right part" if above["C_w"] else "in the left part", added["C_w"]),
    ]
    for j, class_id in enumerate(classes):
        name = names.get(class_id, f"class {class_id}")
        like = f"looks like {name}" if above[f"p{j}"] else f"does not look like {name}"
        reasons.append(Reason(like, added[f"p{j}"]))
        reasons.append(Reason(_next_to(name, value[f"N{j}"], above[f"N{j}"]), added[f"N{j}"]))
    reasons.sort(key=lambda reason: -abs(reason.weight))
    return Explanation(
        float(classifier.probability_false(row)[0]),
        tuple(r for r in reasons if r.weight < -_WEIGHT),
        tuple(r for r in reasons if r.weight > _WEIGHT),
    )


def _sum(added: Mapping[str, float], *columns: str) -> float:
    return sum(added[column] for column in columns)


def _next_to(name: str, share: float, above: bool) -> str:
    if share >= _MOST:
        return f"mostly next to {name}"
    if above:
        return f"partly next to {name}"
    return f"hardly next to {name}" if share > 0 else f"not next to {name}"
