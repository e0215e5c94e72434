from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from owlabel.jobs.job import run_to_end
from owlabel.models.deeplab_head import DeepLabHead
from owlabel.models.embed import embed_image
from owlabel.models.segmenter import Segmenter
from owlabel.novel import prototypes as fewshot
from owlabel_training.fewshot.head_training import PlmRecipe, train_head
from owlabel_training.fewshot.shots import Cache, CropPlan, Shot, build_cache

PLAN = CropPlan(side=64, crops=4)
RECIPE = PlmRecipe(iterations=6, batch_size=2, plan=PLAN)


def shot() -> Shot:
    mask = np.zeros((80, 100), bool)
    mask[24:56, 30:70] = True
    image = np.random.default_rng(0).integers(0, 80, (80, 100, 3)).astype(np.uint8)
    image[mask] = (230, 60, 40)
    return Shot(image, mask)


@pytest.fixture
def cache(segmenter: Segmenter) -> Cache:
    return build_cache(segmenter, [shot()], 2, PLAN, 0)


def trained(head: DeepLabHead, cache: Cache, recipe: PlmRecipe, work: Path | None = None) -> float:
    return run_to_end(train_head(head, cache, 3.0, recipe, work))


def test_only_the_new_head_changes(segmenter: Segmenter, cache: Cache) -> None:
    image = shot().image
    head = segmenter.add_head(2)
    base = embed_image(segmenter, image)[0]
    before, fresh = copy.deepcopy(segmenter.state_dict()), copy.deepcopy(head.state_dict())
    trained(head, cache, RECIPE)
    for key, value in segmenter.state_dict().items():
        if not key.startswith("heads.1."):
            assert value.equal(before[key]), key
    assert any(not v.equal(fresh[k]) for k, v in head.state_dict().items())
    np.testing.assert_array_equal(embed_image(segmenter, image)[0], base)


def test_enough_steps_find_the_annotated_object(segmenter: Segmenter, cache: Cache) -> None:
    head = segmenter.add_head(2)
    trained(head, cache, RECIPE.replace(iterations=120, batch_size=4, lr=0.02))
    found = fewshot.newest_mask(embed_image(segmenter, shot().image)[1], (80, 100))
    mask = shot().mask
    assert (found & mask).sum() / (found | mask).sum() > 0.7


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_run_that_was_interrupted_ends_like_one_that_was_not(
    segmenter: Segmenter,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
) -> None:
    monkeypatch.setattr("owlabel_training.fewshot.head_training.SAVE_EVERY_S", 0.0)
    recipe = RECIPE.replace(batch_size=batch_size)
    whole, broken = segmenter.add_head(2), segmenter.add_head(3)
    broken = copy.deepcopy(whole)
    again = copy.deepcopy(whole)
    loss = trained(whole, cache, recipe)
    steps = train_head(broken, cache, 3.0, recipe, tmp_path)
    for _ in range(4):
        next(steps)
    steps.close()
    assert trained(again, cache, recipe, tmp_path) == pytest.approx(loss)
    for key, value in again.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[key], msg=key)


def test_one_shot_trains_slowly_and_one_by_one() -> None:
    one, five = PlmRecipe.for_shots(1), PlmRecipe.for_shots(5)
    assert (one.batch_size, one.lr, one.iterations) == (1, 1e-3, 500)
    assert (five.batch_size, five.lr, five.iterations) == (5, 1e-2, 500)
    assert PlmRecipe.for_shots(5, lr=0.5).lr == 0.5


def test_a_single_crop_leaves_the_statistics_alone(segmenter: Segmenter, cache: Cache) -> None:
    head = segmenter.add_head(2)
    steps = train_head(head, cache, 3.0, RECIPE.replace(batch_size=1))
    next(steps)
    before = head.low[1].running_mean.clone()
    next(steps)
    assert head.low[1].running_mean.equal(before)
    assert not before.equal(torch.zeros_like(before))


def test_senseless_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        PlmRecipe(iterations=0)
