"""One scale per score and data set: what is usual is 0, what hardly ever occurs is 1.

The scale comes from quantiles of in-distribution pixels, so a usual image does not glow, two images
can be compared, and a threshold can be read as a number of false alarms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from owlabel.arrays.quantile_histogram import OrderedHistogram
from owlabel.ood.prototype_scores import (
    BETA,
    GAMMA,
    PROTOTYPE_LENGTH,
    MmspNorm,
    mixture,
    spread_mmsp,
)
from owlabel.ood.registry import SCORES, all_scores, available
from owlabel.ood.standardized_logits import ClassStatistics

Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]

LOW, HIGH = 0.5, 0.999
"""The quantiles that are shown as no and as full colour."""
LEVELS: Doubles = np.concatenate(
    [np.linspace(0, 0.98, 99), 1 - np.logspace(-2, -6, 161), np.ones(1)]
)
"""The quantiles that are kept: every hundredth, then ever finer towards the strangest pixels."""
_WAITING = 1 << 19
_SIDE = 256
_NORMS: tuple[MmspNorm, ...] = ("none", "minmax")


@dataclass(frozen=True)
class Calibration:
    """The scale of one score over one data set.

    Attributes
    ----------
    score : str
        A key of `SCORES`.
    low, high : float
        The values shown as no and as full colour, low < high.
    quantiles : ndarray of float64, shape of `LEVELS`
        Values of the score, ascending.
    """

    score: str
    low: float
    high: float
    quantiles: Doubles

    @classmethod
    def of(cls, score: str, quantiles: ArrayLike) -> Calibration:
        """Return the scale that follows from the values at `LEVELS`.

        Raises
        ------
        ValueError
            If there are not as many, they fall, or one is no finite number.
        """
        values = np.asarray(quantiles, np.float64)
        if values.shape != LEVELS.shape:
            raise ValueError(f"expected {len(LEVELS)} quantiles, got shape {values.shape}")
        if not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError(f"quantiles of {score} must be finite and must not fall")
        low, high = (float(np.interp(q, LEVELS, values)) for q in (LOW, HIGH))
        least = max(1e-6, abs(low) / 1024)  # a bin or two: a score that is the same everywhere
        return cls(score, low, max(high, low + least), values)

    def value(self, fraction: float) -> float:
        """Return the score at a fraction of the scale; 0 is `low`, 1 is `high`."""
        return self.low + fraction * (self.high - self.low)

    def fraction(self, value: float) -> float:
        """Return where a score lies on the scale: 0 is usual, 1 hardly ever occurs."""
        return (value - self.low) / (self.high - self.low)

    def cut(self, fraction: float) -> float:
        """Return the score above which a share of usual pixels lies that falls with the fraction.

        The share is ``(1 - LOW) ((1 - HIGH) / (1 - LOW))^fraction``: 0 is `low`, 1 is `high`, and
        equal steps of a slider divide the false alarms of every score by the same factor.
        """
        share = (1 - LOW) * ((1 - HIGH) / (1 - LOW)) ** fraction
        return float(np.interp(1 - share, LEVELS, self.quantiles))

    def share_above(self, value: float) -> float:
        """Return the share of usual pixels above a score, 0 .. 1: its false alarms.

        Interpolated between the quantiles; 0 from the largest value that was seen on.
        """
        above = int(np.searchsorted(self.quantiles, value, "right"))
        if above == 0:
            return 1.0
        if above == len(LEVELS):
            return 0.0
        start, end = self.quantiles[above - 1], self.quantiles[above]
        part = (value - start) / (end - start)
        level = LEVELS[above - 1] + part * (LEVELS[above] - LEVELS[above - 1])
        return float(1 - level)


@dataclass(frozen=True)
class Basis:
    """What a data set's calibration was made from, or would be made from now.

    Attributes
    ----------
    embedded : int
        Images that the model had looked at.
    reviewed : int
        Images of these that a human had reviewed.
    residual : str
        Hash of the residual block (RPL) in use, or empty.
    packages : frozenset of str
        Scores that installed packages add.
    """

    embedded: int = 0
    reviewed: int = 0
    residual: str = ""
    packages: frozenset[str] = field(default_factory=lambda: frozenset(SCORES.plugins()))

    def outgrown(self, now: Basis, total: int) -> bool:
        """Tell whether enough has changed since to calibrate again.

        That is: the images have doubled or are all there, a fifth of the reviews (at least three)
        has come or gone, another residual block is in use, or a package adds a score.

        Parameters
        ----------
        now : Basis
        total : int
            Images of the data set.
        """
        if now.embedded == 0:
            return False
        if now.residual != self.residual or now.embedded >= 2 * self.embedded:
            return True
        if now.packages - self.packages:
            return True
        if now.embedded >= total and now.embedded != self.embedded:
            return True
        return abs(now.reviewed - self.reviewed) >= max(3, 0.2 * self.reviewed)


class Calibrator:
    """Collects the scores of a data set's pixels, image by image; parts can be added.

    Parameters
    ----------
    classes : int
        N, channels of the embedding.
    length : float
        T, length of the prototypes.
    statistics : ClassStatistics or None
        Of the same data set; without them the scores that need them, as SML, have no scale.

    Attributes
    ----------
    histograms : dict of str to OrderedHistogram
        By score; twins and the mixture are left out.
    joint : ndarray of int64, shape (2, 256, 256)
        Pixels by EDS (rows) and by the root of MMSP, as it is and spread over its image: the
        mixture of any beta and gamma is made from it.
    """

    def __init__(
        self,
        classes: int,
        length: float = PROTOTYPE_LENGTH,
        statistics: ClassStatistics | None = None,
    ) -> None:
        self.classes, self.length = classes, length
        enough = statistics is not None and statistics.counts.sum() >= 2
        self.usual = statistics.mean_and_std() if statistics is not None and enough else None
        self.histograms: dict[str, OrderedHistogram] = {}
        self.joint: Counts = np.zeros((len(_NORMS), _SIDE, _SIDE), np.int64)
        self._waiting: dict[str, list[NDArray[np.float32]]] = {}

    def update(
        self,
        embedding: NDArray[Any],
        where: NDArray[np.bool_] | None = None,
        residual: NDArray[Any] | None = None,
    ) -> None:
        """Count the pixels of one image; a score that is no finite number is left out.

        Parameters
        ----------
        embedding : ndarray, shape (N, h, w)
        where : ndarray of bool, shape (h, w), optional
            Only these pixels; EDS still refers to the whole image.
        residual : ndarray, shape (h, w), optional
            Energy of the residual path.

        Raises
        ------
        ValueError
            If the number of classes differs.
        """
        if embedding.ndim != 3 or len(embedding) != self.classes:
            raise ValueError(f"expected shape ({self.classes}, h, w), got {embedding.shape}")
        values = np.asarray(embedding, np.float32)
        there = {"metric head"}
        there |= set() if self.usual is None else {"statistics"}
        there |= set() if residual is None else {"residual"}
        names = [n for n in available(there) if n != "mixture" and not SCORES[n].twin]
        maps = all_scores(
            values, self.length, names, statistics=self.usual, residual=residual, skip_failing=True
        )
        chosen = np.ones(values.shape[1:], bool) if where is None else where
        for name, one in maps.items():
            picked = one[chosen].astype(np.float32)
            self._waiting.setdefault(name, []).append(picked[np.isfinite(picked)])
        for joint, mmsp in zip(self.joint, (maps["msp"], spread_mmsp(maps["msp"])), strict=True):
            _count_pairs(joint, maps["eds"][chosen], mmsp[chosen])
        if sum(len(part) for part in self._waiting["msp"]) >= _WAITING:
            self._flush()

    def _flush(self) -> None:
        """Count what waits; many pixels at a time, since a histogram is long."""
        for name, parts in self._waiting.items():
            self.histograms.setdefault(name, OrderedHistogram()).update(np.concatenate(parts))
        self._waiting.clear()

    def __add__(self, other: Calibrator) -> Calibrator:
        if (other.classes, other.length) != (self.classes, self.length):
            raise ValueError("calibrations of different models cannot be added")
        total = Calibrator(self.classes, self.length)
        total.usual = self.usual
        total.joint = self.joint + other.joint
        for part in (self, other):
            part._flush()
            for name, histogram in part.histograms.items():
                held = total.histograms.get(name)
                total.histograms[name] = histogram + (held or OrderedHistogram())
        return total

    def quantiles(self) -> dict[str, Doubles]:
        """Return the values at `LEVELS` of every score of which a pixel was counted."""
        self._flush()
        return {
            name: histogram.quantile(LEVELS).astype(np.float64)
            for name, histogram in self.histograms.items()
            if histogram.total
        }


def _count_pairs(joint: Counts, eds: NDArray[Any], mmsp: NDArray[Any]) -> None:
    """Count the pixels of some EDS and MMSP in `joint`, (256, 256)."""
    known = np.isfinite(eds) & np.isfinite(mmsp)
    row = np.minimum(eds[known] * _SIDE, _SIDE - 1).astype(np.intp)
    column = np.minimum(np.sqrt(mmsp[known]) * _SIDE, _SIDE - 1).astype(np.intp)
    pairs = np.bincount(row * _SIDE + column, minlength=_SIDE * _SIDE)
    joint += pairs.reshape(_SIDE, _SIDE)


@dataclass(frozen=True)
class CalibrationSet:
    """The scales of all scores of a model over a data set.

    Attributes
    ----------
    quantiles : mapping of str to ndarray
        By score: values at `LEVELS`.
    joint : ndarray of int64, shape (2, 256, 256)
        See `Calibrator`.
    statistics : ClassStatistics
        Usual largest logit of each class, for SML.
    source : {"reviewed", "all"}
        Whether the pixels are in-distribution by a human's review, or all there are.
    images, points : int
        Images, and points of their grids, that were counted.
    basis : Basis
        What there was to choose from.
    """

    quantiles: Mapping[str, Doubles]
    joint: Counts
    statistics: ClassStatistics
    source: str
    images: int
    points: int
    basis: Basis

    def calibration(
        self,
        score: str,
        beta: float = BETA,
        gamma: float = GAMMA,
        mmsp_norm: MmspNorm = "none",
    ) -> Calibration | None:
        """Return the scale of a score, the mixture's for these settings; None if it has none.

        Raises
        ------
        ValueError
            If there is no score of this name.
        """
        if score not in SCORES:
            raise ValueError(f"there is no score {score!r}; there are {', '.join(SCORES)}")
        if score == "mixture":
            joint = self.joint[_NORMS.index(mmsp_norm)]
            return _mixed(joint, beta, gamma) if joint.any() else None
        found = self.quantiles.get(SCORES[score].twin or score)
        return None if found is None else Calibration.of(score, found)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that `from_stored` needs."""
        return {
            **{f"quantiles.{name}": values for name, values in self.quantiles.items()},
            **{f"statistics.{name}": values for name, values in self.statistics.arrays().items()},
            "joint": self.joint,
        }

    def metadata(self) -> dict[str, str]:
        """Return the plain values that `from_stored` needs."""
        return {
            "source": self.source,
            "images": str(self.images),
            "points": str(self.points),
            "embedded": str(self.basis.embedded),
            "reviewed": str(self.basis.reviewed),
            "residual": self.basis.residual,
            "packages": " ".join(sorted(self.basis.packages)),
        }

    @classmethod
    def from_stored(
        cls, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]
    ) -> CalibrationSet:
        """Return what `arrays` and `metadata` described.

        Raises
        ------
        ValueError
            If something is missing or malformed, e.g. written by another version.
        """
        try:
            basis = Basis(
                int(metadata["embedded"]),
                int(metadata["reviewed"]),
                metadata["residual"],
                frozenset(metadata.get("packages", "").split()),
            )
            made = cls(
                {n: values for n, values in _under("quantiles.", arrays) if n in SCORES},
                arrays["joint"],
                ClassStatistics.from_arrays(dict(_under("statistics.", arrays))),
                metadata["source"],
                int(metadata["images"]),
                int(metadata["points"]),
                basis,
            )
        except KeyError as error:
            raise ValueError(f"the stored calibration lacks {error}") from error
        if made.joint.shape != (len(_NORMS), _SIDE, _SIDE):
            raise ValueError(f"the stored calibration has pairs of shape {made.joint.shape}")
        for name in made.quantiles:
            made.calibration(name)
        standardised = {n for n, s in SCORES.items() if s.needs == ("statistics",)}
        standardised -= made.basis.packages
        if 0 < len(standardised & made.quantiles.keys()) < len(standardised):
            raise ValueError(f"the stored calibration lacks one of {sorted(standardised)}")
        return made


def _mixed(joint: Counts, beta: float, gamma: float) -> Calibration:
    """Make the mixture of all pairs that occurred (256, 256), to about 1/256."""
    row, column = np.nonzero(joint)
    pairs = (row + 0.5) / _SIDE, ((column + 0.5) / _SIDE) ** 2
    values = mixture(*pairs, beta, gamma)
    order = np.argsort(values)
    share = np.cumsum(joint[row, column][order]) / joint.sum()
    at = np.minimum(np.searchsorted(share, LEVELS * (1 - 1e-12)), len(share) - 1)
    return Calibration.of("mixture", values[order][at])


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Iterable[tuple[str, NDArray[Any]]]:
    """Yield name and array of what is stored under a prefix."""
    for name, array in arrays.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), array
