"""The review queue of a session: what is shown now, what comes next."""

from __future__ import annotations

from collections.abc import Callable

from psygnal import Signal

from owlabel.classes import UNSET
from owlabel.ood.candidates import SCORE
from owlabel.ood.explanation import Explanation, explain
from owlabel.project.store import CandidateRow, ImageRecord
from owlabel.session.edits.settings import Settings
from owlabel.view.review_queue import CandidateQueue, QueueItem
from owlabel.view.score_maps import ScoreMaps
from owlabel.view.view import View


class ReviewQueue(CandidateQueue):
    """The open candidates and proposed masks of the data set, and the one that is shown.

    Parameters
    ----------
    view : View
    scores : ScoreMaps
        For the score from which a candidate is shown.
    settings : Settings
    go_to : callable
        Shows an image, by its id.

    Attributes
    ----------
    shown : QueueItem or None
    """

    changed = Signal()

    def __init__(
        self, view: View, scores: ScoreMaps, settings: Settings, go_to: Callable[[int], None]
    ) -> None:
        self._view, self._scores, self._settings = view, scores, settings
        self._go_to = go_to
        self.shown: QueueItem | None = None
        self._place = 0  # of the shown item when it was shown
        super().__init__(view.project, view.header.heads[0].hash)
        self.read_settings()

    def read_settings(self) -> None:
        """Read from which probability on candidates are hidden; rank again where it changed."""
        if self.hide_above != self._settings.hide_above:
            self.hide_above = self._settings.hide_above
            self.release()

    def use(self, head_hash: str) -> None:
        """Show the candidates of another head."""
        self._unlabelled: dict[tuple[int, int], bool] = {}  # by candidate and revision
        super().use(head_hash)

    def items(self, limit: int = 200) -> list[QueueItem]:
        """Return the open items of the data set that are not hidden, best first.

        A candidate is open while its image is not reviewed, its score reaches the threshold and
        nobody has labelled its peak pixel.  `hidden` counts those hidden as likely false.
        """
        names = self._view.classes.names
        return self.ranked(limit, self._view.images.by_id, self._is_open, names)

    def _is_open(self, row: CandidateRow, record: ImageRecord) -> bool:
        if record.state == "reviewed" or row.candidate.score < self.threshold:
            return False
        if record.revision_id is None:
            return True
        key = row.id, record.revision_id
        if key not in self._unlabelled:
            human = self._view.human(record.id)
            self._unlabelled[key] = bool(human[row.candidate.peak] == UNSET)
        return self._unlabelled[key]

    @property
    def threshold(self) -> float:
        """The mean score of `candidates.SCORE` from which a candidate is shown.

        The setting is a fraction of the score's range: from its median to what hardly ever
        occurs, or 0 .. 1 until the scores are calibrated.
        """
        low, high = self._scores.limits(SCORE)
        return low + self._settings.threshold * (high - low)

    # -- moving ------------------------------------------------------------------------------

    def select(self, key: str) -> None:
        """Show the item with this key; does nothing where it is not open any more."""
        for place, item in enumerate(self.items()):
            if item.key == key:
                self._show(item, place)
                return

    def next(self) -> None:
        """Show the next open item, at first the best.

        Where the shown one is done, the next is the one that followed it.
        """
        self._step(1)

    def previous(self) -> None:
        """Show the open item before."""
        self._step(-1)

    def _step(self, by: int) -> None:
        items = self.items()
        if not items:
            self._view.message.emit("info", "No open candidate is left.")
            return
        keys = [item.key for item in items]
        if self.shown is None:
            place = 0
        elif self.shown.key in keys:
            place = keys.index(self.shown.key) + by
        else:  # it is done, and what followed it has its place now
            place = self._place + min(by, 0)
        place %= len(items)
        self._show(items[place], place)

    def _show(self, item: QueueItem, place: int) -> None:
        self.shown, self._place = item, place
        if item.record.id != self._view.image_id:
            self._go_to(item.record.id)
        self.changed.emit()

    def leave(self, image_id: int) -> None:
        """Show no item any more unless it is of this image."""
        if self.shown is not None and self.shown.record.id != image_id:
            self.shown = None

    # -- order -------------------------------------------------------------------------------

    def reveal_hidden(self, on: bool) -> None:
        """List likely false candidates, or hide them again."""
        self.show_hidden = bool(on)
        self.rank()

    def rank(self) -> None:
        """Move every item to its place by what is known now."""
        self.release()
        self.changed.emit()

    def explain(self, item: QueueItem) -> Explanation | None:
        """Return what speaks for and against a candidate, None without a fitted classifier."""
        classifier = self.classifier
        features = None if item.segment is None else item.segment.features
        if classifier is None or classifier.keeps_all or features is None:
            return None
        if len(features) != len(classifier.columns):
            return None
        channels = range(self._view.header.heads[0].outputs)
        return explain(classifier, features, self._view.classes.names, list(channels))
