"""The proposed mask that is being corrected, computed from the end of the event log."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import UNSET, Labels
from owlabel.novel.click_regions import Region
from owlabel.novel.clicks import Click
from owlabel.project.storage.revisions import changed_box, decode_png, encode_png
from owlabel.project.store import Event
from owlabel.project.tables.proposals import BoolArray, Proposal

KINDS = ("click", "touch_up", "correct")
"""Kinds of the events that make up a correction."""


@dataclass(frozen=True)
class Correction:
    """A proposed mask that is being corrected, and the clicks on it.

    Attributes
    ----------
    proposal_id, class_id : int
    mask : ndarray of bool, shape (H, W)
        The mask as proposed.
    clicks : tuple of Click
        The clicks since the correction began.
    """

    proposal_id: int
    class_id: int
    mask: BoolArray
    clicks: tuple[Click, ...] = ()


def proposal_payload(proposal: Proposal, mask: BoolArray) -> dict[str, Any]:
    """Return a proposal as plain values, enough to replay an act on it."""
    row0, col0, row1, col1 = proposal.box
    png = encode_png(mask[row0:row1, col0:col1].astype(np.uint8))
    return {
        "image_id": proposal.image_id,
        "proposal_id": proposal.id,
        "class_id": proposal.class_id,
        "source": proposal.source,
        "origin": proposal.origin,
        "confidence": proposal.confidence,
        "box": list(proposal.box),
        "png": base64.b64encode(png).decode(),
    }


def payload_mask(payload: Mapping[str, Any], shape: tuple[int, int]) -> BoolArray:
    """Return the mask that a payload stores, bool (H, W), for an image of `shape`.

    Raises
    ------
    ValueError
        If the mask does not fit into the image or is damaged.
    """
    row0, col0, row1, col1 = (int(v) for v in payload["box"])
    if not (0 <= row0 < row1 <= shape[0] and 0 <= col0 < col1 <= shape[1]):
        raise ValueError(f"a mask with box {payload['box']} does not fit into an image of {shape}")
    mask = np.zeros(shape, bool)
    png = base64.b64decode(payload["png"])
    mask[row0:row1, col0:col1] = decode_png(png, (row1 - row0, col1 - col0)) > 0
    return mask


def pending_correction(
    newest_first: Iterable[Event], image_id: int, shape: tuple[int, int]
) -> Correction | None:
    """Return the correction of an image, or None, from the `KINDS` of events that end the log.

    An event on another image ends the correction.
    """
    clicks: list[Click] = []
    for event in newest_first:
        payload = event.payload
        if payload["image_id"] != image_id:
            return None
        if event.kind == "click":
            clicks.append(Click(int(payload["row"]), int(payload["col"]), bool(payload["add"])))
        elif event.kind == "correct":
            mask = payload_mask(payload, shape)
            proposal_id, class_id = int(payload["proposal_id"]), int(payload["class_id"])
            return Correction(proposal_id, class_id, mask, tuple(reversed(clicks)))
    return None


def corrected_region(
    correction: Correction, human: Labels, region_of: Callable[[tuple[Click, ...]], Region]
) -> Region:
    """Return the region that a proposed mask and the clicks on it describe.

    Clicks that add contribute their region; clicks that remove take theirs away. Pixels that a
    human has labelled are left out.

    Parameters
    ----------
    correction : Correction
    human : ndarray of uint8, shape (H, W)
        The human layer, `UNSET` where nobody has labelled anything.
    region_of : callable
        Returns the region of some clicks; at least one of them adds.
    """
    mask, clicks = correction.mask.copy(), correction.clicks
    inverted = tuple(replace(c, add=not c.add) for c in clicks)
    for wanted, value in ((clicks, True), (inverted, False)):
        if any(c.add for c in wanted):
            region = region_of(wanted)
            row0, col0, row1, col1 = region.mask_box
            mask[row0:row1, col0:col1][region.mask] = value
    mask &= human == UNSET
    return region_of_mask(mask)


def region_of_mask(mask: NDArray[np.bool_]) -> Region:
    """Return a mask (H, W) as a region; an empty mask gives a region with one unset pixel."""
    row0, col0, row1, col1 = changed_box(np.uint8(0), mask.view(np.uint8))
    if row1 == 0:
        return Region((0, 0, 1, 1), np.zeros((1, 1), bool))
    return Region((row0, col0, row1, col1), mask[row0:row1, col0:col1].copy())
