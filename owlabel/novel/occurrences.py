"""Decide whether pixels claimed for a novel class count as an occurrence of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

SEAM_SHARE = 0.02
"""A claim thinner than this share of the longer side is a seam between classes, not an object."""
SHOT_SHARE = 1 / 4
"""An object twice as far away as a shot covers a quarter of the shot's pixels."""
IMAGE_SHARE = 1 / 300
"""A piece of this share of the image always counts as an object, however large the shots are: 32 x
32 pixels of 640 x 480, the upper limit of small objects in COCO."""


@dataclass(frozen=True)
class ShotSize:
    """The size of a shot, or the smallest size of the shots of a class.

    Attributes
    ----------
    area : int
        Pixels of the largest 8-connected piece.
    width : int
        Odd side of the largest square that fits inside.
    """

    area: int
    width: int


def shot_size(mask: Mask) -> ShotSize | None:
    """Return the size of one shot, or None if it is empty.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        Pixels of one image that a human labelled with the class.
    """
    return ShotSize(largest_piece(mask), _widest_square(mask)) if mask.any() else None


def smallest(sizes: Iterable[ShotSize | None]) -> ShotSize | None:
    """Return the smallest area and the smallest width of the shots, or None without shots."""
    shots = [size for size in sizes if size is not None]
    if not shots:
        return None
    return ShotSize(min(s.area for s in shots), min(s.width for s in shots))


def occurrence_pixels(mask: Mask, shots: ShotSize | None) -> int:
    """Return the pixels of the largest solid piece of a claim, or 0 if it is too small to count.

    Where two known classes meet, interpolated embeddings pass between their prototypes, so a novel
    class may claim thin lines.  An opening with a square first removes everything thinner than
    `SEAM_SHARE` of the longer side.  If the shots of the class are thin themselves, the square has
    half their width.  The largest 8-connected piece that remains must have `SHOT_SHARE` of the
    pixels of the smallest shot, or `IMAGE_SHARE` of the image if that is less.  The minimum is
    always at least one square of side `SEAM_SHARE`.

    Parameters
    ----------
    mask : ndarray of bool, shape (H, W)
        Pixels claimed for the class.
    shots : ShotSize or None
        None without shots; the size of the image then decides alone.
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
    """Return the pixels of the largest 8-connected piece of a mask (H, W), 0 if it is empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


def _widest_square(mask: Mask) -> int:
    """Return the side of the largest square of odd side inside a mask (H, W)."""
    framed = np.pad(mask.view(np.uint8), 1)  # pieces end at the border of the image
    return 2 * int(cv2.distanceTransform(framed, cv2.DIST_C, 3).max()) - 1
