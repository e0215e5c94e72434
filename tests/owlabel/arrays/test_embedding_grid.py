import numpy as np
import pytest
import torch

from owlabel.arrays import embedding_grid

SIZES = [((9, 12), (36, 48)), ((7, 9), (29, 35)), ((1, 5), (7, 33)), ((12, 10), (5, 7))]


def _random(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("grid_shape", "shape"), SIZES)
def test_upsample_is_the_interpolation_of_the_network(grid_shape, shape) -> None:
    values = _random((3, *grid_shape))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], size=shape, mode="bilinear", align_corners=False
    )[0]
    np.testing.assert_allclose(embedding_grid.upsample(values, shape), expected, atol=1e-5)


@pytest.mark.parametrize(("grid_shape", "shape"), SIZES)
def test_a_window_is_a_part_of_the_whole(grid_shape, shape) -> None:
    values = _random(grid_shape)
    whole = embedding_grid.upsample(values, shape)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        row0, row1 = np.sort(rng.choice(shape[0] + 1, 2, replace=False))
        col0, col1 = np.sort(rng.choice(shape[1] + 1, 2, replace=False))
        part = embedding_grid.upsample(values, shape, (row0, row1, col0, col1))
        np.testing.assert_allclose(part, whole[row0:row1, col0:col1], atol=1e-6)


@pytest.mark.parametrize("window", [(0, 0, 0, 4), (-1, 3, 0, 4), (0, 37, 0, 4), (3, 2, 0, 4)])
def test_a_window_outside_the_image_is_refused(window) -> None:
    with pytest.raises(ValueError, match="inside the image"):
        embedding_grid.upsample(_random((9, 12)), (36, 48), window)


def test_half_precision_is_widened() -> None:
    assert (
        embedding_grid.upsample(_random((9, 12)).astype(np.float16), (36, 48)).dtype == np.float32
    )


@pytest.mark.parametrize(("grid_shape", "shape"), SIZES)
@pytest.mark.parametrize("smooth", [False, True])
def test_argmax_equals_the_plain_way(grid_shape, shape, smooth) -> None:
    values = _random((6, *grid_shape))
    values += 4 * smooth * np.eye(6, dtype=np.float32)[:, :1, None]
    full = embedding_grid.upsample(values, shape)
    second, first = np.sort(full, axis=0)[-2:]
    clear = first - second > 1e-5  # ties may go either way
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(
        embedding_grid.argmax_upsampled(values, shape)[clear], full.argmax(0)[clear]
    )


def test_a_class_that_leads_at_no_corner_can_win_inside_a_cell() -> None:
    values = np.array([[[1, -1]], [[-1, 1]], [[0.4, 0.4]]], np.float32)
    assert set(embedding_grid.argmax_upsampled(values, (1, 20))[0]) == {0, 1, 2}


def test_equal_channels_go_to_the_first() -> None:
    assert not embedding_grid.argmax_upsampled(np.ones((4, 3, 3), np.float32), (12, 12)).any()


def test_argmax_refuses_more_classes_than_a_label_can_hold() -> None:
    with pytest.raises(ValueError, match="256, 2, 2"):
        embedding_grid.argmax_upsampled(np.zeros((256, 2, 2), np.float32), (4, 4))


@pytest.mark.parametrize(("grid_shape", "shape"), SIZES)
def test_adjoint_weights_give_the_sum_over_a_mask(grid_shape, shape) -> None:
    values, mask = _random(grid_shape), _random(shape, 1) > 0
    rows, cols = slice(1, shape[0]), slice(0, shape[1] - 1)
    window = (1, shape[0], 0, shape[1] - 1)
    weights, where = embedding_grid.adjoint_weights(mask[rows, cols], shape, grid_shape, window)
    expected = embedding_grid.upsample(values, shape)[rows, cols][mask[rows, cols]].sum()
    assert (weights * values[where]).sum() == pytest.approx(expected, abs=1e-3)
    assert weights.sum() == pytest.approx(mask[rows, cols].sum())


def test_pixels_and_grid_points_map_to_each_other() -> None:
    assert embedding_grid.to_image(2, 3, (36, 48), (9, 12)) == (9.5, 13.5)
    assert embedding_grid.to_grid(9.5, 13.5, (36, 48), (9, 12)) == (2, 3)
    assert embedding_grid.to_grid(0, 47, (36, 48), (9, 12)) == (0, 11)  # clamped
    assert embedding_grid.nearest_point(35, 0, (36, 48), (9, 12)) == (8, 0)
