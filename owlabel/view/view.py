"""What one annotator sees: images, overlays, queue.  Knows no window, no thread, no torch."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from owlabel.arrays import embedding_grid
from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.classes import UNSET, ClassTable, Labels
from owlabel.novel import label_maps
from owlabel.novel.click_regions import Region
from owlabel.novel.clicks import Click, click_region, pending_clicks
from owlabel.novel.label_maps import LabelMap, ModelOutput, Rule
from owlabel.novel.prototypes import LAMBDA_NOVEL
from owlabel.novel.shots import Means, occurrence_key, prototypes, shot_means
from owlabel.ood.candidates import SCORE, THRESHOLD
from owlabel.ood.registry import BETA, GAMMA
from owlabel.project.storage.records import ProjectError
from owlabel.project.store import CandidateRow, ImageRecord, ModelVersion, Project
from owlabel.view.model_outputs import Reader, Recent
from owlabel.view.review_queue import HIDE_ABOVE, CandidateQueue, QueueItem
from owlabel.view.score_maps import Scoring
from owlabel.view.signals import SessionSignals


class View(SessionSignals):
    """Hold what an annotator looks at and tell who listens what changed.

    Parameters
    ----------
    project : Project
        The open project.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.image_id: int | None = None
        self.region: Region | None = None
        self.clicks: tuple[Click, ...] = ()
        self.by_colour = False  # whether the pending region was proposed without an embedding
        self.candidate: QueueItem | None = None
        self._place = 0  # of the candidate in the queue, when it was shown
        self.found: dict[int, int] = {}
        self._load()
        if self.records:
            self.go_to(self.records[0].id)

    # -- loading -----------------------------------------------------------------------------

    def _load(self) -> None:
        """Read everything that the project holds and this sitting keeps in memory."""
        self._read_images()
        self.classes: ClassTable = self.project.classes()
        self.model: ModelVersion = self.project.active_model()
        self.header: CheckpointHeader = read_header(self.model.path)
        self.reader = Reader(self.project, self.header)
        self.scoring = Scoring(self.project, self.reader)
        self.candidates = CandidateQueue(self.project, self.header.heads[0].hash)
        self._read_settings()
        self._unsaid: dict[tuple[int, int], bool] = {}  # candidate and revision: still unsaid?
        self._means: Means = {}
        self._known_means = self.project.shot_means.of_head(self.header.heads[0].hash)
        self._unstored_means: dict[int, dict[int, NDArray[np.float64]]] = {}
        self._shots_waiting: set[int] = set()
        self._human: Recent[int, Labels] = Recent(32)
        self._trained: Recent[int, LabelMap] = Recent(4)  # what no act of the annotator changes
        self._missing = [r.id for r in self.records if not self.reader.embedded(r)]
        for record in self.records:
            if record.revision_id is not None:
                self._refresh_shots(record)
        self._refresh_rule()

    def _read_images(self) -> None:
        """Read which images there are, and where each one stands."""
        self._by_id = {r.id: r for r in self.project.images() if r.error is None}
        self._ids = list(self._by_id)
        self._places = {image_id: place for place, image_id in enumerate(self._ids)}

    def _read_images_again(self) -> None:
        """Read which images there are; leave the current one where it turned out unreadable."""
        self._read_images()
        self._leave_unreadable()

    def _leave_unreadable(self) -> None:
        self._shots_waiting &= self._by_id.keys()
        for shots in self._means.values():
            for image_id in shots.keys() - self._by_id.keys():
                del shots[image_id]
        if self.image_id is not None and self.image_id not in self._by_id:
            self.image_id = None
            if self._ids:
                self.go_to(self._ids[0])

    def _read_settings(self) -> None:
        """Read what the annotator has set; else what the model's recipe names, else the paper's."""
        of_model = self.header.lambda_novel
        usual = LAMBDA_NOVEL if of_model is None else of_model
        self.lambda_novel = float(self.project.setting("lambda_novel", usual))
        self.threshold = float(self.project.setting("threshold", THRESHOLD))
        self.candidates.hide_above = float(self.project.setting("hide_above", HIDE_ABOVE))
        self.scoring.beta = float(self.project.setting("beta", BETA))
        self.scoring.gamma = float(self.project.setting("gamma", GAMMA))
        self.scoring.mmsp_norm = self.project.setting("mmsp_norm", "none")

    def _refresh_rule(self) -> None:
        """Make the NPM rule from the shots; a class with a trained head needs no prototype."""
        trained = {h.class_id for h in self.header.heads}
        found = prototypes({c: m for c, m in self._means.items() if c not in trained})
        self.rule = Rule(found, self.lambda_novel, self.header.prototype_length)
        self._predictions: Recent[int, LabelMap] = Recent(4)
        self.found = self.project.occurrences.image_counts(self._findings_key())

    def _findings_key(self) -> str:
        base = self.header.heads[0].hash
        return occurrence_key(base, self.rule.prototypes, self.lambda_novel, self._trained_heads())

    def _trained_heads(self) -> list[tuple[int, str]]:
        """Return class and hash of each PLM head of the model."""
        heads = self.header.heads[1:]
        return [(head.class_id, head.hash) for head in heads if head.class_id is not None]

    def _refresh_shots(self, record: ImageRecord) -> None:
        """Bring the shot means of one image up to date with its human layer."""
        for shots in self._means.values():
            shots.pop(record.id, None)
        if record.revision_id is None:
            return
        if record.revision_id not in self._known_means and not self._measure_shots(record):
            self._shots_waiting.add(record.id)
            return
        self._shots_waiting.discard(record.id)
        active = {c.id for c in self.classes.novel}
        for class_id, mean in self._known_means[record.revision_id].items():
            if class_id in active:
                self._means.setdefault(class_id, {})[record.id] = mean

    def store_measured(self) -> None:
        """Keep the shot means of this sitting for the next one, which else measures them again."""
        base = self.header.heads[0].hash
        with suppress(ProjectError):  # a full disk is told where an annotation meets it
            while self._unstored_means:
                revision_id, means = self._unstored_means.popitem()
                self.project.shot_means.store(revision_id, base, means)

    def _measure_shots(self, record: ImageRecord) -> bool:
        """Compute the shot means of a revision; False while there is no embedding."""
        output = self.reader.output(record)
        if output is None or record.revision_id is None:
            return False
        means = shot_means(output.embedding, self.human(record.id), len(self.classes.base))
        self._unstored_means[record.revision_id] = means
        self._known_means[record.revision_id] = means
        return True

    @property
    def records(self) -> list[ImageRecord]:
        """The readable images of the project, in their order."""
        return list(self._by_id.values())

    @property
    def broken(self) -> list[ImageRecord]:
        """The images that cannot be read; `error` says why."""
        return self.project.images(broken=True)

    def place(self, image_id: int) -> tuple[int, int]:
        """Return which of `records` an image is, from 0 on, and how many there are; ValueError."""
        return self._places[self.record(image_id).id], len(self._ids)

    def shots(self, class_id: int) -> int:
        """Return in how many images a human has labelled this novel class."""
        return len(self._means.get(class_id, {}))

    # -- state -------------------------------------------------------------------------------

    def record(self, image_id: int | None = None) -> ImageRecord:
        """Return the record of an image, by default the current one; ValueError without any."""
        wanted = self.image_id if image_id is None else image_id
        record = None if wanted is None else self._by_id.get(wanted)
        if record is None:
            raise ValueError(f"no image has the id {wanted}")
        return record

    def image(self) -> NDArray[np.uint8]:
        """Return the current picture, uint8 (H, W, 3); raises ImageError."""
        return self.reader.image(self.record())

    def output(self, image_id: int | None = None) -> ModelOutput | None:
        """Return what the model made of an image, None while it is not embedded."""
        return self.reader.output(self.record(image_id))

    def embedding(self) -> NDArray[np.float32] | None:
        """Return the base embedding of the current image, (N, h, w), None while there is none."""
        output = self.output()
        return None if output is None else output.embedding

    def score(self, name: str) -> NDArray[np.float32] | None:
        """Return a score of `OVERLAYS` on the grid of the current image, (h, w), or None.

        Raises
        ------
        ValueError
            If this model or data set cannot give the score; says why and what helps.
        """
        return self.scoring.score(name, self.record())

    def false_alarms(self, name: str, fraction: float | None = None) -> float | None:
        """Return how many pixels of a usual image lie above the threshold of a score.

        Or above another fraction of its scale; None while the score is not calibrated.
        """
        height, width = self.record().shape or self.image().shape[:2]
        wanted = self.threshold if fraction is None else fraction
        return self.scoring.false_alarms(name, wanted, height * width)

    def prediction(self, image_id: int | None = None) -> LabelMap | None:
        """Return what the model says of an image, without the human layer."""
        record = self.record(image_id)
        output = self.reader.output(record)
        if output is None:
            return None
        if len(output.heads) < len(self.header.heads) - 1:
            return label_maps.predict(output, self.rule)
        under = self._trained.fetch(record.id, lambda: label_maps.trained(output))
        return self._predictions.fetch(
            record.id, lambda: label_maps.predict(output, self.rule, under)
        )

    def human(self, image_id: int | None = None) -> Labels:
        """Return the human layer, (H, W), `UNSET` where nobody has said anything."""
        wanted = self.record(image_id).id
        return self._human.fetch(wanted, lambda: self.project.human_labels(wanted))

    def labels(self, image_id: int | None = None) -> LabelMap:
        """Return the labels of an image: human over reviewed over model."""
        wanted = self.record(image_id).id
        reviewed = self.project.reviewed(wanted)
        if reviewed is not None:
            return label_maps.compose(self.human(wanted), None, LabelMap(*reviewed))
        return label_maps.compose(self.human(wanted), self.prediction(wanted))

    def score_at(self, row: int, col: int) -> dict[str, float]:
        """Return every score that is available at one pixel; empty while not embedded."""
        output = self.output()
        if output is None:
            return {}
        at = embedding_grid.nearest_point(row, col, output.shape, output.embedding.shape[1:])
        found = self.scoring.scores(self.record()) or {}
        return {name: float(values[at]) for name, values in found.items()}

    def distances(self, row: int, col: int) -> dict[str, float]:
        """Return the squared distance of one pixel to each class prototype, by class name."""
        output = self.output()
        if output is None:
            return {}
        at = embedding_grid.nearest_point(row, col, output.shape, output.embedding.shape[1:])
        pixel = output.embedding[:, *at]
        length, names = self.rule.prototype_length, self.classes.names
        known = (pixel**2).sum() - 2 * length * pixel + length**2
        result = {names[i]: float(d) for i, d in enumerate(known) if i in names}
        for p in self.rule.prototypes:
            result[names[p.class_id]] = float(((pixel - p.vector) ** 2).sum())
        return result

    def queue(self, limit: int = 200) -> list[QueueItem]:
        """Return the open candidates of the data set that are not hidden, best first.

        A candidate is open while its image is not reviewed and nobody has said anything about
        its peak pixel.  `candidates` says how many are hidden as likely false.
        """
        return self.candidates.items(limit, self._by_id, self._open, self.classes.names)

    @property
    def candidate_threshold(self) -> float:
        """The mean score of `candidates.SCORE` from which a candidate is shown.

        The threshold is a fraction of the score's range: from its usual value to what hardly ever
        occurs, or 0 .. 1 until that is known.
        """
        low, high = self.scoring.limits(SCORE)
        return low + self.threshold * (high - low)

    def _open(self, row: CandidateRow, record: ImageRecord) -> bool:
        if record.state == "reviewed" or row.candidate.score < self.candidate_threshold:
            return False
        if record.revision_id is None:
            return True
        key = row.id, record.revision_id
        if key not in self._unsaid:
            self._unsaid[key] = bool(self.human(record.id)[row.candidate.peak] == UNSET)
        return self._unsaid[key]

    @property
    def progress(self) -> tuple[int, int]:
        """How many images are embedded, of how many."""
        left = [self._by_id[i] for i in self._missing if i in self._by_id]  # else found unreadable
        self._missing = [r.id for r in left if not self.reader.embedded(r)]
        return len(self._ids) - len(self._missing), len(self._ids)

    def embedded_heads(self) -> int:
        """Return how many heads' outputs of the current image are there."""
        output = self.output()
        return 0 if output is None else 1 + len(output.heads)

    @property
    def can_undo(self) -> str | None:
        """The name of the act that `undo` would take back, or None."""
        return self.project.can_undo

    @property
    def can_redo(self) -> str | None:
        """The name of the act that `redo` would do again, or None."""
        return self.project.can_redo

    # -- moving ------------------------------------------------------------------------------

    def go_to(self, image_id: int) -> None:
        """Show another image; pending clicks on it come back."""
        record = self.record(image_id)
        with suppress(ProjectError):  # a full disk: workers do not hear of it, no more
            self.project.set_focus(record.id)
        self.image_id = record.id
        if self.candidate is not None and self.candidate.record.id != record.id:
            self.candidate = None
        self._refresh_region()
        self.image_changed.emit(record.id)

    def _refresh_region(self) -> None:
        """Make the pending region from the clicks that nobody has accepted yet."""
        record = self.record()
        self.clicks = pending_clicks(self.project.trailing_events(record.id, "click"), record.id)
        self.region = None
        if any(c.add for c in self.clicks):
            output = self.output()
            self.by_colour = output is None
            self.region = click_region(self.clicks, output, self.image, self.rule)
        self.region_changed.emit()

    def _step(self, by: int) -> None:
        if self.image_id is not None:
            self.go_to(self._ids[(self._places[self.image_id] + by) % len(self._ids)])

    def next_image(self) -> None:
        """Go to the next image, after the last to the first."""
        self._step(1)

    def previous_image(self) -> None:
        """Go to the image before, before the first to the last."""
        self._step(-1)

    def select_candidate(self, row_id: int) -> None:
        """Go to one candidate of the queue; does nothing where it is not open any more."""
        for place, item in enumerate(self.queue()):
            if item.row.id == row_id:
                self._place = place
                self._show_candidate(item)
                return

    def _show_candidate(self, item: QueueItem) -> None:
        self.candidate = item
        if item.record.id != self.image_id:
            self.go_to(item.record.id)
        self.queue_changed.emit()

    def _step_candidate(self, by: int) -> None:
        items = self.queue()
        if not items:
            self.message.emit("info", "No open candidate is left.")
            return
        ids = [i.row.id for i in items]
        current = self.candidate.row.id if self.candidate is not None else None
        if current is None:
            index = 0
        elif current in ids:
            index = ids.index(current) + by
        else:  # it is done, and what followed it has its place now
            index = self._place + min(by, 0)
        self._place = index % len(items)
        self._show_candidate(items[self._place])

    def next_candidate(self) -> None:
        """Go to the next open candidate of the queue, at first to the best.

        Where the one at hand is done, the next is what followed it.
        """
        self._step_candidate(1)

    def previous_candidate(self) -> None:
        """Go to the open candidate before."""
        self._step_candidate(-1)
