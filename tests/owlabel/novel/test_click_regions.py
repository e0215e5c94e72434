import cv2
import numpy as np
import pytest

from owlabel.novel import click_regions

SHAPE = (240, 320)
BLOCK = (slice(88, 152), slice(128, 192))  # pixels; the click is its centre
CLICK = (120, 160)


def _scene(noise: float = 0.05, blur: float = 0.7) -> np.ndarray:
    """Two halves of known classes and a block of something else: (5, 60, 80)."""
    embedding = np.zeros((5, 60, 80), np.float32)
    embedding[0, :30], embedding[1, 30:] = 3, 3
    embedding[:, 22:38, 32:48] = np.array([0.3, 0.4, 1.0, 0.8, 0.2])[:, None, None]
    embedding += np.random.default_rng(0).normal(size=embedding.shape) * noise
    return np.stack([cv2.GaussianBlur(f.astype(np.float32), (0, 0), blur) for f in embedding])


def _block() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[BLOCK] = True
    return mask


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_a_click_on_an_object_gives_the_object() -> None:
    region = click_regions.propose(_scene(), SHAPE, [CLICK])
    assert _iou(region.full(SHAPE), _block()) > 0.75


def test_the_box_fits_the_mask_and_the_area_counts_it() -> None:
    region = click_regions.propose(_scene(), SHAPE, [CLICK])
    row0, col0, row1, col1 = region.mask_box
    assert region.mask.shape == (row1 - row0, col1 - col0)
    for axis in (0, 1):
        assert region.mask.any(axis=axis)[[0, -1]].all()
    assert region.area == region.full(SHAPE).sum()


@pytest.mark.parametrize("shape", [(120, 160), (117, 163), (30, 40)])
@pytest.mark.parametrize("seed", range(4))
def test_each_part_holds_a_positive_and_no_negative_is_inside(shape, seed) -> None:
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(5, 30, 40))
    clicks = [tuple(int(x) for x in rng.integers(0, shape)) for _ in range(5)]
    mask = click_regions.propose(embedding, shape, clicks[:2], clicks[2:]).full(shape)
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    assert all(mask[click] for click in clicks[:2])
    assert not any(mask[click] for click in clicks[2:])
    assert set(np.unique(parts)) == {0, *(parts[click] for click in clicks[:2])}


def test_a_negative_takes_away_its_side() -> None:
    embedding = np.zeros((3, 30, 40), np.float32)  # nothing but distance can decide
    shape = (120, 160)
    one = click_regions.propose(embedding, shape, [(60, 60)]).full(shape)
    both = click_regions.propose(embedding, shape, [(60, 60)], [(60, 72)]).full(shape)
    assert one[60, 70]
    assert not both[60, 70]
    assert both[60, 62]
    assert both[60, 52]


def test_a_second_positive_extends_the_region_to_it() -> None:
    embedding = _scene()
    embedding[3, :, 40:] += 1.0  # the object has two parts
    region = click_regions.propose(embedding, SHAPE, [(120, 140), (120, 180)])
    parts = cv2.connectedComponents(region.mask.view(np.uint8), connectivity=4)[1]
    assert parts.max() == 1
    assert _iou(region.full(SHAPE), _block()) > 0.7


def test_the_same_clicks_give_the_same_region() -> None:
    one, two = (
        click_regions.propose(_scene(), SHAPE, [CLICK, (100, 140)], [(20, 20)]) for _ in range(2)
    )
    assert one.mask_box == two.mask_box
    np.testing.assert_array_equal(one.mask, two.mask)


def test_edges_of_the_score_are_edges() -> None:
    score = np.zeros((60, 80), np.float32)
    score[22:38, 32:48] = 1
    embedding = np.zeros((3, 60, 80), np.float32)
    region = click_regions.propose(embedding, SHAPE, [CLICK], score=score)
    assert _iou(region.full(SHAPE), _block()) > 0.75


def test_a_large_grid_is_searched_coarsely_with_the_same_result() -> None:
    large = np.stack([cv2.resize(f, (480, 360)) for f in _scene()])
    region = click_regions.propose(large, (1440, 1920), [(720, 960)])
    whole = cv2.resize(_block().view(np.uint8), (1920, 1440), interpolation=cv2.INTER_NEAREST) > 0
    assert _iou(region.full((1440, 1920)), whole) > 0.75


def test_the_smallest_image_is_one_region() -> None:
    region = click_regions.propose(np.zeros((2, 1, 1)), (3, 2), [(1, 1)])
    assert region.full((3, 2)).shape == (3, 2)
    assert region.full((3, 2))[1, 1]


def test_colour_alone_finds_a_coloured_block() -> None:
    image = np.full((*SHAPE, 3), (90, 90, 95), np.uint8)
    image[BLOCK] = (200, 40, 40)
    region = click_regions.propose_from_colour(image, [CLICK])
    assert _iou(region.full(SHAPE), _block()) > 0.75


@pytest.mark.parametrize(
    ("positives", "negatives"), [([], []), ([(240, 0)], []), ([CLICK], [(0, -1)])]
)
def test_clicks_must_be_there_and_inside(positives, negatives) -> None:
    with pytest.raises(ValueError, match=r"got none|outside the image"):
        click_regions.propose(_scene(), SHAPE, positives, negatives)
