from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from owlabel.classes import VOID
from owlabel.evaluation import layouts
from owlabel.evaluation.cases import BINARY, Case, LabelRule, check, ranges, read_ids, truth_of


def truths(dataset: Any, count: int, place: int = 0) -> tuple[list[int], list[int]]:
    ood, classes = truth_of(dataset.cases[place], dataset.rule)
    return ood.ravel()[:count].tolist(), classes.ravel()[:count].tolist()


@pytest.mark.parametrize(
    ("kind", "ids", "ood"),
    [
        ("labelIds", [0, 1, 2, 30, 31, 32, 33, 39, 40, 43], [255, 0, 1, 1, 255, 1, 255, 255, 1, 1]),
        ("labelTrainIds", [0, 1, 2, 255], [255, 0, 1, 255]),
    ],
)
def test_lost_and_found(tmp_path: Path, picture, mask, kind, ids, ood) -> None:
    picture("leftImg8bit/test/01_Hanns/01_Hanns_000000_000010_leftImg8bit.png")
    mask(f"gtCoarse/test/01_Hanns/01_Hanns_000000_000010_gtCoarse_{kind}.png", ids)
    dataset = layouts.read("lost_and_found", tmp_path)
    assert dataset.cases[0].name == "01_Hanns/01_Hanns_000000_000010"
    assert truths(dataset, len(ids))[0] == ood
    assert check(dataset, need_images=True) == {dataset.cases[0].name: (6, 8)}


def test_cityscapes_with_a_class_held_out(tmp_path: Path, picture, mask) -> None:
    picture("leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png")
    mask("gtFine/val/bonn/bonn_000001_000019_gtFine_labelIds.png", [7, 26, 27, 33, 4, 8])
    dataset = layouts.read("cityscapes", tmp_path, held_out=["car"], ignored=["truck", "bus"])
    assert len(dataset.rule.names) == 16
    ood, classes = truths(dataset, 6)
    assert ood == [0, 1, 255, 0, 255, 0]
    assert [dataset.rule.names[c] for c in (classes[0], classes[3], classes[5])] == [
        "road", "bicycle", "sidewalk"
    ]  # fmt: skip
    assert classes[1] == VOID
    whole = layouts.read("cityscapes", tmp_path)
    assert len(whole.rule.names) == 19
    assert truths(whole, 2) == ([0, 0], [0, 13])


@pytest.mark.parametrize(
    ("image", "truth", "split"),
    [
        ("Static/original/3.png", "Static/labels/3.png", "Static"),
        ("0000_abc_rgb.jpg", "0000_abc_labels.png", None),
        ("laf/train/04/04_Maurener_000_leftImg8bit.png",
         "fishyscapes_lostandfound/0007_04_Maurener_000_labels.png", None),
    ],
)  # fmt: skip
def test_fishyscapes(tmp_path: Path, picture, mask, image, truth, split) -> None:
    found = picture(image)
    mask(truth, [0, 1, 255])
    dataset = layouts.read("fishyscapes", tmp_path, split)
    assert dataset.cases[0].image == found
    assert truths(dataset, 3)[0] == [0, 1, 255]


def test_street_hazards(tmp_path: Path, picture, mask) -> None:
    for town in ("t5", "t6"):
        picture(f"test/images/test/{town}/300.png")
        mask(f"test/annotations/test/{town}/300.png", [1, 2, 13, 14], rest=8)
    both = layouts.read("street_hazards", tmp_path)
    assert [case.name for case in both.cases] == ["t5/300", "t6/300"]
    assert len(layouts.read("street_hazards", tmp_path, "t6").cases) == 1
    assert truths(both, 5) == ([0, 0, 0, 1, 0], [0, 1, 12, 255, 7])


def test_segment_me_if_you_can_leaves_the_held_back_pictures_out(
    tmp_path: Path, picture, mask
) -> None:
    for name in ("validation0000.jpg", "zebra0000.jpg", "other.webp"):
        picture(f"images/{name}")
    mask("labels_masks/validation0000_labels_semantic.png", [0, 1, 255])
    mask("labels_masks/other_labels_semantic.png", [0, 1, 255])
    assert len(layouts.read("smiyc", tmp_path).cases) == 2
    dataset = layouts.read("smiyc", tmp_path, "validation")
    assert [case.name for case in dataset.cases] == ["validation0000"]


def test_road_anomaly(tmp_path: Path, picture, mask) -> None:
    picture("frames/animals01.jpg")
    mask("frames/animals01.labels/labels_semantic.png", [0, 1, 2], rest=0)
    assert truths(layouts.read("road_anomaly", tmp_path), 4)[0] == [0, 0, 1, 0]


def camvid(root: Path, picture: Any, mask: Any) -> None:
    for name in ("a_1", "a_2"):
        picture(f"images/{name}.jpg")
        mask(f"labels/{name}.png", [0, 1, 2, 255])
    rows = [{"id": i, "name": n} for i, n in enumerate(("sky", "road", "car"))]
    (root / "classes.json").write_text(json.dumps({"classes": rows}))
    (root / "test.txt").write_text("a_2\n")
    (root / "protocol.json").write_text(json.dumps({"settings": {"2+1": {"order": ["car"]}}}))


@pytest.mark.parametrize("word", ["2+1", "car"])
def test_camvid_with_lists_and_settings(tmp_path: Path, picture, mask, word: str) -> None:
    camvid(tmp_path, picture, mask)
    dataset = layouts.read("camvid", tmp_path, "test", [word])
    assert [case.name for case in dataset.cases] == ["a_2"]
    assert dataset.rule.names == ("sky", "road")
    assert truths(dataset, 4) == ([0, 0, 1, 255], [0, 1, 255, 255])


def test_lists_cannot_lead_out_of_the_folder(tmp_path: Path, picture, mask) -> None:
    camvid(tmp_path, picture, mask)
    (tmp_path / "bad.txt").write_text("../../secret\n")
    with pytest.raises(ValueError, match=r"'\.\.'"):
        layouts.read("camvid", tmp_path, "bad")


def test_a_plain_folder_with_folders_in_it(tmp_path: Path, picture, mask) -> None:
    picture("images/day/1.png")
    mask("masks/day/1.png", [0, 1])
    assert [case.name for case in layouts.read("plain", tmp_path).cases] == ["day/1"]


@pytest.mark.parametrize("layout", list(layouts.LAYOUTS))
def test_an_empty_folder_is_refused_in_words(tmp_path: Path, layout: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"does not exist|contains no|neither original|no folder annotations|cannot read|"
        r"no image with ground truth",
    ):
        layouts.read(layout, tmp_path)


def test_empty_folders_of_the_right_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match="no image with ground truth"):
        layouts.read("plain", tmp_path)


def test_unknown_layouts_and_classes_are_refused(tmp_path: Path, picture, mask) -> None:
    with pytest.raises(ValueError, match="layout must be one of plain"):
        layouts.read("voc", tmp_path)
    camvid(tmp_path, picture, mask)
    with pytest.raises(ValueError, match=r"tram.*sky, road, car"):
        layouts.read("camvid", tmp_path, None, ["tram"])
    with pytest.raises(ValueError, match="choose each class once"):
        layouts.read("camvid", tmp_path, None, ["car"], ["car"])
    with pytest.raises(ValueError, match="differ"):
        LabelRule.of("x", {0: ""}, [0], [])


def test_everything_wrong_is_said_before_a_model_runs(tmp_path: Path, picture, mask) -> None:
    picture("images/size.png", (8, 6))
    mask("masks/size.png", [0, 1])
    picture("images/ids.png")
    mask("masks/ids.png", [0, 1, 7, 8])
    mask("masks/alone.png", [0, 1])
    (tmp_path / "masks" / "broken.png").write_bytes(b"no image")
    picture("masks/colours.png")
    dataset = layouts.read("plain", tmp_path)
    with pytest.raises(ValueError, match="size") as error:
        check(dataset, need_images=True)
    text = str(error.value)
    for words in (
        "the mask is 6 x 8, its image size.png is 8 x 6",
        "has the ids [7, 8]; masks of 0, 1 and 255 may have 0 .. 1, 255",
        "alone.png: the image of this mask is missing",
        "broken.png: it cannot be read",
        "colours.png: a mask must have one 8-bit id per pixel, got RGB",
    ):
        assert words in text


def test_palettes_and_one_bit_masks_are_ids(tmp_path: Path) -> None:
    coloured = Image.fromarray(np.array([[0, 1], [1, 255]], np.uint8))
    coloured.putpalette([9] * 768)
    coloured.save(tmp_path / "p.png")
    assert read_ids(tmp_path / "p.png", "x").tolist() == [[0, 1], [1, 255]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
    case = Case("b", None, tmp_path / "b.png")
    assert truth_of(case, BINARY)[0].tolist() == [[1, 0]]
    deep = np.full((2, 2), 300, np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    with pytest.raises(ValueError, match="8-bit"):
        read_ids(tmp_path / "d.png", "x")


def test_ranges_in_words() -> None:
    assert ranges([0, 1, 2, 5, 255]) == "0 .. 2, 5, 255"


def test_a_picture_without_mask_is_named(tmp_path: Path, picture, mask) -> None:
    for name in ("a", "b", "c"):
        picture(f"images/{name}.png")
    mask("masks/a.png", [0, 1])
    with pytest.raises(
        ValueError, match=r"b\.png has no mask in .*masks \(and 1 more\): add the mask"
    ):
        layouts.read("plain", tmp_path)
