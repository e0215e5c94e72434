"""The scores of a session's images, with the settings of the session."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from owlabel.session.edits.settings import Settings
from owlabel.view.score_maps import ScoreMaps, residual_hash
from owlabel.view.view import View


class Scores(ScoreMaps):
    """The scores of a session's images.

    Parameters
    ----------
    view : View
    settings : Settings
        Hold the mixture and the threshold.
    """

    changed = Signal()
    """The scores of all images, or their scale, have changed."""

    def __init__(self, view: View, settings: Settings) -> None:
        self._view, self._settings = view, settings
        self._residual_in_use = residual_hash(view.project, view.header)
        self._energy_shown: tuple[int | None, str] = (None, "")
        super().__init__(view.project, view.reader)
        self._read_mixture()

    def read_settings(self) -> bool:
        """Read mixture and residual block; return whether the residual block has changed."""
        self._read_mixture()
        before = self._residual_in_use
        self._residual_in_use = residual_hash(self._view.project, self._view.header)
        if self._residual_in_use == before:
            return False
        self.forget()
        return True

    def _read_mixture(self) -> None:
        settings = self._settings
        self.beta, self.gamma, self.mmsp_norm = settings.beta, settings.gamma, settings.mmsp_norm

    @property
    def has_residual(self) -> bool:
        """Whether a residual block (RPL) is used with the model."""
        return bool(self._residual_in_use)

    def current(self, name: str) -> NDArray[np.float32] | None:
        """Return a score on the grid of the current image, (h, w), or None if not computed yet.

        Raises
        ------
        ValueError
            If this model or data set cannot compute the score, with the reason and the remedy.
        """
        return self.score_map(name, self._view.record())

    def distances(self, row: int, col: int) -> dict[str, float]:
        """Return the squared distance of a pixel to each class prototype, by class name."""
        return self._view.distances(row, col)

    def false_alarms_shown(self, name: str, fraction: float | None = None) -> float | None:
        """Return how many pixels of a normal image lie above a threshold.

        The image has the size of the current image.

        Parameters
        ----------
        name : str
        fraction : float, optional
            Position on the score's scale; by default the threshold setting.

        Returns
        -------
        float or None
            None if the score is not calibrated.
        """
        height, width = self._view.shape
        wanted = self._settings.threshold if fraction is None else fraction
        return self.false_alarms(name, wanted, height * width)

    def energy_arrived(self) -> bool:
        """Return True once, when the residual energy of the current image becomes available."""
        shown = (self._view.image_id, self._residual_in_use)
        if not self.has_residual or shown[0] is None or shown == self._energy_shown:
            return False
        content_hash = self._view.record().content_hash
        if not self._view.project.cache.has(self._residual_in_use, content_hash):
            return False
        self._energy_shown = shown
        return True
