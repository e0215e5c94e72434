from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from owlabel_training.core.data import Frames, read_frames
from owlabel_training.ood.data import OodSampler, ood_data, paste, pasted_frames
from owlabel_training.ood.proxies import Cutout, Proxy, cutouts, proxy_labels, read_proxies
from owlabel_training.ood.recipe import CourseRecipe, ProxyRecipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of 60 x 80 with one object each; the last has two."""
    made = tmp_path / "proxy"
    for name in ("images", "masks"):
        (made / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(5):
        image = rng.integers(0, 99, (60, 80, 3)).astype(np.uint8)
        mask = np.zeros((60, 80), np.uint8)
        mask[10:40, 10:40] = 1
        mask[50:] = 255
        if index == 4:
            mask[10:20, 60:70] = 1
        Image.fromarray(image).save(made / "images" / f"p{index}.jpg")
        Image.fromarray(mask).save(made / "masks" / f"p{index}.png")
    return made


def recipe(folder: Path, **changes: Any) -> ProxyRecipe:
    return ProxyRecipe(path=str(folder), **changes)


def read(recipe: ProxyRecipe, largest_side: int = 2048) -> tuple[list[Proxy], list[Proxy]]:
    return read_proxies(recipe, largest_side)


def spoil(folder: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask).save(folder / "masks" / "p2.png")


def test_background_of_a_proxy_is_ignored(folder: Path) -> None:
    train, val = read(recipe(folder))
    assert [p.name for p in val] == ["p0", "p4"]
    assert [p.name for p in train] == ["p1", "p2", "p3"]
    assert set(np.unique(train[0].labels)) == {254, 255}
    assert int((train[0].labels == 254).sum()) == 900


def test_large_proxies_are_read_as_the_model_sees_images(folder: Path) -> None:
    train, _ = read(recipe(folder), largest_side=40)
    assert {p.image.shape for p in train} == {(30, 40, 3)}
    assert int((train[0].labels == 254).sum()) == 225
    assert read(recipe(folder), largest_side=80)[0][0].image.shape == (60, 80, 3)
    with pytest.raises(ValueError, match="no object is left"):
        read(recipe(folder), largest_side=1)


def test_lists_name_what_is_trained_on(folder: Path) -> None:
    (folder / "a.txt").write_text("p0\np1\n")
    (folder / "b.txt").write_text("p3\n")
    train, val = read(recipe(folder, train="a.txt", val="b.txt"))
    assert ([p.name for p in train], [p.name for p in val]) == (["p0", "p1"], ["p3"])
    (folder / "b.txt").write_text("p1\n")
    with pytest.raises(ValueError, match="in both lists"):
        read(recipe(folder, train="a.txt", val="b.txt"))


def test_a_folder_that_is_not_there_or_empty_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="no proxy folder"):
        read(recipe(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no proxy folder"):
        read(ProxyRecipe())
    with pytest.raises(ValueError, match="has no images/"):
        read(recipe(tmp_path))
    for path in (folder / "masks").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="is empty"):
        read(recipe(folder))


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((60, 81), np.uint8), r"has size \(60, 81\), its picture p2.jpg \(60, 80\)"),
        (np.full((60, 80), 7, np.uint8), r"has the values \[7\]; allowed are \[0, 1, 254, 255\]"),
        (np.zeros((60, 80, 3), np.uint8), "one-channel"),
    ],
)
def test_a_bad_mask_is_named_with_what_is_wrong(
    folder: Path, mask: np.ndarray, reason: str
) -> None:
    spoil(folder, mask)
    with pytest.raises(ValueError, match=r"p2\.png.*" + reason):
        read(recipe(folder))


def test_damaged_and_missing_files_are_named(folder: Path) -> None:
    (folder / "masks" / "p2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"cannot read the mask .*p2\.png"):
        read(recipe(folder))
    (folder / "masks" / "p2.png").unlink()
    (folder / "images" / "p1.jpg").unlink()
    with pytest.raises(ValueError, match=r"p1\.png has no picture"):
        read(recipe(folder))


def test_masks_without_an_object_are_refused_when_none_has_one(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds an object"):
        read(recipe(folder, ood_ids=(2,), train="", val="").__class__(
            path=str(_without_objects(folder))))  # fmt: skip


def _without_objects(folder: Path) -> Path:
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.zeros((60, 80), np.uint8)).save(path)
    return folder


def coco_file(folder: Path, segmentation: Any, category: int = 2, **image: Any) -> Path:
    content = {
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}],
        "images": [{"id": 9, "file_name": "p0.jpg", "height": 60, "width": 80, **image}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": category, "segmentation": segmentation}
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def square() -> np.ndarray:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:50] = 1
    return mask


def plain_runs() -> dict[str, Any]:
    flat = square().ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [60, 80], "counts": np.diff([0, *edges, flat.size]).tolist()}


def packed_runs() -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(square()))
    return {"size": [60, 80], "counts": rle["counts"].decode()}


@pytest.mark.parametrize(
    "segmentation",
    [[[30, 20, 50, 20, 50, 40, 30, 40]], plain_runs(), packed_runs()],
    ids=["polygon", "plain runs", "packed runs"],
)
def test_coco_masks_of_every_kind(folder: Path, segmentation: Any) -> None:
    path = coco_file(folder, segmentation)
    (proxy,), _ = read(ProxyRecipe(source="coco", path=str(path)))
    np.testing.assert_array_equal(proxy.labels == 254, square() == 1)


@pytest.mark.parametrize(
    ("segmentation", "changes", "reason"),
    [
        ([[1, 2, 3]], {}, "three corners"),
        ([[1, 2, 3, float("nan"), 5, 6]], {}, "NaN or infinite"),
        ({"size": [60, 80], "counts": [5, 5]}, {}, "must add up to 4800 pixels"),
        ({"size": [6, 8], "counts": [48]}, {}, "a mask has size"),
        (packed_runs(), {"height": 61}, "the picture has size"),
        (packed_runs(), {"file_name": "../p0.jpg"}, "leaves the folder"),
        (packed_runs(), {"file_name": "none.jpg"}, "none.jpg"),
    ],
)
def test_a_bad_coco_entry_is_named(
    folder: Path, segmentation: Any, changes: dict[str, Any], reason: str
) -> None:
    path = coco_file(folder, segmentation, **changes)
    with pytest.raises(ValueError, match=reason):
        read(ProxyRecipe(source="coco", path=str(path)))


def test_coco_pictures_with_street_classes_and_bad_ids_are_refused(folder: Path) -> None:
    path = coco_file(folder, packed_runs(), category=1)
    with pytest.raises(ValueError, match="no annotated picture without"):
        read(ProxyRecipe(source="coco", path=str(path)))
    path = coco_file(folder, packed_runs(), category=77)
    with pytest.raises(ValueError, match="category id 77"):
        read(ProxyRecipe(source="coco", path=str(path)))
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="no COCO file"):
        read(ProxyRecipe(source="coco", path=str(path)))


def test_what_people_annotated_becomes_a_proxy() -> None:
    human = np.array([[0, 1, 2, 5, 253, 254, 255]], np.uint8)
    assert proxy_labels(human, 2).tolist() == [[0, 1, 254, 254, 255, 254, 255]]


def test_pieces_of_a_mask_are_objects_of_their_own(folder: Path) -> None:
    proxies, _ = read(recipe(folder, ood_ids=(1,)))
    _, val = read(recipe(folder))
    sizes = [int(c.mask.sum()) for c in cutouts(val, 50, True)]
    assert sizes == [900, 900, 100]
    assert [int(c.mask.sum()) for c in cutouts(val, 50, False)] == [900, 1000]
    assert len(cutouts(proxies, 10_000, True)) == 1, "the largest, rather than none"


def tiny_frames(count: int = 4) -> Frames:
    from owlabel.classes import ClassTable, LabelClass

    rng = np.random.default_rng(1)
    images = tuple(rng.integers(0, 99, (72, 96, 3)).astype(np.uint8) for _ in range(count))
    labels = tuple(np.full((72, 96), i % 2, np.uint8) for i in range(count))
    classes = ClassTable((LabelClass(0, "sky", (0, 0, 0)), LabelClass(1, "road", (1, 1, 1))))
    return Frames(tuple(f"f{i}" for i in range(count)), images, labels, classes)


def white(rows: int, columns: int) -> Cutout:
    return Cutout(np.full((rows, columns, 3), 255, np.uint8), np.ones((rows, columns), bool))


def test_pasting_changes_the_object_only_and_fits() -> None:
    frames = tiny_frames(1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image, label = paste(frames.images[0], frames.labels[0], [white(300, 40)], rng, [1.0])
        there = label == 254
        assert 0 < there.sum() <= 72 * 96 / 4
        assert (image[there] == 255).all()
        assert (image[~there] == frames.images[0][~there]).all()


def test_a_mask_that_vanishes_is_skipped() -> None:
    frames = tiny_frames(1)
    empty = Cutout(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), bool))
    image, label = paste(
        frames.images[0], frames.labels[0], [empty], np.random.default_rng(0), [0.1]
    )
    assert (label == frames.labels[0]).all()
    assert (image == frames.images[0]).all()


def sampler(folder: Path, use: str = "pasted", ratio: float = 0.5) -> OodSampler:
    chosen = recipe(folder, use=use, ratio=ratio)
    frames = tiny_frames(4)
    data = ood_data((frames, frames), read(chosen), chosen)
    return OodSampler(data, chosen, CourseRecipe(batch_size=2, crop=(64, 64)))


@pytest.mark.parametrize("use", ["pasted", "whole"])
def test_an_epoch_holds_every_frame_once_and_proxies_in_the_ratio(folder: Path, use: str) -> None:
    one = sampler(folder, use)
    assert (one.steps_per_epoch, one.proxies_per_epoch) == (3, 2)
    for epoch in range(3):
        chosen = [one._chosen(3 * epoch + step, place) for step in range(3) for place in (0, 1)]
        assert sorted(chosen) == [0, 1, 2, 3, 4, 4]
    with_object = [bool((label == 254).any()) for step in range(3) for label in one.mixed(step)[1]]
    assert sum(with_object) == 2


def test_a_batch_depends_on_its_step_alone(folder: Path) -> None:
    one, other = sampler(folder), sampler(folder)
    other.mixed(7)
    for kind in ("mixed", "pasted", "context"):
        first, second = getattr(one, kind)(1), getattr(other, kind)(1)
        assert first[0].equal(second[0])
        assert first[1].equal(second[1])


def test_every_city_crop_has_an_object_and_every_context_counts_its_rest(folder: Path) -> None:
    one = sampler(folder)
    _, city = one.pasted(0)
    assert all((label == 254).any() for label in city)
    _, context = one.context(0)
    assert set(context.unique().tolist()) == {0, 254}


def test_frames_to_measure_on_are_the_same_for_the_same_seed(folder: Path) -> None:
    frames = tiny_frames(3)
    first = pasted_frames(frames, [white(10, 12)], 5, [0.5, 1.0])
    second = pasted_frames(frames, [white(10, 12)], 5, [0.5, 1.0])
    assert all((a.truth == b.truth).all() for a, b in zip(first, second, strict=True))
    assert all(set(np.unique(a.truth)) == {0, 1} for a in first)


def test_labels_out_of_range_are_refused_before_training(data: Path) -> None:
    Image.fromarray(np.full((72, 96), 9, np.uint8)).save(data / "labels" / "scene_00.png")
    with pytest.raises(ValueError, match=r"scene_00\.png has the labels \[9\]"):
        read_frames(data, ["scene_00"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "web"}, "web"),
        ({"use": "half"}, "half"),
        ({"ratio": 0.0}, "ratio"),
        ({"ood_ids": (0,)}, "ood_ids"),
        ({"scales": ()}, "scales"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ProxyRecipe(**changes)
