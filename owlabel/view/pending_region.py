"""The pending region: it is computed from the clicks at the end of the event log."""

from __future__ import annotations

from typing import Any

import numpy as np

from owlabel.classes import UNSET, Labels
from owlabel.novel.click_regions import Region
from owlabel.novel.clicks import Click, click_region, pending_clicks
from owlabel.view.proposal_correction import KINDS, Correction, corrected_region, pending_correction
from owlabel.view.view import View


class PendingRegion:
    """The clicks on the current image that have no class yet, and the region they propose.

    Parameters
    ----------
    view : View

    Attributes
    ----------
    clicks : tuple of Click
    region : Region or None
    by_colour : bool
        Whether the region was proposed by colour because the image was not embedded.
    correction : Correction or None
        The proposed mask that the clicks correct, if any.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.clicks: tuple[Click, ...] = ()
        self.region: Region | None = None
        self.by_colour = False
        self.correction: Correction | None = None

    def read(self) -> None:
        """Compute the region again from the event log."""
        record = self._view.record()
        shape = record.shape or self._view.image().shape[:2]
        events = self._view.project.trailing_events(record.id, *KINDS)
        self.correction = pending_correction(events, record.id, shape)
        if self.correction is None:
            events = self._view.project.trailing_events(record.id, "click")
            self.clicks = pending_clicks(events, record.id)
        else:
            self.clicks = self.correction.clicks
        self._propose(by_colour=False)

    def propose_by_colour(self) -> Region:
        """Propose the region by colour, as if the image were not embedded; for replays."""
        self._propose(by_colour=True)
        return self.required()

    def required(self) -> Region:
        """Return the region; raises ValueError if there is none."""
        if self.region is None:
            raise ValueError("there is no region: click an object first")
        return self.region

    def _propose(self, *, by_colour: bool) -> None:
        self.region = None
        if self.correction is None and not any(c.add for c in self.clicks):
            return
        self.by_colour = by_colour or self._view.output() is None
        if self.correction is None:
            self.region = self.of(self.clicks, by_colour=by_colour)
        else:
            self.region = corrected_region(
                self.correction,
                self._view.human(),
                lambda clicks: self.of(clicks, by_colour=by_colour),
            )

    def of(self, clicks: tuple[Click, ...], *, by_colour: bool = False) -> Region:
        """Return the region that clicks propose; at least one click must add."""
        output = None if by_colour else self._view.output()
        return click_region(clicks, output, self._view.image, self._view.shots.rule)

    def payload(self) -> dict[str, Any]:
        """Return what the event log stores about the region, enough to replay the act."""
        return {
            "image_id": self._view.record().id,
            "clicks": len(self.clicks),
            "by_colour": self.by_colour,
        }

    def painted(self, class_id: int) -> Labels:
        """Return the human layer (H, W) with the region painted as a class.

        Human labels are kept, except labels of the classes under the clicks that add.
        """
        human, region = self._view.human(), self.required()
        row0, col0, row1, col1 = region.mask_box
        writable = region.mask  # a correction leaves human labels out
        if self.correction is None:
            replaceable = {UNSET, *(int(human[c.row, c.col]) for c in self.clicks if c.add)}
            writable = writable & np.isin(human[row0:row1, col0:col1], list(replaceable))
        painted = human.copy()
        painted[row0:row1, col0:col1][writable] = class_id
        return painted
