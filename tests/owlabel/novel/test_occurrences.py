"""When a claim of a novel class counts as found in an image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owlabel.novel.occurrences import (
    ShotSize,
    largest_piece,
    occurrence_pixels,
    shot_size,
    smallest,
)

SHAPE = (240, 320)  # a find has 256 pixels (1/300), and is 6 wide (2 %)


def _square(side: int, row: int = 20, col: int = 30) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + side, col : col + side] = True
    return mask


def test_stray_pixels_are_no_find_however_many() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[::3, ::3] = True
    assert mask.sum() > 8000
    assert occurrence_pixels(mask, None) == 0


def test_a_seam_is_no_find_however_long() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[100:105] = True
    assert occurrence_pixels(mask, None) == 0


@pytest.mark.parametrize(("side", "found"), [(15, 0), (16, 256), (20, 400)])
def test_without_shots_the_image_decides(side: int, found: int) -> None:
    assert occurrence_pixels(_square(side), None) == found


@pytest.mark.parametrize(("area", "found"), [(400, 100), (404, 0), (100_000, 0)])
def test_small_shots_make_small_finds(area: int, found: int) -> None:
    assert occurrence_pixels(_square(10), ShotSize(area, 20)) == found


def test_a_shot_of_a_few_pixels_does_not_make_a_find_of_one() -> None:
    speck = _square(2)
    assert occurrence_pixels(speck, shot_size(speck)) == 0
    assert occurrence_pixels(_square(6), shot_size(speck)) == 36


def test_large_shots_do_not_hide_an_object() -> None:
    assert occurrence_pixels(_square(16), ShotSize(50_000, 200)) == 256


def test_two_halves_are_not_one_piece() -> None:
    halves = _square(12) | _square(12, row=120)  # 288 pixels together
    assert occurrence_pixels(halves, None) == 0


def test_a_thin_thing_is_found_by_thin_shots() -> None:
    pole = np.zeros(SHAPE, bool)
    pole[10:150, 50:53] = True
    shots = shot_size(pole)
    assert shots == ShotSize(420, 3)
    assert occurrence_pixels(pole, None) == 0
    assert occurrence_pixels(pole, shots) == 420


def test_the_smallest_shot_counts() -> None:
    assert smallest([]) is None
    assert shot_size(np.zeros(SHAPE, bool)) is None
    shots = [_square(40), np.zeros(SHAPE, bool), _square(11) | _square(5, row=200)]
    assert smallest(map(shot_size, shots)) == ShotSize(121, 11)


def test_a_shot_may_fill_the_image() -> None:
    assert shot_size(np.ones(SHAPE, bool)) == ShotSize(240 * 320, 239)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_a_find_is_a_piece_of_the_claim_and_every_shot_finds_itself(
    seed: int, share: float
) -> None:
    mask = np.random.default_rng(seed).random((24, 32)) < share
    mask[4:9, 6:11] = True
    pixels = occurrence_pixels(mask, shot_size(mask))
    assert 25 // 4 <= pixels <= largest_piece(mask)
