"""The export job: streams the labels of a project's images into one of the formats."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from owlabel import __version__
from owlabel.checkpoints.header import read_header
from owlabel.classes import UNSET, Source
from owlabel.formats.labels.provenance import LabelledImage, Provenance
from owlabel.formats.labels.registry import FORMATS, exporters
from owlabel.jobs.job import JobContext, Progress
from owlabel.novel import label_maps
from owlabel.novel.label_maps import LabelMap
from owlabel.project.snapshot import FrozenImage, snapshot
from owlabel.project.store import Project
from owlabel.view.model_outputs import Reader
from owlabel.view.view import View

WHICH = ("reviewed", "all")


@dataclass(frozen=True)
class ExportJob:
    """Write the labels of reviewed images, or of all labelled images, into a new folder.

    Attributes
    ----------
    folder : str
        Target folder; must not exist unless `overwrite` is set.
    format : str
        A key of `owlabel.formats.labels.registry.exporters`.
    which : str
        ``reviewed`` images, or ``all`` images that have labels.
    overwrite : bool
        Replace an existing export.
    abstain : float or None
        Absolute EDS score from which a base label becomes void (255); None keeps all labels.
    asked_by : str
        Name of the process that asked for the export, see `worker_identity`.  A project from
        elsewhere may contain exports that nobody here asked for.
    """

    folder: str
    format: str = "masks"
    which: str = "reviewed"
    overwrite: bool = False
    abstain: float | None = None
    asked_by: str = ""

    def check(self, project: Project) -> None:
        """Raise ValueError if the export cannot start."""
        if self.format not in exporters():
            raise ValueError(f"format must be one of {sorted(exporters())}, got {self.format!r}")
        if self.which not in WHICH:
            raise ValueError(f"which must be one of {WHICH}, got {self.which!r}")
        if self.abstain is not None and not 0 <= self.abstain <= 1:
            raise ValueError(f"abstain must lie in [0, 1], got {self.abstain}")
        target = Path(self.folder)
        if target.exists() and not self.overwrite:
            raise ValueError(f"{target} already exists: choose another folder or allow overwriting")
        if self.which == "reviewed" and all(r.state != "reviewed" for r in project.images()):
            raise ValueError("no image is reviewed yet: review one, or export all images")
        if not _has_any_labels(project):
            raise ValueError("no image has labels yet: wait until the model has embedded one")

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Write the labels as they are at the start; yields after each image."""
        with Project.open(context.project) as project:
            self.check(project)
            view = View(project)
            classes, frozen = snapshot(project)
            known = {record.id for record in view.images.records}
            wanted = [
                f
                for f in frozen
                if f.record.id in known and (self.which == "all" or f.record.state == "reviewed")
            ]
            images = (self._labelled(view, f) for f in wanted if _has_labels(view, f))
            steps = FORMATS[self.format].stream(
                Path(self.folder), classes, images, _provenance(view), self.overwrite
            )
            count = 0
            for count, name in enumerate(steps, start=1):
                yield Progress(count, len(wanted), name)
            return {"folder": self.folder, "images": count}

    def _labelled(self, view: View, frozen: FrozenImage) -> LabelledImage:
        """Return one image with its labels, their sources and confidences."""
        record, output = frozen.record, view.output(frozen.record.id)
        reviewed = frozen.reviewed(view.project)
        if record.revision_id is not None:
            human = view.project.revision(record.revision_id)
        else:
            height, width = record.shape or view.reader.image(record).shape[:2]
            human = np.full((height, width), UNSET, np.uint8)
        model = None if reviewed is not None else view.prediction(record.id)
        labelled = label_maps.compose(human, model, reviewed and LabelMap(*reviewed))
        if output is None:
            confidence = np.where(labelled.source == Source.HUMAN, np.uint8(255), np.uint8(0))
            return LabelledImage(record.relative, *labelled, confidence, record.state)
        if self.abstain is not None and record.state != "reviewed":
            labelled = label_maps.abstain(labelled, output, view.shots.rule, self.abstain)
        confidence = label_maps.confidence(output, view.shots.rule, labelled)
        return LabelledImage(record.relative, *labelled, confidence, record.state)


def _has_labels(view: View, frozen: FrozenImage) -> bool:
    """Return whether a model or a human has labelled an image."""
    record = frozen.record
    by_human = frozen.review is not None or record.revision_id is not None
    return by_human or view.output(record.id) is not None


def _has_any_labels(project: Project) -> bool:
    """Return whether any image may have labels."""
    reader = Reader(project, read_header(project.active_model().path))
    return any(
        r.state == "reviewed" or r.revision_id is not None or reader.embedded(r)
        for r in project.images()
    )


def _provenance(view: View) -> Provenance:
    return Provenance(
        tool=f"owlabel {__version__}",
        model=view.model.name,
        model_hash=view.header.heads[-1].hash,
        lambda_novel=view.settings.lambda_novel,
    )
