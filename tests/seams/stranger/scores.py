from __future__ import annotations

from owlabel.arrays.cache_blocks import Array
from owlabel.ood.registry import Score
from owlabel.ood.terms import Terms, msp


def _surprise(terms: Terms) -> Array:
    return terms.pixelwise(msp) ** 2


SURPRISE = Score(
    "surprise", "Surprise", "(1 - max p)^2", "0 .. 1", "a stranger", _surprise, parts=(msp,)
)
