"""The annotator's acts on labels and classes; each is on disk at once and can be undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from psygnal import Signal

from owlabel.classes import UNSET, VOID, LabelClass, Labels, present
from owlabel.novel.click_regions import Region
from owlabel.novel.clicks import Click
from owlabel.novel.label_maps import LabelMap
from owlabel.project.history.action import Action
from owlabel.session.core.acts import Acts
from owlabel.view.pending_region import PendingRegion
from owlabel.view.proposal_correction import Correction
from owlabel.view.queue_order import QueueItem
from owlabel.view.view import View

PROPOSAL_SHOWN = "the current item is a proposed mask: accept, reject or correct it"


def write_labels(view: View, action: Action, labels: Labels, *, over_others: bool = False) -> None:
    """Store new labels of the current image, made from its human layer in memory.

    Parameters
    ----------
    view : View
    action : Action
        The current act.
    labels : array of uint8, shape (H, W)
    over_others : bool
        Whether the act may replace labels that another process has written since. A brush stroke
        may; acts that keep human labels may not.

    Raises
    ------
    ValueError
        If the labels hold a class that another process has just removed.
    """
    record = view.record()
    newest = action.labels_since(record.id, record.revision_id)
    if newest is not None:
        mine = labels != view.human()
        if not over_others:
            mine &= newest == view.human()
        labels = np.where(mine, labels, newest)
    names = view.classes.names
    removed = names.keys() - action.class_ids()
    if removed and (used := removed & set(present(labels))):
        raise ValueError(
            f"the class {names[min(used)]!r} was just removed elsewhere: choose another class"
        )
    action.set_labels(record.id, labels)
    action.set_review(record.id, None, None)  # another process may have reviewed the image
    action.set_state(record.id, "edited")


class LabelEdits:
    """Labels, the pending region and the classes of a session.

    Parameters
    ----------
    view : View
    acts : Acts
    shown : callable
        Returns the current item of the queue, or None.
    """

    changed = Signal(int)
    """The labels of the image with this id have changed."""
    region_changed = Signal()
    prediction_changed = Signal(int)
    """The model's labels of the image with this id have changed."""

    def __init__(self, view: View, acts: Acts, shown: Callable[[], QueueItem | None]) -> None:
        self._view, self._acts, self._shown = view, acts, shown
        self.pending = PendingRegion(view)

    # -- questions ---------------------------------------------------------------------------

    @property
    def region(self) -> Region | None:
        """The pending region, or None."""
        return self.pending.region

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks that propose the pending region."""
        return self.pending.clicks

    @property
    def correction(self) -> Correction | None:
        """The proposed mask that is being corrected on the current image, or None."""
        return self.pending.correction

    def of(self, image_id: int | None = None) -> LabelMap:
        """Return the labels of an image: human over reviewed over model labels."""
        return self._view.labels(image_id)

    def human(self, image_id: int | None = None) -> Labels:
        """Return the human layer, uint8 (H, W), `UNSET` where nobody has labelled anything."""
        return self._view.human(image_id)

    def prediction(self, image_id: int | None = None) -> LabelMap | None:
        """Return the model's labels of an image, or None if it is not embedded."""
        return self._view.prediction(image_id)

    # -- the pending region ------------------------------------------------------------------

    def click(self, row: int, col: int, add: bool = True) -> None:
        """Add the surroundings of a pixel to the pending region, or remove them.

        Raises
        ------
        ValueError
            If the pixel lies outside the image.
        """
        height, width = self._view.shape
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(
                f"the click ({row}, {col}) lies outside the image of {height} x {width} pixels"
            )
        if not add and self.region is None:
            return
        image_id = self._view.record().id
        payload = {"image_id": image_id, "row": int(row), "col": int(col), "add": bool(add)}
        self._acts.record("click", payload, "click")

    def cancel_region(self) -> None:
        """Drop the pending region."""
        if self.clicks or self.region is not None:
            self._acts.record("cancel", {"image_id": self._view.record().id}, "drop region")

    def accept(self, name: str, *, by_colour: bool | None = None) -> LabelClass:
        """Give the pending region a class; a new name creates a novel class, known at once (NPM).

        Human labels are kept, except labels of the classes under the clicks. A proposed mask that
        was being corrected is accepted.

        Parameters
        ----------
        name : str
            Name of an existing class, in any case, or of a new class.
        by_colour : bool, optional
            For replays: whether the region was proposed by colour, without an embedding.

        Raises
        ------
        ValueError
            If there is no pending region, it is empty, or the name is malformed.
        """
        region = self.pending.required()
        if by_colour:
            region = self.pending.propose_by_colour()
        correction = self.correction
        if correction is not None and not region.area:
            raise ValueError("the region is empty: click to add to it, or drop it")
        is_open = correction and self._view.project.proposals.is_open(correction.proposal_id)
        known = self._view.classes.find(name)
        payload = self.pending.payload() | {"name": name}
        with self._acts.act("accept", payload, f"label {name}") as action:
            named = known or action.add_class(name)
            if correction is not None and is_open:
                action.set_proposal(correction.proposal_id, "accepted")
            write_labels(self._view, action, self.pending.painted(named.id))
        return named

    def mark_ignore(self, *, peak: Sequence[int] | None = None) -> None:
        """Label the pending region, or the candidate around `peak`, as void (ignore)."""
        self._check_no_proposal(peak)
        self._fill("ignore", "ignore region", np.full(self.human().shape, VOID, np.uint8), peak)

    def mark_known(self, *, peak: Sequence[int] | None = None) -> None:
        """Confirm the model's labels of the pending region, or of the candidate around `peak`.

        Raises
        ------
        ValueError
            If the image is not embedded yet, or there is no region and no candidate.
        """
        self._check_no_proposal(peak)
        prediction = self.prediction()
        if prediction is None:
            raise ValueError("the current image is not embedded yet: wait for the worker")
        self._fill("known", "known after all", prediction.labels, peak)

    def _check_no_proposal(self, peak: Sequence[int] | None) -> None:
        item = self._shown()
        if peak is None and self.region is None and item is not None and item.proposal is not None:
            raise ValueError(PROPOSAL_SHOWN)

    def _fill(self, kind: str, label: str, values: Labels, peak: Sequence[int] | None) -> None:
        """Write `values` into the human layer, inside the region or else the candidate."""
        payload: dict[str, Any] = self.pending.payload()
        region = self.region
        if region is None:
            row, col = peak or self._candidate_peak()
            payload["peak"] = [row, col]
            region = self.pending.of((Click(row, col),))
        painted = self.human().copy()
        r0, c0, r1, c1 = region.mask_box
        painted[r0:r1, c0:c1][region.mask] = values[r0:r1, c0:c1][region.mask]
        with self._acts.act(kind, payload, label) as action:
            write_labels(self._view, action, painted)

    def _candidate_peak(self) -> tuple[int, int]:
        item = self._shown()
        if item is None or item.record.id != self._view.image_id:
            raise ValueError("there is no region: click an object or go to a candidate (N) first")
        return item.peak

    # -- labels and reviews ------------------------------------------------------------------

    def paint(self, labels: Labels) -> None:
        """Replace the human layer of the current image after a brush stroke.

        Parameters
        ----------
        labels : array of uint8, shape (H, W)
            Class ids of the project, `VOID`, or `UNSET` for pixels without a human label.

        Raises
        ------
        ValueError
            If the shape differs from the image, or a value is not a class of the project.
        """
        human = self.human()
        if labels.shape != human.shape or labels.dtype != np.uint8:
            raise ValueError(
                f"labels must be uint8 of shape {human.shape}, got {labels.dtype} {labels.shape}"
            )
        unknown = sorted(set(present(labels)) - {*self._view.classes.names, VOID, UNSET})
        if unknown:
            raise ValueError(
                f"the labels hold the ids {unknown}, which are not classes of this project"
            )
        if np.array_equal(labels, human):
            return
        kind = "paint" if self.correction is None else "touch_up"
        with self._acts.act(kind, {"image_id": self._view.record().id}, "paint") as action:
            write_labels(self._view, action, labels, over_others=True)

    def review(self, done: bool = True) -> None:
        """Freeze the labels of the current image as reviewed, or reopen the image.

        Raises
        ------
        ValueError
            If the model in use has not embedded the image yet, or if another process has just
            labelled it. Only labels that the annotator has seen are frozen.
        """
        record = self._view.record()
        payload = {"image_id": record.id, "done": done}
        if done and self._view.embedded_heads() < len(self._view.header.heads):
            raise ValueError(
                "the model in use has not embedded this image yet: wait for the worker"
            )
        if done == (record.state == "reviewed"):
            return
        frozen = self.of()
        with self._acts.act("review", payload, "review" if done else "reopen") as action:
            if done:
                if action.labels_since(record.id, record.revision_id) is not None:
                    raise ValueError(
                        f"another process has just labelled {record.relative}: check the labels, "
                        "then review it again"
                    )
                action.set_review(record.id, frozen.labels, frozen.source)
                action.set_state(record.id, "reviewed")
            else:
                action.set_review(record.id, None, None)
                labelled = action.has_labels(record.id)
                action.set_state(record.id, "edited" if labelled else "proposed")

    # -- classes -----------------------------------------------------------------------------

    def add_class(self, name: str) -> LabelClass:
        """Add a novel class without any pixels.

        Raises
        ------
        ValueError
            If the name is taken or malformed, or no class id is free.
        """
        with self._acts.act("add_class", {"name": name}, f"name {name}") as action:
            added = action.add_class(name)
        return added

    def rename_class(self, class_id: int, name: str) -> None:
        """Rename a class; its id and its pixels stay the same."""
        payload = {"class_id": class_id, "name": name}
        with self._acts.act("rename", payload, f"rename to {name}") as action:
            action.update_class(class_id, name=name)

    def recolor_class(self, class_id: int, color: tuple[int, int, int]) -> None:
        """Change the colour of a class (red, green, blue, each 0 .. 255).

        Raises
        ------
        ValueError
            If there is no such class, or a component of the colour is out of range.
        """
        named = self._view.classes.by_id(class_id)
        if tuple(color) == named.color:
            return
        payload = {"class_id": class_id, "color": list(color)}
        with self._acts.act("recolor", payload, f"colour of {named.name}") as action:
            action.update_class(class_id, color=color)
