from __future__ import annotations

import numpy as np
import pytest
import torch

from owlabel.models.embed import embed_image, prepare
from owlabel.models.segmenter import Segmenter


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_head_gives_a_grid_in_half_precision(segmenter: Segmenter) -> None:
    segmenter.add_head(3)
    grids = embed_image(segmenter, picture(64, 96))
    assert [g.shape for g in grids] == [(3, 16, 24), (4, 16, 24)]
    assert all(g.dtype == np.float16 for g in grids)


def test_the_same_image_gives_the_same_grid(segmenter: Segmenter) -> None:
    image = picture(64, 96)
    segmenter.train()
    first, second = embed_image(segmenter, image)[0], embed_image(segmenter, image)[0]
    np.testing.assert_array_equal(first, second)


def test_large_images_are_reduced_first(segmenter: Segmenter) -> None:
    segmenter.max_side = 96
    assert embed_image(segmenter, picture(128, 192))[0].shape == (3, 16, 24)


def test_a_large_image_may_keep_its_detail(segmenter: Segmenter) -> None:
    segmenter.max_side, segmenter.large_images = 96, "tile"
    assert segmenter.tile_side == 640  # shorter tiles would see little but their neighbours
    assert embed_image(segmenter, picture(64, 900))[0].shape == (3, 16, 225)


def test_even_larger_ones_are_reduced_to_four_tiles(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter.large_images = "tile"
    monkeypatch.setattr(Segmenter, "tile_side", 640)
    assert embed_image(segmenter, picture(64, 5120))[0].shape == (3, 8, 640)


def test_stripes_give_the_same_embedding(segmenter: Segmenter) -> None:
    with torch.inference_mode():
        features = segmenter.features(torch.rand(1, 3, 75, 101))
        for points in (1, 40, 100, 200):
            torch.testing.assert_close(
                segmenter.embed(features, 0, points), segmenter.embed(features), atol=1e-5, rtol=0
            )


def test_embedding_leaves_the_image_alone(segmenter: Segmenter) -> None:
    image = picture(64, 64)
    image.flags.writeable = False
    embed_image(segmenter, image)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4)])
def test_only_rgb_bytes_are_embedded(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        prepare(np.zeros(shape, np.uint8), 100)
