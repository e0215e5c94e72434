from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from owlabel.models.segmenter import Segmenter
from owlabel_training.fewshot import shots
from owlabel_training.fewshot.head_training import freeze_statistics
from owlabel_training.fewshot.shots import CropPlan, Shot, build_cache, channel_targets, windows

PLAN = CropPlan(side=64, crops=4)


def shot(seed: int = 0) -> Shot:
    rng = np.random.default_rng(seed)
    mask = np.zeros((80, 100), bool)
    mask[30:50, 40:70] = True
    image = rng.integers(0, 80, (80, 100, 3)).astype(np.uint8)
    image[mask] = (230, 60, 40)
    return Shot(image, mask)


def test_targets_are_channels_of_the_new_head(segmenter: Segmenter) -> None:
    targets = channel_targets(segmenter, shot(), 7)
    assert (targets[shot().mask] == 2).all()
    assert set(np.unique(targets[~shot().mask])) <= {0, 1}


def test_earlier_heads_speak_in_the_targets(segmenter: Segmenter) -> None:
    head = segmenter.add_head(5)
    with torch.no_grad():
        head.embedding.bias.copy_(torch.tensor([0.0, 0.0, 50.0]))
    targets = channel_targets(segmenter, shot(), 7)
    assert (targets[~shot().mask] == 2).all()  # all that head 1 claims
    assert (targets[shot().mask] == 3).all()  # what was annotated wins


def test_only_what_a_human_ignores_is_ignored(segmenter: Segmenter) -> None:
    void = np.zeros((80, 100), bool)
    void[:10] = True
    targets = channel_targets(segmenter, Shot(shot().image, shot().mask, void), 7)
    np.testing.assert_array_equal(targets == 255, void)


def test_a_cache_holds_every_crop_and_its_mirror_image(segmenter: Segmenter) -> None:
    cache = build_cache(segmenter, [shot(), shot(1)], 7, PLAN, 0)
    assert len(cache) == 16
    assert cache.high.dtype == cache.low.dtype == torch.float16
    assert cache.low.shape[2:] == cache.target.shape[1:] == (16, 16)
    mirrored = cache.target[0].flip(1) == 2
    assert ((cache.target[1] == 2) == mirrored).float().mean() > 0.9
    assert (cache.target[:2] == 2).any()


def test_a_cache_lies_where_the_segmenter_is(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = channel_targets(segmenter, shot(), 7)
    monkeypatch.setattr(shots, "channel_targets", lambda *_: labels)
    head = segmenter.add_head(7)
    build = inspect.unwrap(build_cache)  # fake tensors know no inference mode
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        cache = build(segmenter.to("cuda"), [shot()], 7, PLAN, 0)
        features, target = cache.batch(np.array([0, 1]))
        assert head(features).device == target.device == torch.device("cuda", 0)


def test_a_cache_is_the_same_for_the_same_seed(segmenter: Segmenter) -> None:
    first, second = (build_cache(segmenter, [shot()], 7, PLAN, 3) for _ in range(2))
    assert first.high.equal(second.high)
    assert first.target.equal(second.target)


def test_large_images_are_reduced_with_their_masks(segmenter: Segmenter) -> None:
    segmenter.max_side = 64
    cache = build_cache(segmenter, [shot()], 7, PLAN, 0)
    assert cache.target.shape[1:] == (13, 13)  # 51 pixels, the short side
    assert (cache.target == 2).any()


def test_every_other_window_sees_the_object() -> None:
    found = windows(shot().mask, 32, 8, np.random.default_rng(0))
    assert all(shot().mask[t:b, left:r].any() for t, b, left, r in found[::2])
    assert all(b - t == r - left == 32 for t, b, left, r in found)


def test_a_shot_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Shot(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool))


def test_no_shot_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(ValueError, match="at least one shot"):
        build_cache(segmenter, [], 7, PLAN, 0)


def test_frozen_statistics_allow_a_single_pooled_cell(segmenter: Segmenter) -> None:
    head = segmenter.head(0).train()
    freeze_statistics(head)
    features = segmenter.features(torch.rand(1, 3, 64, 64))
    assert torch.isfinite(head(features)).all()
