from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owlabel_training.core.data import CropSampler, class_weights, read_split, split_names
from owlabel_training.core.recipe import DataRecipe, TrainingRecipe

TRAINING = TrainingRecipe(crop=(64, 64), batch_size=3, jitter=0.3, rare_share=0.0)


def test_a_split_is_read_with_its_classes(data: Path) -> None:
    train, val = read_split(data, DataRecipe())
    assert (len(train), len(val)) == (10, 2)
    assert train.classes.names == {0: "sky", 1: "road", 2: "box"}
    assert train.images[0].shape == (72, 96, 3)


def test_a_class_left_out_is_void_and_the_rest_is_renumbered(data: Path) -> None:
    whole, _ = read_split(data, DataRecipe())
    train, _ = read_split(data, DataRecipe(left_out=("sky",)))
    assert train.classes.names == {0: "road", 1: "box"}
    np.testing.assert_array_equal(train.labels[0] == 255, whole.labels[0] == 0)
    np.testing.assert_array_equal(train.labels[0] == 1, whole.labels[0] == 2)


def test_without_lists_every_tenth_frame_is_held_out(data: Path) -> None:
    train, val = split_names(data, DataRecipe(train="", val="", held_out=4))
    assert val == ("scene_00", "scene_04", "scene_08")
    assert set(train).isdisjoint(val)
    assert len(train) == 9


def test_a_crop_has_its_size_and_only_labels_that_exist(data: Path) -> None:
    sampler = CropSampler(read_split(data, DataRecipe())[0], TRAINING)
    images, labels = sampler.batch(0)
    assert images.shape == (3, 3, 64, 64)
    assert labels.shape == (3, 64, 64)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert set(labels.unique().tolist()) <= {0, 1, 2, 255}


def test_a_batch_depends_on_seed_and_step_alone(data: Path) -> None:
    frames = read_split(data, DataRecipe())[0]
    sampler, other = CropSampler(frames, TRAINING), CropSampler(frames, TRAINING.replace(seed=1))
    sampler.batch(0)
    assert sampler.batch(5)[0].equal(CropSampler(frames, TRAINING).batch(5)[0])
    assert not sampler.batch(5)[0].equal(sampler.batch(6)[0])
    assert not sampler.batch(5)[0].equal(other.batch(5)[0])


def test_image_and_labels_are_cut_and_mirrored_alike(data: Path) -> None:
    frames = read_split(data, DataRecipe())[0]
    recipe = TRAINING.replace(jitter=0.0, scale=(1.0, 1.0), batch_size=8)
    images, labels = CropSampler(frames, recipe).batch(0)
    red = (images[:, 0] > 0.7) & (images[:, 2] < 0.5)
    assert ((labels == 2) == red).float().mean() > 0.98


def test_rare_classes_are_looked_for(data: Path) -> None:
    frames = read_split(data, DataRecipe())[0]
    labels = tuple(
        np.where(np.arange(96) == 0, 2, label % 2).astype(np.uint8) for label in frames.labels
    )
    rare = replace(frames, labels=labels)

    def share(rare_share: float) -> float:
        recipe = TRAINING.replace(rare_share=rare_share, scale=(1.5, 1.5), batch_size=16)
        return float((CropSampler(rare, recipe).batch(0)[1] == 2).flatten(1).any(1).float().mean())

    assert share(0.99) > 0.9 > share(0.0)


def test_weights_favour_what_is_rare_up_to_the_cap() -> None:
    weights = class_weights(np.array([0.9, 0.09, 0.01, 0.0]), 3.0)
    assert list(weights) == sorted(weights)
    assert weights.max() == 3.0
    assert weights.min() == pytest.approx(1 / 3)


def test_images_and_labels_of_two_sizes_are_refused(data: Path) -> None:
    Image.fromarray(np.zeros((50, 96), np.uint8)).save(data / "labels" / "scene_03.png")
    with pytest.raises(ValueError, match=r"scene_03: the image has size \(72, 96\)"):
        read_split(data, DataRecipe())


def test_labels_without_a_class_are_refused(data: Path) -> None:
    Image.fromarray(np.full((72, 96), 9, np.uint8)).save(data / "labels" / "scene_03.png")
    with pytest.raises(ValueError, match=r"scene_03.png has the labels \[9\]"):
        read_split(data, DataRecipe())


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("classes.json", "classes.json"),
        ("train.txt", "cannot read the list"),
        ("images/scene_02.png", "no image scene_02"),
        ("labels/scene_02.png", "cannot read the labels"),
    ],
)
def test_what_is_missing_is_named(data: Path, gone: str, reason: str) -> None:
    (data / gone).unlink()
    with pytest.raises(ValueError, match=reason):
        read_split(data, DataRecipe())


def test_a_frame_must_not_be_in_both_lists(data: Path) -> None:
    (data / "val.txt").write_text("scene_01")
    with pytest.raises(ValueError, match="train and val"):
        read_split(data, DataRecipe())


def test_a_class_that_does_not_exist_cannot_be_left_out(data: Path) -> None:
    with pytest.raises(ValueError, match="deer"):
        read_split(data, DataRecipe(left_out=("deer",)))
