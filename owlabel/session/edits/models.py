"""The annotator's acts on model versions: adopt, discard, switch, add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psygnal import Signal

from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.checkpoints.residual_header import MODEL_KIND, read_residual_header, setting_key
from owlabel.project.store import ModelVersion
from owlabel.session.core.acts import Acts
from owlabel.view.view import View


class StaleResultError(ValueError):
    """A result was trained from a model that is no longer in use."""


class Models:
    """The model versions of a session.

    Parameters
    ----------
    view : View
    acts : Acts
    """

    changed = Signal()
    """Another model is in use."""

    def __init__(self, view: View, acts: Acts) -> None:
        self._view, self._acts = view, acts

    @property
    def active(self) -> ModelVersion:
        """The model in use."""
        return self._view.model

    @property
    def header(self) -> CheckpointHeader:
        """The header of the model in use: its classes, heads and preprocessing."""
        return self._view.header

    def versions(self) -> list[ModelVersion]:
        """Return all model versions of the project, oldest first, without residual blocks."""
        return [model for model in self._view.project.models() if model.kind != MODEL_KIND]

    def adopt(self, model_id: int) -> None:
        """Use a trained model or a residual block from now on.

        Raises
        ------
        StaleResultError
            If it was trained from another model than the one in use.
        """
        version = self._version(model_id)
        if version.kind == MODEL_KIND:
            self._adopt_residual(version)
            return
        if version.parent_id != self.active.id:
            raise StaleResultError(
                f"{version.name!r} was not trained from the model in use, {self.active.name!r}: "
                "train again, or first switch to the model it was trained from"
            )
        settings = {"active_model": version.id, f"settled_{version.id}": "adopted"}
        self._change("adopt", version, "use", settings)

    def _adopt_residual(self, version: ModelVersion) -> None:
        """Use a residual block with the model in use; the labels stay the same."""
        base = self.header.heads[0].hash
        if read_residual_header(version.path).base_hash != base:
            raise StaleResultError(
                f"{version.name!r} was trained for another base model than "
                f"{self.active.name!r}: train again, or first switch to that model"
            )
        settings = {setting_key(base): version.id, f"settled_{version.id}": "adopted"}
        self._change("adopt", version, "use", settings)

    def discard(self, model_id: int) -> None:
        """Discard a trained model; it stays in the list of versions."""
        version = self._version(model_id)
        self._change("discard", version, "discard", {f"settled_{version.id}": "discarded"})

    def switch(self, model_id: int) -> None:
        """Use another model version of the project from now on."""
        version = self._version(model_id)
        self._change("switch", version, "use", {"active_model": version.id})

    def _change(self, kind: str, version: ModelVersion, verb: str, values: dict[str, Any]) -> None:
        payload = {"model_id": version.id}
        with self._acts.act(kind, payload, f"{verb} {version.name}") as action:
            for key, value in values.items():
                action.set_setting(key, value)

    def _version(self, model_id: int) -> ModelVersion:
        for version in self._view.project.models():
            if version.id == model_id:
                return version
        raise ValueError(f"no model version has the id {model_id}: see `owlabel models`")

    def add_file(self, path: Path) -> ModelVersion:
        """Copy a checkpoint into the project as a new model version.

        Raises
        ------
        ValueError
            If the file is not a checkpoint, or its base classes differ from the project's.
        """
        header = read_header(path)
        theirs = {c.id: c.name for c in header.classes.base}
        ours = {c.id: c.name for c in self._view.classes.base}
        if theirs != ours:
            raise ValueError(
                f"{path} has other base classes than this project: create a new project with it"
            )
        return self._view.project.add_model(path, header.name, "base", None, {})
