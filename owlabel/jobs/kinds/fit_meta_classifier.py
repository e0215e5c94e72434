"""Fits the meta classifier of false candidates to people's decisions, with NumPy and the cache."""

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
    """Collect the decided candidates of the data set, fit, and store the coefficients as JSON.

    Attributes
    ----------
    checkpoint : str
        The model, relative to the project's folder.
    """

    checkpoint: str

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Collect from all labelled images, then fit; yields after each image."""
        with Project.open(context.project) as project:
            header = read_header(inside(project.folder, self.checkpoint))
            total, event = len(labelled_images(project)), last_event(project.database)
            rows = None
            for done, rows_so_far in enumerate(collect_rows(project, header), start=1):
                rows = rows_so_far
                yield Progress(min(done, total), total, "collecting decided candidates")
            assert rows is not None  # `collect_rows` yields at least once
            classifier = rows.fit()
            decided = {
                str(i): false
                for i, false in zip(rows.ids.tolist(), rows.false.tolist(), strict=True)
            }
            value = {"classifier": classifier.to_json(), "decided": decided, "event": event}
            store_judge(project.database, classifier_key(header.heads[0].hash), value)
            return {"true": classifier.true, "false": classifier.false}
