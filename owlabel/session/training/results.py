"""The result of a training, which waits to be adopted or discarded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from owlabel.jobs.queue import JobRow


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and its comparison with the model before.

    Attributes
    ----------
    kind : {"plm", "ood", "pretrain"}
        The kind of job that trained it.
    model_id : int
        The new model version, or a residual block for the model in use.
    comparison : mapping
        ``before`` and ``after``: name of a measure or class to a value in [0, 1]. PLM adds
        ``pixels``, the number of human-labelled pixels in the comparison.
    request : mapping
        The fields of the job, e.g. ``class_name`` or ``method``.
    details : mapping
        The data behind the measures: objects, images, human-labelled pixels, PmIoU.
    """

    kind: str
    model_id: int
    comparison: Mapping[str, Any]
    request: Mapping[str, Any]
    details: Mapping[str, Any]

    @classmethod
    def of(cls, row: JobRow) -> TrainingResult:
        """Return the result of a finished training job."""
        result = row.result or {}
        comparison = result.get("comparison", {})
        return cls(row.kind, int(result["model_id"]), comparison, row.payload, result)


def ood_summary(result: TrainingResult) -> str:
    """Describe the data behind the measures of an OoD training, with advice."""
    details = result.details
    count = details.get("val_objects", 0)
    text = (
        f"In percent, on {details.get('val_frames', 0)} held-out images with "
        f"{count} pasted object{'' if count == 1 else 's'}. "
    )
    measured = [result.comparison.get(when, {}).get("AP") for when in ("before", "after")]
    if None not in measured and measured[1] < measured[0]:
        text = (
            "The new model detects unknown objects worse than before: discard it, train longer "
            f"or use more objects. {text}"
        )
    if details.get("val_objects") and details.get("objects", 0) < 4:
        text += "With fewer than four objects, the same ones serve for training and measuring. "
    human = details.get("val_human_pixels", 0)
    return text + (
        f"{human:,} of their pixels were labelled by people; the others have the labels of the "
        "previous model."
    )
