"""A proposed mask that is being corrected: what is pending follows from the log, as clicks do."""

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
"""Events between the first and the last touch of a correction."""


@dataclass(frozen=True)
class Correction:
    """A proposed mask that is at hand.

    Attributes
    ----------
    proposal_id, class_id : int
    mask : ndarray of bool, shape (H, W)
        As it was proposed.
    clicks : tuple of Click
        That were made since.
    """

    proposal_id: int
    class_id: int
    mask: BoolArray
    clicks: tuple[Click, ...] = ()


def payload_of(proposal: Proposal, mask: BoolArray) -> dict[str, Any]:
    """Return a proposal as plain values, enough to do again what was done with it."""
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


def mask_of(payload: Mapping[str, Any], shape: tuple[int, int]) -> BoolArray:
    """Return the mask of a payload in an image of `shape`, bool (H, W).

    Raises
    ------
    ValueError
        If it does not fit into the image or is damaged.
    """
    row0, col0, row1, col1 = (int(v) for v in payload["box"])
    if not (0 <= row0 < row1 <= shape[0] and 0 <= col0 < col1 <= shape[1]):
        raise ValueError(f"a mask at {payload['box']} does not fit into an image of {shape}")
    mask = np.zeros(shape, bool)
    png = base64.b64decode(payload["png"])
    mask[row0:row1, col0:col1] = decode_png(png, (row1 - row0, col1 - col0)) > 0
    return mask


def pending(
    newest_first: Iterable[Event], image_id: int, shape: tuple[int, int]
) -> Correction | None:
    """Return the correction that is at hand on an image, from the `KINDS` that end the log.

    Something on another image ends it.
    """
    clicks: list[Click] = []
    for event in newest_first:
        said = event.payload
        if said["image_id"] != image_id:
            return None
        if event.kind == "click":
            clicks.append(Click(int(said["row"]), int(said["col"]), bool(said["add"])))
        elif event.kind == "correct":
            mask = mask_of(said, shape)
            first_to_last = tuple(reversed(clicks))
            return Correction(int(said["proposal_id"]), int(said["class_id"]), mask, first_to_last)
    return None


def corrected(
    correction: Correction, human: Labels, region_of: Callable[[tuple[Click, ...]], Region]
) -> Region:
    """Return the region that a proposed mask and the clicks on it mean.

    Clicks that add bring their region, clicks that take away take theirs; what a human has
    labelled is no part of it.

    Parameters
    ----------
    correction : Correction
    human : ndarray of uint8, shape (H, W)
        The human layer, `UNSET` where nobody has said anything.
    region_of : callable
        Returns the region of some clicks, at least one of which adds.
    """
    mask, clicks = correction.mask.copy(), correction.clicks
    for turned in (False, True):
        wanted = tuple(replace(c, add=c.add != turned) for c in clicks)
        if any(c.add for c in wanted):
            region = region_of(wanted)
            row0, col0, row1, col1 = region.mask_box
            part = mask[row0:row1, col0:col1]
            part[region.mask] = not turned
    mask &= human == UNSET
    return region_of_mask(mask)


def region_of_mask(mask: NDArray[np.bool_]) -> Region:
    """Return a mask (H, W) as a region; an empty one has one pixel that is not set."""
    row0, col0, row1, col1 = changed_box(np.uint8(0), mask.view(np.uint8))
    if row1 == 0:
        return Region((0, 0, 1, 1), np.zeros((1, 1), bool))
    return Region((row0, col0, row1, col1), mask[row0:row1, col0:col1].copy())
