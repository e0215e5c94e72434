"""Learning from the unlabelled folder: asked for, compared before and after, adopted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from owlabel.jobs.queue import JobRow
from owlabel.session.background.clusters import Clustering

if TYPE_CHECKING:
    from owlabel.jobs.requests.pretraining import PretrainRequest

KIND = "pretrain"


@dataclass(frozen=True)
class PretrainResult:
    """A pre-trained and tuned model that waits to be adopted or discarded.

    Attributes
    ----------
    model_id : int
    comparison : mapping
        ``before`` and ``after``: measure to value in [0, 1].
    told : mapping
        What the numbers rest on: frames, human pixels, PmIoU.
    """

    model_id: int
    comparison: Mapping[str, Any]
    told: Mapping[str, Any]


class Pretraining(Clustering):
    """An editor that can have its model pre-trained; `Session` has the worker."""

    def jobs(self) -> list[JobRow]:
        """Return the jobs of this project, newest first."""
        raise NotImplementedError

    def pretrain(self, request: PretrainRequest) -> int:
        """Pre-train backbone and decoder on all images in the worker; return the job's id.

        Raises
        ------
        ValueError
            If the settings of the clusters do not fit together, or there are fewer than two images.
        """
        request.check(len(self.records))
        payload = {
            "labels": self.cluster_payload(request.clusters),
            "iterations": request.iterations,
            "tuning": request.tuning,
            "start": request.start,
        }
        with self.project.action("pretrain", request.model_dump(), "pre-train on this folder"):
            pass
        self.history_changed.emit()
        return self._submit(KIND, payload)

    def pretrain_result(self) -> PretrainResult | None:
        """Return the newest result that was neither adopted nor discarded, or None."""
        for row in self.jobs():
            if row.kind == KIND and row.state == "done" and row.result is not None:
                model_id = int(row.result["model_id"])
                if self.project.setting(f"settled_{model_id}") is None:
                    return PretrainResult(model_id, row.result["comparison"], row.result)
        return None
