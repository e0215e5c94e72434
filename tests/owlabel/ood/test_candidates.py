import numpy as np
import pytest

from owlabel.ood import candidates

SHAPE = (160, 240)


def _maps() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((40, 60), np.float32), np.full((40, 60), 2, np.uint8)


def test_a_block_is_described_in_pixels() -> None:
    score, base = _maps()
    score[10:20, 30:45] = 0.8
    base[10:20, 30:40] = 7
    (found,) = candidates.find(score, base, SHAPE)
    assert found.score == pytest.approx(0.8)
    assert found.area == 10 * 15 * 16
    assert found.box == (40, 120, 80, 180)
    assert found.likely_class == 7


def test_diagonal_neighbours_are_one_segment() -> None:
    score, _ = _maps()
    score[5, 5] = score[6, 6] = score[8, 8] = 1
    assert candidates.segments(score, 0.5).max() == 2


def test_the_threshold_itself_is_not_above_it() -> None:
    assert candidates.segments(np.full((3, 3), 0.5), 0.5).max() == 0


def test_nothing_is_found_where_nothing_is_unknown() -> None:
    assert candidates.find(*_maps(), SHAPE) == []


def test_small_segments_are_dropped() -> None:
    score, base = _maps()
    score[0, 0] = score[10:12, 10:12] = 1
    assert len(candidates.find(score, base, SHAPE, min_area_fraction=2 / score.size)) == 1


def test_an_object_goes_before_a_seam_of_the_same_score_and_area() -> None:
    score, base = _maps()
    score[2:4, 2:58] = 0.7  # 2 x 56 grid points along a border
    score[20:28, 20:34] = 0.7  # 8 x 14
    block, seam = candidates.find(score, base, SHAPE)
    assert block.area == seam.area
    assert block.box[0] == 80
    assert block.rank > 2 * seam.rank


def test_rank_grows_with_score_and_with_size() -> None:
    score, base = _maps()
    score[2:8, 2:8], score[2:8, 20:26], score[20:32, 2:14] = 0.6, 0.9, 0.9
    large, strong, weak = candidates.find(score, base, SHAPE)
    assert large.area > strong.area == weak.area
    assert strong.score > weak.score
    assert 1 >= large.rank > strong.rank > weak.rank > 0


@pytest.mark.parametrize("shape", [SHAPE, (161, 243)])
def test_the_peak_lies_inside_its_segment_and_box(shape) -> None:
    rng = np.random.default_rng(0)
    score = np.kron(rng.random((10, 15)), np.ones((4, 4))).astype(np.float32)
    _, base = _maps()
    labels = candidates.segments(score, 0.6)
    found = candidates.find(score, base, shape, threshold=0.6, min_area_fraction=0)
    assert len(found) > 3
    for c in found:
        row, col = c.peak
        assert c.box[0] <= row < c.box[2]
        assert c.box[1] <= col < c.box[3]
        assert labels[row * 40 // shape[0], col * 60 // shape[1]] > 0
    # no two overlap, so that they cannot cover more than the segments do
    assert sum(c.area for c in found) <= (labels > 0).mean() * shape[0] * shape[1] + len(found)


def test_a_scene_that_is_strange_as_a_whole_is_no_object() -> None:
    score, base = _maps()
    assert candidates.find(score + 1, base, SHAPE) == []


def test_an_object_in_a_strange_surrounding_is_found() -> None:
    score, base = _maps()
    score += 0.65
    score[20:30, 20:34] = 0.95
    (found,) = candidates.find(score, base, SHAPE)
    assert found.box == (80, 80, 120, 136)


def test_of_nested_segments_the_better_one_is_kept() -> None:
    score, base = _maps()
    score[10:30, 10:40] = 0.65  # a solid object with a small bright spot in it
    score[12:14, 12:14] = 0.95
    (found,) = candidates.find(score, base, SHAPE)
    assert found.box == (40, 40, 120, 160)


def test_maps_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        candidates.find(np.zeros((4, 4)), np.zeros((4, 5), np.uint8), SHAPE)
