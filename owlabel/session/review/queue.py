"""The review queue of a session: the current item and the next ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from psygnal import Signal

from owlabel.classes import UNSET
from owlabel.ood.candidates import SCORE
from owlabel.ood.explanation import Explanation, explain
from owlabel.project.store import CandidateRow, ImageRecord
from owlabel.session.edits.settings import Settings
from owlabel.view.queue_order import CandidateQueue, QueueItem
from owlabel.view.score_maps import ScoreMaps
from owlabel.view.view import View


class ReviewQueue(CandidateQueue):
    """The open candidates and proposed masks of the data set, and the current item.

    Parameters
    ----------
    view : View
    scores : ScoreMaps
        Give the scale of the threshold.
    settings : Settings
    go_to : callable
        Shows the image with an id.

    Attributes
    ----------
    shown : QueueItem or None
        The current item.
    """

    changed = Signal()
    """The items or their order have changed."""

    def __init__(
        self, view: View, scores: ScoreMaps, settings: Settings, go_to: Callable[[int], None]
    ) -> None:
        self._view, self._scores, self._settings = view, scores, settings
        self._go_to = go_to
        self.shown: QueueItem | None = None
        self._position = 0  # of the current item when it was selected
        super().__init__(view.project, view.header.heads[0].hash)
        self.read_settings()

    def read_settings(self) -> None:
        """Read the setting `hide_above`; sort the queue again if it changed."""
        if self.hide_above != self._settings.hide_above:
            self.hide_above = self._settings.hide_above
            self.unpin()

    def use(self, head_hash: str) -> None:
        """Show the candidates of another head."""
        self._unlabelled: dict[tuple[int, int], bool] = {}  # by candidate and label revision
        super().use(head_hash)

    def items(self, limit: int = 200) -> list[QueueItem]:
        """Return the open items of the data set that are not hidden, best first.

        A candidate is open if its image is not reviewed, its score reaches the threshold and
        nobody has labelled its peak pixel. `hidden` counts the candidates hidden as likely false.
        """
        names = self._view.classes.names
        is_open = partial(self._is_open, self.threshold)
        return self.ranked(limit, self._view.images.by_id, is_open, names)

    def _is_open(self, threshold: float, row: CandidateRow, record: ImageRecord) -> bool:
        if record.state == "reviewed" or row.candidate.score < threshold:
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
        """The mean score (of `candidates.SCORE`) from which a candidate is listed.

        The setting is a fraction of the calibrated scale, from the median of the score to the
        value that one pixel in a thousand exceeds. Without a calibration the scale is 0 .. 1.
        """
        low, high = self._scores.limits(SCORE)
        return low + self._settings.threshold * (high - low)

    # -- moving ------------------------------------------------------------------------------

    def select(self, key: str) -> None:
        """Show the item with this key; do nothing if it is no longer open."""
        for position, item in enumerate(self.items()):
            if item.key == key:
                self._show(item, position)
                return

    def next(self) -> None:
        """Show the next open item, or the best one if there is no current item.

        If the current item is done, the item that followed it is next.
        """
        self._step(1)

    def previous(self) -> None:
        """Show the previous open item."""
        self._step(-1)

    def _step(self, by: int) -> None:
        items = self.items()
        if not items:
            self._view.message.emit("info", "No open candidate is left.")
            return
        keys = [item.key for item in items]
        if self.shown is None:
            position = 0
        elif self.shown.key in keys:
            position = keys.index(self.shown.key) + by
        else:  # it is done, and the next item has taken its position
            position = self._position + min(by, 0)
        position %= len(items)
        self._show(items[position], position)

    def _show(self, item: QueueItem, position: int) -> None:
        self.shown, self._position = item, position
        if item.record.id != self._view.image_id:
            self._go_to(item.record.id)
        self.changed.emit()

    def leave(self, image_id: int) -> None:
        """Clear the current item unless it belongs to this image."""
        if self.shown is not None and self.shown.record.id != image_id:
            self.shown = None

    # -- order -------------------------------------------------------------------------------

    def reveal_hidden(self, on: bool) -> None:
        """List the likely false candidates, or hide them again."""
        self.show_hidden = bool(on)
        self.rank()

    def rank(self) -> None:
        """Sort all items by their current rank, pinned ones too."""
        self.unpin()
        self.changed.emit()

    def explain(self, item: QueueItem) -> Explanation | None:
        """Return the evidence for and against a candidate, or None without a fitted classifier."""
        classifier = self.classifier
        features = None if item.segment is None else item.segment.features
        if classifier is None or classifier.keeps_all or features is None:
            return None
        if len(features) != len(classifier.columns):
            return None
        channels = list(range(self._view.header.heads[0].outputs))
        return explain(classifier, features, self._view.classes.names, channels)
