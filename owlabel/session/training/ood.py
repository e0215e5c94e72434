"""Training that makes a model know what it does not know: asked for, compared, adopted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from owlabel.checkpoints.residual_header import read_residual_header, setting_key
from owlabel.classes import MAX_CLASSES, OOD_PROXY
from owlabel.jobs.queue import JobRow
from owlabel.project.store import ModelVersion
from owlabel.session.background.calibration import Calibrating
from owlabel.view.score_maps import residual_hash

if TYPE_CHECKING:
    from owlabel.jobs.requests.ood import OodRequest

KIND = "ood"


class StaleResultError(ValueError):
    """The model changed while a job ran, so that its result does not fit any more."""


@dataclass(frozen=True)
class OodResult:
    """What an OoD training made, waiting to be adopted or discarded.

    Attributes
    ----------
    model_id : int
        The new version: a base model, or a residual block beside the old one.
    method : str
        A key of `METHODS`.
    comparison : mapping
        ``before`` and ``after``: measure to value in [0, 1].
    told : mapping
        What the numbers rest on: objects, frames, human pixels.
    """

    model_id: int
    method: str
    comparison: Mapping[str, Any]
    told: Mapping[str, Any]


def basis(result: OodResult) -> str:
    """Return in words what a result's numbers rest on, and what to do where it is no better."""
    told = result.told
    count = told.get("val_objects", 0)
    text = (
        f"In percent, on {told.get('val_frames', 0)} images kept apart, with "
        f"{count} object{'' if count == 1 else 's'} pasted. "
    )
    measured = [result.comparison.get(when, {}).get("AP") for when in ("before", "after")]
    if None not in measured and measured[1] < measured[0]:
        text = (
            "It sees unknown objects worse than before: discard it, train longer or take more "
            f"objects. {text}"
        )
    if told.get("val_objects") and told.get("objects", 0) < 4:
        text += "So few objects are trained on and measured on alike. "
    human = told.get("val_human_pixels", 0)
    return text + (
        f"{human:,} of their pixels were labelled by people; the others count as the model saw "
        "them before."
    )


class OodTraining(Calibrating):
    """An editor that can have its model trained on OoD objects; `Session` has the worker."""

    _residual_id: Any = None
    _residual_hash = ""
    _energy_of: tuple[int | None, str] = (None, "")

    def jobs(self) -> list[JobRow]:
        """Return the jobs of this project, newest first."""
        raise NotImplementedError

    def _version(self, model_id: int) -> ModelVersion:
        """Return a model version of the project."""
        raise NotImplementedError

    def train_ood(self, request: OodRequest) -> int:
        """Train on OoD objects in the worker; return the job's id.

        Raises
        ------
        ValueError
            If nothing in this project is annotated to train on, or nothing is at the path.
        """
        if request.source == "project" and not self.has_ood_objects():
            raise ValueError(
                "this project has no annotated OoD object: click one and name it first, or take "
                "a folder or a COCO file"
            )
        payload = request.payload(self._relative(self.model.path))
        with self.project.action("train_ood", request.model_dump(), f"train {request.method_name}"):
            pass
        self.history_changed.emit()
        return self._submit(KIND, payload)

    def has_ood_objects(self) -> bool:
        """Tell whether a human has labelled any pixel of a novel class."""
        base = len(self.classes.base)
        for record in self.records:
            if record.revision_id is not None:
                human = self.human(record.id)
                if (((human >= base) & (human < MAX_CLASSES)) | (human == OOD_PROXY)).any():
                    return True
        return False

    def ood_result(self) -> OodResult | None:
        """Return the newest result that was neither adopted nor discarded, or None."""
        for row in self.jobs():
            if row.kind == KIND and row.state == "done" and row.result is not None:
                model_id = int(row.result["model_id"])
                if self.project.setting(f"settled_{model_id}") is None:
                    comparison = row.result.get("comparison", {})
                    return OodResult(model_id, row.payload["method"], comparison, row.result)
        return None

    def _adopt_residual(self, version: ModelVersion) -> None:
        """Use a residual block beside the model in use; its class map stays what it is.

        Raises
        ------
        StaleResultError
            If the block was trained beside another base model.
        """
        base = self.header.heads[0].hash
        if read_residual_header(version.path).base_hash != base:
            raise StaleResultError(
                f"{version.name!r} was trained beside another base model than "
                f"{self.model.name!r}: train again, or switch to that model first"
            )
        payload = {"model_id": version.id}
        with self.project.action("adopt", payload, f"use {version.name}") as action:
            action.set_setting(setting_key(base), version.id)
            action.set_setting(f"settled_{version.id}", "adopted")
        self._read_settings()
        self.scores_changed.emit()
        self.submit_energy()
        self.history_changed.emit()

    def submit_energy(self) -> None:
        """Queue a job, where a residual block is in use: its energy of all images."""
        if self._residual_id is not None:
            self._submit("residual", {"checkpoint": self._relative(self.model.path)})

    def _read_settings(self) -> None:
        super()._read_settings()
        wanted = self.project.setting(setting_key(self.header.heads[0].hash))
        if wanted != self._residual_id:
            self._residual_id = wanted
            self._residual_hash = residual_hash(self.project, self.header)
            self.scoring.forget()

    def _calibrate_if_due(self) -> None:
        """Look also whether the energy of the current image has come."""
        super()._calibrate_if_due()
        here = (self.image_id, self._residual_hash)
        if not self._residual_hash or self.image_id is None or here == self._energy_of:
            return
        if self.project.cache.has(self._residual_hash, self.record().content_hash):
            self._energy_of = here
            self.prediction_changed.emit(self.image_id)
