"""The scores of a project's images under one model: which there are, their maps, their scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.checkpoints.residual_header import RPL_ENERGY, ResidualBlockFile, residual_block_in_use
from owlabel.ood.calibration import Basis, Calibration, CalibrationSet
from owlabel.ood.prototype_scores import BETA, GAMMA, MmspNorm
from owlabel.ood.registry import SCORES, all_scores
from owlabel.project.store import ImageRecord, Project
from owlabel.view.model_outputs import Reader

CALIBRATION = "calibration"
"""Name of the file in the cache, beside the embeddings of the base head."""
Map = NDArray[np.float32]


def residual_of(project: Project, header: CheckpointHeader) -> ResidualBlockFile | None:
    """Return the residual block (RPL) in use beside a model, or None."""
    return residual_block_in_use(header.heads[0].hash, project.setting, project.models)


def residual_hash(project: Project, header: CheckpointHeader) -> str:
    """Return the hash of the residual block (RPL) in use beside a model, or nothing."""
    found = residual_of(project, header)
    return "" if found is None else found.header.hash


def basis_of(project: Project, reader: Reader) -> Basis:
    """Return what a calibration could be made from now."""
    embedded = [r for r in project.images() if r.error is None and reader.embedded(r)]
    reviewed = sum(r.state == "reviewed" for r in embedded)
    return Basis(len(embedded), reviewed, residual_hash(project, reader.header))


class ScoreMaps:
    """Scores of the images of one project under one model.

    Parameters
    ----------
    project : Project
    reader : Reader
        Of the model in use.

    Attributes
    ----------
    beta, gamma, mmsp_norm
        Settings of the mixture.
    """

    def __init__(self, project: Project, reader: Reader) -> None:
        self.project = project
        self.beta, self.gamma = BETA, GAMMA
        self.mmsp_norm: MmspNorm = "none"
        self.use(reader)

    def use(self, reader: Reader) -> None:
        """Compute the scores of another model."""
        self.reader, self.header = reader, reader.header
        self.forget()

    def forget(self) -> None:
        """Read calibration and residual block again when they are needed next."""
        self._loaded = False
        self._set: CalibrationSet | None = None
        self._residual: ResidualBlockFile | None = None
        self._scales: dict[tuple[Any, ...], Calibration | None] = {}

    def _read(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        head = self.header.heads[0].hash
        self._residual = residual_of(self.project, self.header)
        arrays = self.project.cache.read(head, CALIBRATION)
        metadata = self.project.cache.metadata(head, CALIBRATION)
        if arrays is None or metadata is None:
            return
        try:
            self._set = CalibrationSet.from_stored(arrays, metadata)
        except ValueError:  # of another version: it will be made again
            self._set = None

    @property
    def calibrations(self) -> CalibrationSet | None:
        """The scales of this model over the data set, None while there are none."""
        self._read()
        return self._set

    def calibration(self, name: str) -> Calibration | None:
        """Return the scale of a score over the data set, None while there is none."""
        mixing = (self.beta, self.gamma, self.mmsp_norm)
        key = (name, *mixing) if name == "mixture" else (name,)
        if key not in self._scales:
            held = self.calibrations
            made = None if held is None else held.calibration(name, *mixing)
            if name == RPL_ENERGY and held is not None and self._residual is not None:
                made = made if held.basis.residual == self._residual.header.hash else None
            self._scales[key] = made
        return self._scales[key]

    def calibration_due(self, now: Basis, total: int) -> bool:
        """Tell whether the data set should be calibrated again; see `Basis.outgrown`."""
        held = self.calibrations
        before = Basis() if held is None else held.basis
        return before.outgrown(replace(now, residual=self._residual_hash()), total)

    def _residual_hash(self) -> str:
        self._read()
        return "" if self._residual is None else self._residual.header.hash

    def unavailable(self, name: str) -> str | None:
        """Return why a score cannot be had now, or None where it can.

        Raises
        ------
        ValueError
            If there is no score of this name.
        """
        if name not in SCORES:
            raise ValueError(f"there is no score {name!r}; there are {', '.join(SCORES)}")
        needs = SCORES[name].needs
        if "metric head" in needs and self.header.kind != "metric":
            return (
                "needs a metric head, and this model was trained with a plain softmax: "
                "train a model with prototypes, or use Entropy, Energy or Max logit"
            )
        if "statistics" in needs and self.calibrations is None:
            return (
                "needs the mean largest logit of each class over the data set, which is not known "
                "yet: wait until the images are embedded (or run `owlabel scores`)"
            )
        if "residual" in needs and not self._residual_hash():
            return "needs a residual block beside this model, and none is in use: train RPL first"
        return None

    def score_map(self, name: str, record: ImageRecord) -> Map | None:
        """Return a score on the grid of an image, (h, w), or None where it is not computed yet.

        Raises
        ------
        ValueError
            If this model or data set cannot give the score; says why and what helps.
        """
        found = self.score_maps(record, [name])
        return None if found is None else found.get(name)

    def score_maps(
        self, record: ImageRecord, names: list[str] | None = None
    ) -> dict[str, Map] | None:
        """Return scores of an image by name, each (h, w), in one pass; None while not embedded.

        Parameters
        ----------
        record : ImageRecord
        names : list of str, optional
            All that are available by default.

        Raises
        ------
        ValueError
            If one of `names` is not available; says why and what helps.
        """
        every = names is None
        if names is None:
            names = [name for name in SCORES if self.unavailable(name) is None]
        for name in names:
            if reason := self.unavailable(name):
                raise ValueError(f"{SCORES[name].title}: {reason}")
        output = self.reader.output(record)
        if output is None:
            return None
        held, residual = self.calibrations, self._residual_energy(record, names)
        if residual is None:
            names = [name for name in names if "residual" not in SCORES[name].needs]
        return all_scores(
            output.embedding,
            self.header.prototype_length,
            names,
            *(self.beta, self.gamma, self.mmsp_norm),
            statistics=None if held is None else held.statistics.mean_and_std(),
            residual=residual,
            skip_failing=every,
        )

    def _residual_energy(self, record: ImageRecord, names: list[str]) -> Map | None:
        """Return the energy of the residual path of an image; None where it is not there."""
        if not any("residual" in SCORES[name].needs for name in names):
            return None
        arrays = self.project.cache.read(self._residual_hash(), record.content_hash)
        return None if arrays is None else arrays["energy"].astype(np.float32)

    def limits(self, name: str, values: Map | None = None) -> tuple[float, float]:
        """Return the scores shown as no and as full colour, the first below the second.

        Parameters
        ----------
        name : str
        values : ndarray, shape (h, w), optional
            The map to be shown: the scale of an unbounded score while there is no calibration.
        """
        scale = self.calibration(name)
        if scale is not None:
            return scale.low, scale.high
        display = SCORES[name].display
        if display is not None:
            return display
        numbers = np.zeros(1) if values is None else values[np.isfinite(values)]
        low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)
        return low, max(high, low + 1e-6 * max(1.0, abs(low)))

    def cut(self, name: str, fraction: float, values: Map | None = None) -> float:
        """Return the score from which on a threshold shows it; arguments as in `limits`.

        Until there is a calibration it is a fraction of the limits.
        """
        scale, (low, high) = self.calibration(name), self.limits(name, values)
        return low + fraction * (high - low) if scale is None else scale.cut(fraction)

    @property
    def reviewed(self) -> bool:
        """Whether the scale is of reviewed in-distribution pixels; else its alarms are a bound."""
        return self.calibrations is not None and self.calibrations.source == "reviewed"

    def describe_scale(self, name: str) -> str:
        """Return in words where the scale of a score comes from; nothing without one."""
        scale, held = self.calibration(name), self.calibrations
        if scale is None or held is None:
            return ""
        over = f"the in-distribution pixels of {held.images} reviewed images"
        if not self.reviewed:
            over = f"all pixels of {held.images} images; unknown objects also count as false alarms"
        return (
            f"0 is the median ({scale.low:.4g}), 1 is the 99.9 % quantile ({scale.high:.4g}) "
            f"of {over}"
        )

    def false_alarms(self, name: str, fraction: float, pixels: float) -> float | None:
        """Return how many pixels of a usual image lie above a threshold.

        Parameters
        ----------
        name : str
        fraction : float
            See `Calibration.cut`.
        pixels : float
            Pixels of an image.

        Returns
        -------
        float or None
            None while the score is not calibrated.
        """
        scale = self.calibration(name)
        return None if scale is None else pixels * scale.share_above(scale.cut(fraction))
