from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

import owlabel_samples
from owlabel_samples.kinds import KNOWN, STRANGE
from owlabel_samples.make import PLAN, main, shipped_scene
from owlabel_samples.scenes import generate
from owlabel_samples.weather import Look

SMALL = (60, 80)
cv2.setNumThreads(1)  # many short operations
KINDS = range(len(KNOWN), len(KNOWN) + len(STRANGE))


def test_a_seed_gives_one_scene() -> None:
    one, other, third = (generate(seed, SMALL, ood=True) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert (third.image != one.image).any()


def test_training_scenes_hold_every_known_class_and_no_strange_object() -> None:
    seen = np.zeros(256, int)
    for seed in range(6):
        scene = generate(seed, SMALL)
        assert scene.image.shape == (*SMALL, 3)
        assert scene.labels.shape == scene.instances.shape == SMALL
        seen += np.bincount(scene.labels.ravel(), minlength=256)
    assert (seen[: len(KNOWN)] > 0).all()
    assert (seen[len(KNOWN) :] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_strange_kind_is_there_when_asked_for(kind: int) -> None:
    found = [set(np.unique(generate(seed, SMALL, True, (kind,)).labels)) for seed in range(2)]
    assert any(kind in labels for labels in found)
    assert all(not labels & (set(KINDS) - {kind}) for labels in found)


def test_scenes_are_not_flat() -> None:
    scene = generate(3, (120, 160))
    for number in np.unique(scene.labels):
        pixels = scene.image[scene.labels == number]
        assert len(pixels) < 50 or pixels.std(0).min() > 2


def test_weather_varies() -> None:
    looks = [Look.random(np.random.default_rng(seed)) for seed in range(40)]
    assert len({look.name for look in looks}) == 6
    assert len({look.sun_side for look in looks}) == 2


@pytest.mark.parametrize(("seed", "size"), [(-1, SMALL), (0, (16, 80))])
def test_what_cannot_be_drawn_is_refused(seed: int, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="got"):
        generate(seed, size)


def test_the_shipped_images_have_labels_and_stay_small() -> None:
    images = sorted(owlabel_samples.images().iterdir())
    labels = sorted(owlabel_samples.labels().iterdir())
    assert [p.stem for p in images] == [p.stem for p in labels]
    assert len(images) == len(PLAN) == 32
    assert sum(p.stat().st_size for p in images + labels) < 2.5e6
    for path, kinds in zip(labels, PLAN, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == "P"
            found = set(np.unique(np.asarray(picture)).tolist())
        assert found & set(KINDS) == set(kinds)


def test_every_kind_is_in_several_shipped_images() -> None:
    assert all(sum(kind in kinds for kinds in PLAN) >= 6 for kind in KINDS)
    assert sum(not kinds for kinds in PLAN) >= 4


def test_the_shipped_images_come_from_the_generator() -> None:
    with Image.open(owlabel_samples.labels() / "street_05.png") as picture:
        same = np.asarray(picture) == shipped_scene(4).labels
    assert same.mean() > 0.999


def test_a_training_folder_has_images_labels_and_classes(tmp_path) -> None:
    main(["--train", str(tmp_path), "--count", "2", "--seed", "40", "--size", "48", "64"])
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    stems = ("street_00040", "street_00041")
    assert names == {"classes.json"} | {f"{d}/{s}.png" for d in ("images", "labels") for s in stems}
    with pytest.raises(SystemExit):
        main(["--train", str(tmp_path), "--count", "2", "--seed", "1000000"])


def test_strange_scenes_are_a_folder_of_proxies(tmp_path) -> None:
    where = ["--strange", str(tmp_path), "--size", "96", "128"]
    main([*where, "--count", "3", "--seed", "50", "--kinds", "deer,sofa"])
    masks = sorted((tmp_path / "masks").iterdir())
    assert len(masks) == len(list((tmp_path / "images").iterdir())) == 3
    kinds = []
    for path in masks:
        labels = np.asarray(Image.open(tmp_path / "labels" / path.name))
        np.testing.assert_array_equal(np.asarray(Image.open(path)), labels >= len(KNOWN))
        kinds += sorted(set(np.unique(labels)) & set(KINDS))
    assert kinds == [10, 12, 10]
    with pytest.raises(SystemExit):
        main([*where, "--kinds", "unicorn"])


def test_class_ids_are_the_rows_of_the_table() -> None:
    table = owlabel_samples.classes()
    assert [row["id"] for row in table] == list(range(14))
    assert [row["novel"] for row in table] == [False] * 10 + [True] * 4
