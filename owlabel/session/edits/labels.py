"""The annotator's acts on labels and classes: each is one durable, undoable act."""

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
from owlabel.view.review_queue import QueueItem
from owlabel.view.view import View

PROPOSAL_SHOWN = "a proposed mask is shown: accept, reject or correct it"


def write_labels(view: View, action: Action, labels: Labels, *, over_others: bool = False) -> None:
    """Store labels of the current image, which rest on its human layer in memory.

    Parameters
    ----------
    view : View
    action : Action
        The act that is being carried out.
    labels : array of uint8, shape (H, W)
    over_others : bool
        Whether the act may replace what another process has labelled since.  A brush stroke may;
        acts that promise to leave alone what people have labelled may not.

    Raises
    ------
    ValueError
        If the labels hold a class that another process has just taken back.
    """
    record = view.record()
    newest = action.labels_since(record.id, record.revision_id)
    if newest is not None:
        mine = labels != view.human()
        if not over_others:
            mine &= newest == view.human()
        labels = np.where(mine, labels, newest)
    names = view.classes.names
    lost = names.keys() - action.class_ids()
    if lost and (gone := lost & set(present(labels))):
        raise ValueError(f"the class {names[min(gone)]!r} was just taken back: choose another")
    action.set_labels(record.id, labels)
    action.set_review(record.id, None, None)  # another process may have frozen it meanwhile
    action.set_state(record.id, "edited")


class LabelEdits:
    """Labels, the pending region and the classes of a session.

    Parameters
    ----------
    view : View
    acts : Acts
    shown : callable
        Returns the item of the queue that is shown, or None.
    """

    changed = Signal(int)
    """The labels of an image, by its id."""
    region_changed = Signal()
    prediction_changed = Signal(int)
    """What the model says of an image, by its id."""

    def __init__(self, view: View, acts: Acts, shown: Callable[[], QueueItem | None]) -> None:
        self._view, self._acts, self._shown = view, acts, shown
        self.pending = PendingRegion(view)

    # -- questions ---------------------------------------------------------------------------

    @property
    def region(self) -> Region | None:
        """The region that waits for a name, or None."""
        return self.pending.region

    @property
    def clicks(self) -> tuple[Click, ...]:
        """The clicks that propose the region."""
        return self.pending.clicks

    @property
    def correction(self) -> Correction | None:
        """The proposed mask that is being corrected on the current image, or None."""
        return self.pending.correction

    def of(self, image_id: int | None = None) -> LabelMap:
        """Return the labels of an image: human over reviewed over model."""
        return self._view.labels(image_id)

    def human(self, image_id: int | None = None) -> Labels:
        """Return the human layer, uint8 (H, W), `UNSET` where nobody has labelled anything."""
        return self._view.human(image_id)

    def prediction(self, image_id: int | None = None) -> LabelMap | None:
        """Return the model's labels of an image, None while it is not embedded."""
        return self._view.prediction(image_id)

    # -- the pending region ------------------------------------------------------------------

    def click(self, row: int, col: int, add: bool = True) -> None:
        """Add to the pending region around one pixel, or take away from it.

        Raises
        ------
        ValueError
            If the pixel is outside the image.
        """
        height, width = self._view.shape
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"the click ({row}, {col}) is outside the image of {height} x {width}")
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
        """Give the pending region this class; a new name makes a novel class, at once (NPM).

        What a human has labelled before stays, but for the classes under the clicks.  A proposed
        mask that was being corrected counts as accepted.

        Parameters
        ----------
        name : str
            Of an existing class (case does not matter) or of a new one.
        by_colour : bool, optional
            Replay: whether the region was proposed by colour, before there were embeddings.

        Raises
        ------
        ValueError
            If there is no pending region, nothing is left of it, or the name is malformed.
        """
        region = self.pending.required()
        if by_colour:
            region = self.pending.propose_by_colour()
        correction = self.correction
        if correction is not None and not region.area:
            raise ValueError("nothing is left of the region: click to add, or drop it")
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
        """Mark the pending region (or the candidate around `peak`) as void: it does not count."""
        self._check_no_proposal(peak)
        self._fill("ignore", "ignore region", np.full(self.human().shape, VOID, np.uint8), peak)

    def mark_known(self, *, peak: Sequence[int] | None = None) -> None:
        """Confirm what the model says of the pending region (or of the current candidate).

        Raises
        ------
        ValueError
            If the image is not embedded yet, or there is neither region nor candidate.
        """
        self._check_no_proposal(peak)
        prediction = self.prediction()
        if prediction is None:
            raise ValueError("the image is not embedded yet: wait for the worker")
        self._fill("known", "known after all", prediction.labels, peak)

    def _check_no_proposal(self, peak: Sequence[int] | None) -> None:
        item = self._shown()
        if peak is None and self.region is None and item is not None and item.proposal is not None:
            raise ValueError(PROPOSAL_SHOWN)

    def _fill(self, kind: str, label: str, values: Labels, peak: Sequence[int] | None) -> None:
        """Write `values` into the human layer where the region, or else the candidate, is."""
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
        """Replace the human layer of the current image: one finished stroke of a brush.

        Parameters
        ----------
        labels : array of uint8, shape (H, W)
            Class ids of the project, `VOID`, or `UNSET` where nobody has labelled anything.

        Raises
        ------
        ValueError
            If the shape is not the image's or a value is no class.
        """
        human = self.human()
        if labels.shape != human.shape or labels.dtype != np.uint8:
            raise ValueError(
                f"labels must be uint8 of shape {human.shape}, got {labels.dtype} {labels.shape}"
            )
        unknown = sorted(set(present(labels)) - {*self._view.classes.names, VOID, UNSET})
        if unknown:
            raise ValueError(f"labels hold {unknown}, which are no classes of this project")
        if np.array_equal(labels, human):
            return
        kind = "paint" if self.correction is None else "touch_up"
        with self._acts.act(kind, {"image_id": self._view.record().id}, "paint") as action:
            write_labels(self._view, action, labels, over_others=True)

    def review(self, done: bool = True) -> None:
        """Freeze the labels of the current image as reviewed, or take that back.

        Raises
        ------
        ValueError
            If the model in use has not embedded the image yet, or another process has just
            labelled it: what is frozen is what was seen.
        """
        record = self._view.record()
        payload = {"image_id": record.id, "done": done}
        if done and self._view.embedded_heads() < len(self._view.header.heads):
            raise ValueError("the model in use has not looked at this image yet: wait a moment")
        if done == (record.state == "reviewed"):
            return
        frozen = self.of()
        with self._acts.act("review", payload, "review" if done else "reopen") as action:
            if done:
                if action.labels_since(record.id, record.revision_id) is not None:
                    raise ValueError(
                        f"{record.relative} has just been labelled elsewhere: look at it, then "
                        "review it again"
                    )
                action.set_review(record.id, frozen.labels, frozen.source)
                action.set_state(record.id, "reviewed")
            else:
                action.set_review(record.id, None, None)
                labelled = action.has_labels(record.id)
                action.set_state(record.id, "edited" if labelled else "proposed")

    # -- classes -----------------------------------------------------------------------------

    def add_class(self, name: str) -> LabelClass:
        """Name a novel class that has no pixel yet.

        Raises
        ------
        ValueError
            If the name is taken or malformed, or all ids are used.
        """
        with self._acts.act("add_class", {"name": name}, f"name {name}") as action:
            added = action.add_class(name)
        return added

    def rename_class(self, class_id: int, name: str) -> None:
        """Give a class another name; its id and its pixels stay."""
        payload = {"class_id": class_id, "name": name}
        with self._acts.act("rename", payload, f"rename to {name}") as action:
            action.update_class(class_id, name=name)

    def recolor_class(self, class_id: int, color: tuple[int, int, int]) -> None:
        """Show a class in another colour (red, green, blue, each 0 .. 255).

        Raises
        ------
        ValueError
            If there is no such class, or a part of the colour is out of range.
        """
        named = self._view.classes.by_id(class_id)
        if tuple(color) == named.color:
            return
        payload = {"class_id": class_id, "color": list(color)}
        with self._acts.act("recolor", payload, f"colour of {named.name}") as action:
            action.update_class(class_id, color=color)
