"""When the classifier of false candidates is fitted again, in the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.fit_meta_classifier import JudgeJob
from owlabel.ood.explanation import Explanation, explain
from owlabel.project.history.changes_elsewhere import last_event
from owlabel.project.store import CandidateRow, Event
from owlabel.project.tables.candidate_details import details
from owlabel.session.background.calibration import Calibrating
from owlabel.view.review_decisions import EVERY, LEAST, Said, decide


class Judging(Calibrating):
    """An annotator's sitting that learns which candidates are false; `Session` has the worker."""

    def _load(self) -> None:
        super()._load()
        self._touched: dict[int, dict[int, bool]] = {}  # image to what is decided there now
        self._ids_of: dict[int, list[int]] = {}  # image to its candidates

    # -- what the annotator sets ---------------------------------------------------------------

    def set_hide_above(self, probability: float) -> None:
        """Hide candidates that are false with more than this probability; 1 hides none.

        Raises
        ------
        ValueError
            If it is outside 0 .. 1.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"hide_above must lie in [0, 1], got {probability}")
        value = float(probability)
        if value == self.candidates.hide_above:
            return
        payload = {"key": "hide_above", "value": value}
        with self.project.action("setting", payload, "set hide_above") as action:
            action.set_setting("hide_above", value)
        self.candidates.hide_above = value
        self.rank_queue()
        self.history_changed.emit()

    def show_hidden(self, on: bool) -> None:
        """Show likely false candidates in the queue, or hide them again."""
        self.candidates.show_hidden = bool(on)
        self.rank_queue()

    def rank_queue(self) -> None:
        """Put every candidate of the queue where it belongs by what is known now."""
        self.candidates.release()
        self.queue_changed.emit()

    def explain(self, row: CandidateRow) -> Explanation | None:
        """Say what speaks for and against a candidate, None while nothing is known about that."""
        known, features = self.candidates.classifier, row.features
        if known is None or known.keeps_all or features is None:
            return None
        if len(features) != len(known.columns):
            return None
        channels = range(self.header.heads[0].outputs)
        return explain(known, features, self.classes.names, list(channels))

    # -- fitting -------------------------------------------------------------------------------

    @property
    def decisions(self) -> dict[int, bool]:
        """Row id to whether it is false, of the candidates that are decided now."""
        now = dict(self.candidates.decided)
        for image_id, decided in self._touched.items():
            for row_id in self._ids_of[image_id]:
                now.pop(row_id, None)
            now |= decided
        return now

    @property
    def new_decisions(self) -> int:
        """How many candidates are decided otherwise than when the classifier was fitted."""
        fitted, now = self.candidates.decided, self.decisions
        return sum(fitted.get(i) != now.get(i) for i in {*fitted, *now})

    @property
    def refit_due(self) -> bool:
        """Whether to fit: as soon as each class has enough rows, then every few decisions."""
        kinds = list(self.decisions.values())
        if min(sum(kinds), len(kinds) - sum(kinds)) < LEAST:
            return False
        known = self.candidates.classifier
        first = known is None or known.keeps_all
        return self.new_decisions >= (1 if first else EVERY)

    def refit(self) -> None:
        """Fit the classifier to all decisions: in the worker, or at once where there is none."""
        job = JudgeJob(self._relative(self.model.path))
        if self._with_worker:
            if not any(row.kind == "judge" for row in self._jobs.active()):
                self._submit("judge", asdict(job))
            return
        run_to_end(job.run(JobContext(self.project.folder, self.project.folder)))
        self._take_judge()

    def refit_where_others_decided(self) -> None:
        """Fit again where labels have changed since, in another sitting or under another model."""
        decided = any(r.state in ("edited", "reviewed") for r in self.records)
        if decided and self.candidates.event != last_event(self.project.database):
            self.refit()

    def _take_judge(self) -> None:
        """Use the classifier that was just fitted; what is on the screen stays in its place."""
        self.candidates.take_judge()
        self.queue_changed.emit()

    def _after_labels(self, image_id: int) -> None:
        super()._after_labels(image_id)
        self._look_at_decisions(image_id)

    def _take(self, events: Sequence[Event]) -> None:
        super()._take(events)
        images = {int(c.row) for e in events for c in e.changes if c.table == "image"}
        for image_id in sorted(images & self._by_id.keys()):
            self._look_at_decisions(image_id)

    def _look_at_decisions(self, image_id: int) -> None:
        """Note what is decided on an image now; fit again after enough new decisions."""
        output = self.output(image_id)
        if output is None:
            return
        head = self.header.heads[0]
        found = details(self.project.database, head.hash, image_id)
        frozen = self.project.reviewed(image_id)
        reviewed = None if frozen is None else np.asarray(frozen[0])
        said = Said(self.human(image_id), reviewed, head.outputs)
        self._ids_of[image_id] = [one.id for one in found]
        self._touched[image_id] = decide(found, output.embedding, said)
        if self.refit_due:
            self.refit()
