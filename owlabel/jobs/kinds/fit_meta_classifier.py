"""Fitting the classifier of false candidates to what people have decided; NumPy on the cache."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from owlabel.checkpoints.header import read_header
from owlabel.jobs.job import JobContext, Progress
from owlabel.project.history.changes_elsewhere import last_event
from owlabel.project.store import Project
from owlabel.project.tables.candidate_details import store_judge
from owlabel.project.tables.catalog import inside
from owlabel.view.review_decisions import classifier_key, collect_rows, labelled_images


@dataclass(frozen=True)
class JudgeJob:
    """Gather the decided candidates of the data set, fit, store the coefficients as JSON.

    Attributes
    ----------
    checkpoint : str
        The model, relative to the project's folder.
    """

    checkpoint: str

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Look at all images that somebody labelled, then fit; yields after each image."""
        with Project.open(context.project) as project:
            header = read_header(inside(project.folder, self.checkpoint))
            total, event = len(labelled_images(project)), last_event(project.database)
            rows = None
            for done, found in enumerate(collect_rows(project, header), start=1):
                rows = found
                yield Progress(min(done, total), total, "looking at what was decided")
            assert rows is not None  # the last that is yielded
            classifier = rows.fit()
            decided = {
                str(i): false
                for i, false in zip(rows.ids.tolist(), rows.false.tolist(), strict=True)
            }
            value = {"classifier": classifier.to_json(), "decided": decided, "event": event}
            store_judge(project.database, classifier_key(header.heads[0].hash), value)
            return {"true": classifier.true, "false": classifier.false}
