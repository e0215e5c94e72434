"""What a training came to, waiting to be adopted or discarded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from owlabel.jobs.queue import JobRow


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and its comparison with the one before.

    Attributes
    ----------
    kind : {"plm", "ood", "pretrain"}
        The kind of job that trained it.
    model_id : int
        The new model version, or a residual block beside the old one.
    comparison : mapping
        ``before`` and ``after``: measure, or class name, to value in [0, 1]; ``pixels`` of PLM:
        on how many pixels that people labelled.
    request : mapping
        The fields of the job, e.g. ``class_name`` or ``method``.
    details : mapping
        What the numbers rest on: objects, frames, pixels that people labelled, PmIoU.
    """

    kind: str
    model_id: int
    comparison: Mapping[str, Any]
    request: Mapping[str, Any]
    details: Mapping[str, Any]

    @classmethod
    def of(cls, row: JobRow) -> TrainingResult:
        """Return the result of a training that is done."""
        result = row.result or {}
        comparison = result.get("comparison", {})
        return cls(row.kind, int(result["model_id"]), comparison, row.payload, result)


def basis(result: TrainingResult) -> str:
    """Return in words what the numbers of an OoD training rest on, and what to do with them."""
    details = result.details
    count = details.get("val_objects", 0)
    text = (
        f"In percent, on {details.get('val_frames', 0)} images kept apart, with "
        f"{count} object{'' if count == 1 else 's'} pasted. "
    )
    measured = [result.comparison.get(when, {}).get("AP") for when in ("before", "after")]
    if None not in measured and measured[1] < measured[0]:
        text = (
            "It sees unknown objects worse than before: discard it, train longer or take more "
            f"objects. {text}"
        )
    if details.get("val_objects") and details.get("objects", 0) < 4:
        text += "So few objects are trained on and measured on alike. "
    human = details.get("val_human_pixels", 0)
    return text + (
        f"{human:,} of their pixels were labelled by people; the others count as the model saw "
        "them before."
    )
