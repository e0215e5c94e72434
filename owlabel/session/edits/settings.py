"""The annotator's acts on settings, one for each key; `view.project_settings` has the ranges."""

from __future__ import annotations

from typing import Any

from psygnal import Signal

from owlabel.ood.prototype_scores import check_mixture
from owlabel.session.core.acts import Acts
from owlabel.view.project_settings import CHECKS, MIXTURE, StoredSettings
from owlabel.view.view import View


class Settings(StoredSettings):
    """The settings of a session.

    Parameters
    ----------
    view : View
        Uses these settings.
    acts : Acts
    """

    changed = Signal(object)
    """The keys of the settings that changed."""

    def __init__(self, view: View, acts: Acts) -> None:
        super().__init__(view.project)
        self._acts = acts
        vars(self).update(vars(view.settings))  # they have just been read
        view.settings = self

    def set(self, **values: Any) -> None:
        """Change settings; a value of None, or equal to the current one, changes nothing.

        Raises
        ------
        ValueError
            If a key is unknown or a value is out of range.
        """
        unknown = sorted(values.keys() - CHECKS.keys())
        if unknown:
            raise ValueError(
                f"there is no setting {unknown[0]!r}: choose one of {', '.join(CHECKS)}"
            )
        checked = {k: CHECKS[k](value) for k, value in values.items() if value is not None}
        changed = {k: value for k, value in checked.items() if value != getattr(self, k)}
        if changed.keys() & set(MIXTURE):
            check_mixture(**{key: changed.get(key, getattr(self, key)) for key in MIXTURE})
        for key, value in changed.items():
            payload = {"key": key, "value": value}
            with self._acts.act("setting", payload, f"set {key}") as action:
                action.set_setting(key, value)
