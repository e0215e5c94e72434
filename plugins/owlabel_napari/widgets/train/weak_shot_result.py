"""What a training from tags made: masks by class and confidence, and before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from owlabel_napari.widgets.train.comparison import ComparisonWidget

if TYPE_CHECKING:
    from owlabel.session.session import Session


@dataclass(frozen=True)
class WeakShotResult:
    """What a job of masks from tags has told; `comparison` as in `ComparisonWidget`."""

    comparison: dict[str, Any]
    retrained: bool


class WeakShotComparison(ComparisonWidget):
    """IoU of tagged classes where people painted them: the model in use, and the masks.

    There is nothing to adopt: the masks wait for review.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.job: Any = None
        self.adopt.hide()
        self.discard.hide()

    def show_job(self, job: Any) -> None:
        """Show the result of a job that is done; hide for any other, or None."""
        self.job = job
        self.refresh()
        self.table.setVisible(self.table.rowCount() > 0)

    def result(self) -> WeakShotResult | None:
        """Return what the job measured."""
        if self.job is None or self.job.state != "done" or not self.job.result:
            return None
        if "comparison" not in self.job.result:  # of an older version
            return None
        retrained = bool(self.job.payload.get("course", {}).get("retrain"))
        return WeakShotResult(self.job.result["comparison"], retrained)

    def heading(self, result: WeakShotResult) -> str:
        """Return the line above the table."""
        return "Before: the model in use. After: the masks"

    def order(self, result: WeakShotResult, names: set[str]) -> list[str]:
        """Return the classes by name."""
        return sorted(names)

    def told(self, result: WeakShotResult) -> str:
        """Return what the numbers rest on."""
        found = result.comparison
        if not found:
            return (
                "No tagged image has painted pixels of its tagged classes, so nothing is compared."
            )
        count, pixels = found["images"], sum(found["pixels"].values())
        text = (
            f"In percent, on {pixels:,} pixels that people painted or accepted in "
            f"{count} image{'s' * (count != 1)}. The model's prototypes come from these pixels; "
        )
        if all(found["after"][name] < found["before"][name] for name in found["after"]):
            text = f"The masks are worse than the model: train longer or tag more images. {text}"
        if result.retrained:
            return text + "the masks were re-trained on them as well."
        return text + "the masks were learned from tags."
