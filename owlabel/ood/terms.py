"""What the scores of one image share: each term is computed once, when a score first needs it.

Formulas of single pixels run block by block, while a block of the embedding is in the processor's
cache; all formulas that are known in advance share one pass over the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from owlabel.arrays.cache_blocks import (
    Array,
    Scratch,
    SoftmaxTerms,
    by_blocks,
    check_image,
    namespace,
    softmax_terms,
    unit,
)
from owlabel.ood import standardized_logits
from owlabel.ood.logit_scores import energy_of, entropy_of, margin_of, max_logit_of, msp_of
from owlabel.ood.prototype_scores import (
    BETA,
    CLIP_FACTOR,
    GAMMA,
    PROTOTYPE_LENGTH,
    MmspNorm,
    absolute_of,
    checked_length,
    distance_sum_of,
    mixture,
    turned_minmax,
)


class Mixing(NamedTuple):
    """Settings of the mixture, see `owlabel.ood.prototype_scores.mixture`."""

    beta: float = BETA
    gamma: float = GAMMA
    mmsp_norm: MmspNorm = "none"


class Pixels:
    """A block of rows of one image, for formulas that treat every pixel alone.

    Parameters
    ----------
    block : array, shape (N, rows, W)
        ``scale * f``; `softmax` writes over it where it is a NumPy array.
    scale : float
        ``2T unit(f)`` where a formula reads `softmax`.
    length : float
        T, length of the prototypes.
    scratch : Scratch
    copy : callable
        Returns the block anew, for a term that is asked for after `softmax`.
    second : bool
        Compute `SoftmaxTerms.second` together with the others.
    """

    def __init__(
        self,
        block: Array,
        scale: float,
        length: float,
        scratch: Scratch,
        copy: Callable[[], Array],
        second: bool,
    ) -> None:
        self.length = length
        self.classes = int(block.shape[0])
        self._block: Array | None = block
        self._scale, self._scratch, self._copy, self._with_second = scale, scratch, copy, second
        self._sums: Array | None = None
        self._softmax: SoftmaxTerms | None = None

    @property
    def lowest(self) -> float:
        """The least distance sum there is, ``(N - 1) T^2``: that of the centroid."""
        return (self.classes - 1) * self.length * self.length

    @property
    def distance_sum(self) -> Array:
        """Sum of the squared distances to all prototypes, (rows, W)."""
        if self._sums is None:
            self._sums = distance_sum_of(self._whole(), self.length, self._scratch, self._scale)
        return self._sums

    @property
    def softmax(self) -> SoftmaxTerms:
        """What softmax scores are made of; `SoftmaxTerms.second` may be None."""
        if self._softmax is None:
            block = self._whole()
            self._softmax = softmax_terms(block, self._scratch, self._with_second)
            if namespace(block) is np:
                self._block = None  # written over
        return self._softmax

    @property
    def with_second(self) -> SoftmaxTerms:
        """The same with `SoftmaxTerms.second`, ``p_2 / p_1``."""
        if not self._with_second:
            self._with_second, self._softmax = True, None
        return self.softmax

    def _whole(self) -> Array:
        if self._block is None:
            self._block = self._copy()
        return self._block


PixelFormula: TypeAlias = Callable[[Pixels], Array]
"""Takes a block of pixels, returns their score, (rows, W)."""


class Terms:
    """One image as its scores see it.  Every map is computed once, when it is first asked for.

    Parameters
    ----------
    embedding : array, shape (N, H, W)
        Output of the metric head, N >= 2; of logits z take ``z / (2T)``, or give T = 0.5.
    T : float
        Length of the prototypes.
    mixing : Mixing
        Settings of the mixture.
    statistics : tuple of ndarray, shape (N,), optional
        Mean and standard deviation of each class's largest logit over the data set.
    residual : array, shape (H, W), optional
        Energy of the residual path (RPL) of this image.

    Raises
    ------
    ValueError
        If the embedding has another shape, or T is not finite and above 0.
    """

    def __init__(
        self,
        embedding: Array,
        T: float = PROTOTYPE_LENGTH,
        *,
        mixing: Mixing | None = None,
        statistics: tuple[Any, Any] | None = None,
        residual: Array | None = None,
    ) -> None:
        check_image(embedding)
        self.embedding, self.length = embedding, checked_length(T)
        self.mixing = Mixing() if mixing is None else mixing
        self.statistics, self.residual = statistics, residual
        self._maps: dict[Any, Array] = {}

    @property
    def logits(self) -> Array:
        """``z = 2T f``, shape (N, H, W), in float32, or float64 where the embedding is."""
        xp = namespace(self.embedding)
        dtype = xp.float64 if self.embedding.dtype == xp.float64 else xp.float32
        return 2 * self.length * xp.asarray(self.embedding, dtype=dtype)

    @property
    def usual(self) -> tuple[Any, Any]:
        """The statistics; raises ValueError without them."""
        if self.statistics is None:
            raise ValueError("the statistics of the data set are not there")
        return self.statistics

    def of(self, function: Callable[[Terms], Array]) -> Array:
        """Return ``function(self)``, kept for the next who asks."""
        if function not in self._maps:
            self._maps[function] = function(self)
        return self._maps[function]

    def pixelwise(self, formula: PixelFormula) -> Array:
        """Return a formula of single pixels for the whole image, (H, W); kept, too."""
        self.prepare([formula])
        return self._maps[formula]

    def prepare(self, formulas: Iterable[PixelFormula]) -> None:
        """Compute several formulas in one pass over the image."""
        due = [f for f in dict.fromkeys(formulas) if f not in self._maps]
        if not due:
            return
        scale = 2 * self.length * unit(self.embedding)
        if all(formula in (distance_sum, eds_absolute) for formula in due):
            scale = 1.0
        start = 0

        def kernel(block: Array, scratch: Scratch) -> tuple[Array, ...]:
            nonlocal start
            first, start = start, start + block.shape[1]

            def copy() -> Array:
                return block.dtype.type(scale) * self.embedding[:, first:start].astype(block.dtype)

            pixels = Pixels(block, scale, self.length, scratch, copy, margin in due)
            return tuple(formula(pixels) for formula in due)

        self._maps.update(zip(due, by_blocks(kernel, self.embedding, scale), strict=True))


def distance_sum(pixels: Pixels) -> Array:
    """Return the sum of the squared distances to all prototypes."""
    return pixels.distance_sum


def eds_absolute(pixels: Pixels) -> Array:
    """Return EDS in its absolute form."""
    return absolute_of(pixels.distance_sum, pixels.lowest)


def margin(pixels: Pixels) -> Array:
    """Return the probability margin."""
    return margin_of(pixels.with_second)


def msp(pixels: Pixels) -> Array:
    """Return one minus the largest probability; of a metric head this is MMSP."""
    return msp_of(pixels.softmax)


def entropy(pixels: Pixels) -> Array:
    """Return the normalised softmax entropy."""
    return entropy_of(pixels.softmax)


def energy(pixels: Pixels) -> Array:
    """Return the free energy."""
    return energy_of(pixels.softmax)


def max_logit(pixels: Pixels) -> Array:
    """Return the largest logit with its sign turned."""
    return max_logit_of(pixels.softmax)


def eds(terms: Terms) -> Array:
    """Return EDS relative to the image."""
    lowest = (terms.embedding.shape[0] - 1) * terms.length * terms.length
    return turned_minmax(terms.pixelwise(distance_sum), CLIP_FACTOR * 2 * lowest)


def eds_mmsp_mixture(terms: Terms) -> Array:
    """Return the mixture of EDS and MMSP."""
    return mixture(terms.of(eds), terms.pixelwise(msp), *terms.mixing)


def sml(terms: Terms) -> Array:
    """Return the standardised max-logit."""
    return standardized_logits.sml(terms.logits, *terms.usual)


def sml_smooth(terms: Terms) -> Array:
    """Return the standardised max-logit, smoothed, on a grid of one point every 4 pixels."""
    return standardized_logits.sml_smooth(terms.logits, *terms.usual)


def residual_energy(terms: Terms) -> Array:
    """Return the energy of the residual path."""
    return terms.residual
