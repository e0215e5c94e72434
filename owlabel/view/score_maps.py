"""The anomaly scores of a project's images under one model, and their scale."""

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
"""Name of the calibration in the cache, beside the embeddings of the base head."""
Map = NDArray[np.float32]


def residual_of(project: Project, header: CheckpointHeader) -> ResidualBlockFile | None:
    """Return the residual block (RPL) that is used with a model, or None."""
    return residual_block_in_use(header.heads[0].hash, project.setting, project.models)


def residual_hash(project: Project, header: CheckpointHeader) -> str:
    """Return the hash of the residual block (RPL) that is used with a model, or ""."""
    residual = residual_of(project, header)
    return "" if residual is None else residual.header.hash


def basis_of(project: Project, reader: Reader) -> Basis:
    """Return the data on which a calibration would be based now."""
    embedded = [r for r in project.images() if r.error is None and reader.embedded(r)]
    reviewed = sum(r.state == "reviewed" for r in embedded)
    return Basis(len(embedded), reviewed, residual_hash(project, reader.header))


class ScoreMaps:
    """The scores of the images of one project under one model.

    Parameters
    ----------
    project : Project
    reader : Reader
        Reads the outputs of the model in use.

    Attributes
    ----------
    beta, gamma, mmsp_norm
        Settings of the mixture of EDS and MMSP.
    """

    def __init__(self, project: Project, reader: Reader) -> None:
        self.project = project
        self.beta, self.gamma = BETA, GAMMA
        self.mmsp_norm: MmspNorm = "none"
        self.use(reader)

    def use(self, reader: Reader) -> None:
        """Compute the scores of another model from now on."""
        self.reader, self.header = reader, reader.header
        self.forget()

    def forget(self) -> None:
        """Drop the calibration and the residual block; they are read again when needed."""
        self._is_read = False
        self._set: CalibrationSet | None = None
        self._residual: ResidualBlockFile | None = None
        self._scales: dict[tuple[Any, ...], Calibration | None] = {}

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        head = self.header.heads[0].hash
        self._residual = residual_of(self.project, self.header)
        arrays = self.project.cache.read(head, CALIBRATION)
        metadata = self.project.cache.metadata(head, CALIBRATION)
        if arrays is None or metadata is None:
            return
        try:
            self._set = CalibrationSet.from_stored(arrays, metadata)
        except ValueError:  # written by another version: it will be computed again
            self._set = None

    @property
    def calibrations(self) -> CalibrationSet | None:
        """The calibration of this model over the data set; None before the first."""
        self._read()
        return self._set

    def calibration(self, name: str) -> Calibration | None:
        """Return the scale of a score over the data set, or None if there is none yet."""
        mixing = (self.beta, self.gamma, self.mmsp_norm)
        key = (name, *mixing) if name == "mixture" else (name,)
        if key not in self._scales:
            calibrations = self.calibrations
            scale = None if calibrations is None else calibrations.calibration(name, *mixing)
            if name == RPL_ENERGY and calibrations is not None and self._residual is not None:
                of_this_block = calibrations.basis.residual == self._residual.header.hash
                scale = scale if of_this_block else None
            self._scales[key] = scale
        return self._scales[key]

    def calibration_due(self, now: Basis, total: int) -> bool:
        """Return whether to calibrate the data set again; see `Basis.outgrown`."""
        calibrations = self.calibrations
        before = Basis() if calibrations is None else calibrations.basis
        return before.outgrown(replace(now, residual=self._residual_hash()), total)

    def _residual_hash(self) -> str:
        self._read()
        return "" if self._residual is None else self._residual.header.hash

    def unavailable(self, name: str) -> str | None:
        """Return why a score cannot be computed now, or None if it can.

        Raises
        ------
        ValueError
            If there is no score with this name.
        """
        if name not in SCORES:
            raise ValueError(f"there is no score {name!r}: choose one of {', '.join(SCORES)}")
        needs = SCORES[name].needs
        if "metric head" in needs and self.header.kind != "metric":
            return (
                "needs a metric head, but this model was trained with a plain softmax: train a "
                "model with prototypes, or use entropy, energy or max-logit"
            )
        if "statistics" in needs and self.calibrations is None:
            return (
                "needs the mean logit of each class over the data set, which is not computed yet: "
                "wait until the images are embedded, or run `owlabel scores`"
            )
        if "residual" in needs and not self._residual_hash():
            return "needs a residual block for this model, but none is in use: train RPL first"
        return None

    def score_map(self, name: str, record: ImageRecord) -> Map | None:
        """Return a score on the grid of an image, (h, w), or None if it is not computed yet.

        Raises
        ------
        ValueError
            If this model or data set cannot compute the score, with the reason and the remedy.
        """
        maps = self.score_maps(record, [name])
        return None if maps is None else maps.get(name)

    def score_maps(
        self, record: ImageRecord, names: list[str] | None = None
    ) -> dict[str, Map] | None:
        """Return scores of an image by name, each (h, w); None if the image is not embedded.

        Parameters
        ----------
        record : ImageRecord
        names : list of str, optional
            By default all available scores.

        Raises
        ------
        ValueError
            If one of `names` is not available, with the reason and the remedy.
        """
        all_available = names is None
        if names is None:
            names = [name for name in SCORES if self.unavailable(name) is None]
        for name in names:
            if reason := self.unavailable(name):
                raise ValueError(f"{SCORES[name].title}: {reason}")
        output = self.reader.output(record)
        if output is None:
            return None
        calibrations = self.calibrations
        residual = self._residual_energy(record, names)
        if residual is None:
            names = [name for name in names if "residual" not in SCORES[name].needs]
        return all_scores(
            output.embedding,
            self.header.prototype_length,
            names,
            *(self.beta, self.gamma, self.mmsp_norm),
            statistics=None if calibrations is None else calibrations.statistics.mean_and_std(),
            residual=residual,
            skip_failing=all_available,
        )

    def _residual_energy(self, record: ImageRecord, names: list[str]) -> Map | None:
        """Return the energy of the residual path of an image, or None if it is not computed."""
        if not any("residual" in SCORES[name].needs for name in names):
            return None
        arrays = self.project.cache.read(self._residual_hash(), record.content_hash)
        return None if arrays is None else arrays["energy"].astype(np.float32)

    def limits(self, name: str, values: Map | None = None) -> tuple[float, float]:
        """Return the scores that are shown transparent and in full colour, the lower one first.

        Parameters
        ----------
        name : str
        values : ndarray, shape (h, w), optional
            The map to show. Its range is the scale of an unbounded score without a calibration.
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
        """Return the score above which a threshold shows a pixel.

        Parameters
        ----------
        name : str
        fraction : float
            Position of the threshold on the calibrated scale, see `Calibration.cut`. Without a
            calibration, a fraction of `limits`.
        values : ndarray, shape (h, w), optional
            As in `limits`.
        """
        scale, (low, high) = self.calibration(name), self.limits(name, values)
        return low + fraction * (high - low) if scale is None else scale.cut(fraction)

    @property
    def reviewed(self) -> bool:
        """Whether the scale comes from reviewed pixels; if not, false alarms are an upper bound."""
        return self.calibrations is not None and self.calibrations.source == "reviewed"

    def describe_scale(self, name: str) -> str:
        """Describe which pixels a scale was computed from; an empty string if there is no scale."""
        scale, calibrations = self.calibration(name), self.calibrations
        if scale is None or calibrations is None:
            return ""
        pixels = f"the in-distribution pixels of {calibrations.images} reviewed images"
        if not self.reviewed:
            pixels = f"all pixels of {calibrations.images} images; unknown objects count as alarms"
        return (
            f"0 marks the median score ({scale.low:.4g}), 1 marks the score that one pixel in a "
            f"thousand exceeds ({scale.high:.4g}), over {pixels}"
        )

    def false_alarms(self, name: str, fraction: float, pixels: float) -> float | None:
        """Return how many pixels of a normal image lie above a threshold.

        Parameters
        ----------
        name : str
        fraction : float
            See `Calibration.cut`.
        pixels : float
            Number of pixels of an image.

        Returns
        -------
        float or None
            None if the score is not calibrated.
        """
        scale = self.calibration(name)
        return None if scale is None else pixels * scale.share_above(scale.cut(fraction))
