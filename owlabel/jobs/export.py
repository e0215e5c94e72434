"""Export of labels as a job: streams the images of a project into one of the formats."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from owlabel import __version__, labelling
from owlabel.classes import Source
from owlabel.formats.exporters import EXPORTERS
from owlabel.formats.provenance import LabelledImage, Provenance
from owlabel.jobs.job import JobContext, Progress
from owlabel.project.store import ImageRecord, Project
from owlabel.view import View

WHICH = ("reviewed", "all")


@dataclass(frozen=True)
class ExportJob:
    """Write reviewed or all pseudo labels into a new folder.

    Attributes
    ----------
    folder : str
        Target; nothing is written over unless `overwrite`.
    format : str
        A key of `owlabel.formats.exporters.EXPORTERS`.
    which : str
        ``reviewed``, or ``all`` images that have labels.
    overwrite : bool
        Put the export in the place of an existing folder.
    abstain : float or None
        Absolute EDS score from which a base label is withdrawn (255); None withdraws nothing.
    asked_by : str
        Name of the process that asked, see `presence`: a project from elsewhere may hold exports
        that nobody here asked for.
    """

    folder: str
    format: str = "masks"
    which: str = "reviewed"
    overwrite: bool = False
    abstain: float | None = None
    asked_by: str = ""

    def check(self, project: Project) -> None:
        """Raise ValueError where the export could not begin."""
        if self.format not in EXPORTERS:
            raise ValueError(f"format must be one of {sorted(EXPORTERS)}, got {self.format!r}")
        if self.which not in WHICH:
            raise ValueError(f"which must be one of {WHICH}, got {self.which!r}")
        if self.abstain is not None and not 0 <= self.abstain <= 1:
            raise ValueError(f"abstain must lie in [0, 1], got {self.abstain}")
        target = Path(self.folder)
        if target.exists() and not self.overwrite:
            raise ValueError(f"{target} exists: choose another folder, or allow to overwrite it")
        if self.which == "reviewed" and all(r.state != "reviewed" for r in project.images()):
            raise ValueError("no image is reviewed yet: review one, or export all images")

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Write the export; yields once an image."""
        with Project.open(context.project) as project:
            self.check(project)
            view = View(project)
            wanted = [r for r in view.records if self.which == "all" or r.state == "reviewed"]
            images = (self._labelled(view, r) for r in wanted if _has_labels(view, r))
            steps = EXPORTERS[self.format].stream(
                Path(self.folder), view.classes, images, _provenance(view), self.overwrite
            )
            count = 0
            for count, name in enumerate(steps, start=1):
                yield Progress(count, len(wanted), name)
            return {"folder": self.folder, "images": count}

    def _labelled(self, view: View, record: ImageRecord) -> LabelledImage:
        """Return one image with its labels, their source and confidence."""
        labelled, output = view.labels(record.id), view.output(record.id)
        if output is None:
            sure = np.where(labelled.source == Source.HUMAN, np.uint8(255), np.uint8(0))
            return LabelledImage(record.relative, *labelled, sure, record.state)
        if self.abstain is not None and record.state != "reviewed":
            labelled = labelling.abstain(labelled, output, view.rule, self.abstain)
        sure = labelling.confidence(output, view.rule, labelled)
        return LabelledImage(record.relative, *labelled, sure, record.state)


def _has_labels(view: View, record: ImageRecord) -> bool:
    """Tell whether a model or a human has said anything about an image."""
    return record.revision_id is not None or view.output(record.id) is not None


def _provenance(view: View) -> Provenance:
    return Provenance(
        tool=f"owlabel {__version__}",
        model=view.model.name,
        model_hash=view.header.heads[-1].hash,
        lambda_novel=view.lambda_novel,
    )
