"""One scale per score and data set: 0 marks normal pixels, 1 marks very rare scores.

The scale comes from quantiles of in-distribution pixels.  So a normal image stays dark in the
overlay, images can be compared, and a threshold corresponds to a rate of false alarms.
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
"""The quantiles that the overlay shows without colour and in full colour."""
LEVELS: Doubles = np.concatenate(
    [np.linspace(0, 0.98, 99), 1 - np.logspace(-2, -6, 161), np.ones(1)]
)
"""The stored quantiles: every hundredth, then ever finer towards the most anomalous pixels."""
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
        Scores that the overlay shows without colour and in full colour, low < high.
    quantiles : ndarray of float64, shape of `LEVELS`
        Values of the score, ascending.
    """

    score: str
    low: float
    high: float
    quantiles: Doubles

    @classmethod
    def of(cls, score: str, quantiles: ArrayLike) -> Calibration:
        """Return the scale of a score from its values at `LEVELS`.

        Raises
        ------
        ValueError
            If the number of values is wrong, they decrease, or one is not finite.
        """
        values = np.asarray(quantiles, np.float64)
        if values.shape != LEVELS.shape:
            raise ValueError(f"expected {len(LEVELS)} quantiles, got shape {values.shape}")
        if not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError(f"quantiles of {score} must be finite and must not decrease")
        low, high = (float(np.interp(q, LEVELS, values)) for q in (LOW, HIGH))
        least = max(1e-6, abs(low) / 1024)  # one or two bins, for a constant score
        return cls(score, low, max(high, low + least), values)

    def value(self, fraction: float) -> float:
        """Return the score at a fraction of the scale; 0 is `low`, 1 is `high`."""
        return self.low + fraction * (self.high - self.low)

    def fraction(self, value: float) -> float:
        """Return the position of a score on the scale: 0 is normal, 1 is very rare."""
        return (value - self.low) / (self.high - self.low)

    def cut(self, fraction: float) -> float:
        """Return the threshold for a position of the slider.

        The slider is logarithmic: 0 marks half of the normal pixels, 1 marks one in a thousand.
        The marked share is ``(1 - LOW) ((1 - HIGH) / (1 - LOW))^fraction``, so 0 is `low` and 1 is
        `high`.  Equal steps divide the false alarms of every score by the same factor.
        """
        share = (1 - LOW) * ((1 - HIGH) / (1 - LOW)) ** fraction
        return float(np.interp(1 - share, LEVELS, self.quantiles))

    def share_above(self, value: float) -> float:
        """Return the rate of false alarms: the share of normal pixels above a score, 0 .. 1.

        Interpolated between the quantiles; 0 from the largest observed value upwards.
        """
        above = int(np.searchsorted(self.quantiles, value, "right"))
        if above == 0:
            return 1.0
        if above == len(LEVELS):
            return 0.0
        start, end = self.quantiles[above - 1], self.quantiles[above]
        weight = (value - start) / (end - start)
        level = LEVELS[above - 1] + weight * (LEVELS[above] - LEVELS[above - 1])
        return float(1 - level)


@dataclass(frozen=True)
class Basis:
    """The data behind a calibration, or the data that a new one would use.

    Attributes
    ----------
    embedded : int
        Number of embedded images.
    reviewed : int
        Number of embedded images that a human has reviewed.
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
        """Return whether enough has changed to calibrate again.

        True if the number of embedded images has doubled, all `total` images are embedded, the
        number of reviews has changed by a fifth (at least three), another residual block is in use,
        or a package adds a score.

        Parameters
        ----------
        now : Basis
            The data that a new calibration would use.
        total : int
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
    """Collect the scores of a data set's pixels image by image; calibrators can be added.

    Parameters
    ----------
    classes : int
        N, channels of the embedding.
    length : float
        T, length of the prototypes.
    statistics : ClassStatistics or None
        Statistics of the same data set; without them, scores such as SML get no scale.

    Attributes
    ----------
    histograms : dict of str to OrderedHistogram
        One per score, without twins and the mixture.
    joint : ndarray of int64, shape (2, 256, 256)
        Joint histograms of EDS (rows) and the root of raw and of spread MMSP (columns).  They give
        the mixture for any beta and gamma.
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
        """Count the pixels of one image; skip scores that are not finite.

        Parameters
        ----------
        embedding : ndarray, shape (N, h, w)
        where : ndarray of bool, shape (h, w), optional
            Pixels to count; EDS is still relative to the whole image.
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
        inputs = {"metric head"}
        inputs |= set() if self.usual is None else {"statistics"}
        inputs |= set() if residual is None else {"residual"}
        names = [n for n in available(inputs) if n != "mixture" and not SCORES[n].twin]
        maps = all_scores(
            values, self.length, names, statistics=self.usual, residual=residual, skip_failing=True
        )
        chosen = np.ones(values.shape[1:], bool) if where is None else where
        for name, score_map in maps.items():
            values = score_map[chosen].astype(np.float32)
            self._waiting.setdefault(name, []).append(values[np.isfinite(values)])
        for joint, mmsp in zip(self.joint, (maps["msp"], spread_mmsp(maps["msp"])), strict=True):
            _count_pairs(joint, maps["eds"][chosen], mmsp[chosen])
        if sum(len(values) for values in self._waiting["msp"]) >= _WAITING:
            self._flush()

    def _flush(self) -> None:
        """Add the waiting scores; the histograms are large, so this runs only for many pixels."""
        for name, values in self._waiting.items():
            self.histograms.setdefault(name, OrderedHistogram()).update(np.concatenate(values))
        self._waiting.clear()

    def __add__(self, other: Calibrator) -> Calibrator:
        if (other.classes, other.length) != (self.classes, self.length):
            raise ValueError("calibrations of different models cannot be added")
        total = Calibrator(self.classes, self.length)
        total.usual = self.usual
        total.joint = self.joint + other.joint
        for calibrator in (self, other):
            calibrator._flush()
            for name, histogram in calibrator.histograms.items():
                previous = total.histograms.get(name)
                total.histograms[name] = histogram + (previous or OrderedHistogram())
        return total

    def quantiles(self) -> dict[str, Doubles]:
        """Return the values at `LEVELS` of every score with at least one counted pixel."""
        self._flush()
        return {
            name: histogram.quantile(LEVELS).astype(np.float64)
            for name, histogram in self.histograms.items()
            if histogram.total
        }


def _count_pairs(joint: Counts, eds: NDArray[Any], mmsp: NDArray[Any]) -> None:
    """Add pixels with the given EDS and MMSP to the joint histogram, shape (256, 256)."""
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
        Values at `LEVELS`, by score.
    joint : ndarray of int64, shape (2, 256, 256)
        See `Calibrator`.
    statistics : ClassStatistics
        Mean and variance of each class's largest logit, for SML.
    source : {"reviewed", "all"}
        Whether the scales use pixels that a human reviewed as in-distribution, or all pixels.
    images, points : int
        Number of counted images and grid points.
    basis : Basis
        The available data when the set was made.
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
        """Return the scale of a score, or None without one; the settings apply to the mixture.

        Raises
        ------
        ValueError
            If no score has this name.
        """
        if score not in SCORES:
            raise ValueError(f"unknown score {score!r}; choose from {', '.join(SCORES)}")
        if score == "mixture":
            joint = self.joint[_NORMS.index(mmsp_norm)]
            return _mixed(joint, beta, gamma) if joint.any() else None
        quantiles = self.quantiles.get(SCORES[score].twin or score)
        return None if quantiles is None else Calibration.of(score, quantiles)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for `from_stored`."""
        return {
            **{f"quantiles.{name}": values for name, values in self.quantiles.items()},
            **{f"statistics.{name}": values for name, values in self.statistics.arrays().items()},
            "joint": self.joint,
        }

    def metadata(self) -> dict[str, str]:
        """Return the metadata for `from_stored`."""
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
        """Return the set that `arrays` and `metadata` store.

        Raises
        ------
        ValueError
            If an entry is missing or malformed, for example because another version wrote it.
        """
        try:
            basis = Basis(
                int(metadata["embedded"]),
                int(metadata["reviewed"]),
                metadata["residual"],
                frozenset(metadata.get("packages", "").split()),
            )
            stored = cls(
                {n: values for n, values in _under("quantiles.", arrays) if n in SCORES},
                arrays["joint"],
                ClassStatistics.from_arrays(dict(_under("statistics.", arrays))),
                metadata["source"],
                int(metadata["images"]),
                int(metadata["points"]),
                basis,
            )
        except KeyError as error:
            raise ValueError(f"the stored calibration lacks {error}; calibrate again") from error
        expected = (len(_NORMS), _SIDE, _SIDE)
        if stored.joint.shape != expected:
            shape = stored.joint.shape
            raise ValueError(f"the stored joint histogram must be {expected}, got {shape}")
        for name in stored.quantiles:
            stored.calibration(name)
        standardised = {n for n, s in SCORES.items() if s.needs == ("statistics",)}
        standardised -= stored.basis.packages
        if 0 < len(standardised & stored.quantiles.keys()) < len(standardised):
            raise ValueError(
                f"the stored calibration lacks one of {sorted(standardised)}; calibrate again"
            )
        return stored


def _mixed(joint: Counts, beta: float, gamma: float) -> Calibration:
    """Return the scale of the mixture from a joint histogram (256, 256), to about 1/256."""
    row, column = np.nonzero(joint)
    pairs = (row + 0.5) / _SIDE, ((column + 0.5) / _SIDE) ** 2
    values = mixture(*pairs, beta, gamma)
    order = np.argsort(values)
    share = np.cumsum(joint[row, column][order]) / joint.sum()
    at = np.minimum(np.searchsorted(share, LEVELS * (1 - 1e-12)), len(share) - 1)
    return Calibration.of("mixture", values[order][at])


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Iterable[tuple[str, NDArray[Any]]]:
    """Yield the name without prefix and the array of each entry with this prefix."""
    for name, array in arrays.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), array
