"""When a claim counts as an occurrence of a novel class: one connected piece, large enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SEAM_SHARE = 0.02
"""What is thinner than this share of the longer side is a seam between classes, not an object."""
SHOT_SHARE = 1 / 4
"""An object twice as far away as a shot covers a quarter of the shot's pixels."""
IMAGE_SHARE = 1 / 300
"""Whatever the shots, a piece of this share of the image is an object: 32 x 32 pixels of 640 x 480,
where COCO's small objects end."""


@dataclass(frozen=True)
class ShotSize:
    """How large a shot is, or how small the smallest shots of a class are.

    Attributes
    ----------
    area : int
        Pixels of its largest 8-connected piece.
    width : int
        Side of the largest square (of odd side) inside it.
    """

    area: int
    width: int


def shot_size(mask: Mask) -> ShotSize | None:
    """Return the size of one shot, None where it is empty.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        What a human labelled with the class in one image.
    """
    return ShotSize(largest_piece(mask), _widest_square(mask)) if mask.any() else None


def smallest(sizes: Iterable[ShotSize | None]) -> ShotSize | None:
    """Return the least area and the least width of the shots of a class, None without any."""
    shots = [size for size in sizes if size is not None]
    if not shots:
        return None
    return ShotSize(min(s.area for s in shots), min(s.width for s in shots))


def occurrence_pixels(mask: Mask, shots: ShotSize | None) -> int:
    """Return the pixels of the largest solid piece of a claim, 0 where it is too small to count.

    Where two known classes meet, interpolated embeddings pass between their prototypes, and thin
    lines may be claimed.  So what is thinner than `SEAM_SHARE` of the longer side is taken away
    first, by an opening with a square; a class whose own shots are thin is opened with half their
    width.  Of what is left the largest 8-connected piece must have `SHOT_SHARE` of the smallest
    shot's pixels, or `IMAGE_SHARE` of the image's if that is less; but never fewer than that
    square, however small the shots.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        Pixels claimed for the class.
    shots : ShotSize or None
        None where no shot is known: only the image decides.
    """
    seam = side = max(3, round(SEAM_SHARE * max(mask.shape)))
    least = IMAGE_SHARE * mask.size
    if shots is not None:
        side = min(seam, max(1, shots.width // 2))
        least = min(least, SHOT_SHARE * shots.area)
    least = max(least, seam**2)
    if np.count_nonzero(mask) < least:
        return 0
    opened = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    piece = largest_piece(opened.view(np.bool_))
    return piece if piece >= least else 0


def largest_piece(mask: Mask) -> int:
    """Return the pixels of the largest 8-connected piece of a mask (H, W), 0 where it is empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


def _widest_square(mask: Mask) -> int:
    """Return the side of the largest square of odd side inside a mask (H, W)."""
    framed = np.pad(mask.view(np.uint8), 1)  # what lies at the border of the image ends there
    return 2 * int(cv2.distanceTransform(framed, cv2.DIST_C, 3).max()) - 1
