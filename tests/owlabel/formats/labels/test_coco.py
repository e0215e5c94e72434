from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO
from scipy import ndimage

from owlabel.classes import VOID
from owlabel.formats.atomic_folder import ExportError
from owlabel.formats.labels import coco_instances, coco_panoptic, run_lengths
from owlabel.formats.labels.provenance import LabelledImage

EIGHT = np.ones((3, 3))


def test_pycocotools_reads_the_regions(tmp_path, table, made_by, make_image, capsys) -> None:
    images = [make_image("a.png", 1), make_image("b.png", 2, (40, 31))]
    coco_instances.write(tmp_path / "out", table, images, made_by)
    read = COCO(str(tmp_path / "out" / "instances.json"))
    assert [c["name"] for c in read.loadCats(read.getCatIds())] == list(table.names.values())
    assert len(set(read.getAnnIds())) == len(read.dataset["annotations"])
    for image_id, image in enumerate(images, start=1):
        claimed = np.full(image.shape, VOID, np.uint8)
        for row in read.loadAnns(read.getAnnIds(imgIds=[image_id])):
            mask = read.annToMask(row).astype(bool)
            assert row["area"] == mask.sum() == coco.area(row["segmentation"])
            np.testing.assert_array_equal(row["bbox"], coco.toBbox(row["segmentation"]))
            assert ndimage.label(mask, EIGHT)[1] == 1
            assert (claimed[mask] == VOID).all()
            claimed[mask] = row["category_id"] - 1
            assert row["score"] == pytest.approx(image.confidence[mask].mean() / 255, abs=1e-4)
        np.testing.assert_array_equal(claimed, image.labels)


def test_a_diagonal_pair_is_one_region_and_a_gap_makes_two() -> None:
    labels = np.full((3, 5), VOID, np.uint8)
    labels[0, 0] = labels[1, 1] = labels[2, 4] = 3
    found = list(run_lengths.parts(labels, run_lengths.components(labels)))
    assert [(p.class_id, p.area, p.box) for p in found] == [
        (3, 2, (0, 0, 2, 2)),
        (3, 1, (4, 2, 1, 1)),
    ]


def test_touching_regions_of_two_classes_stay_two() -> None:
    labels = np.array([[0, 0, 1], [0, 1, 1]], np.uint8)
    assert [p.area for p in run_lengths.parts(labels, run_lengths.components(labels))] == [3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_agree_with_pycocotools(seed: int) -> None:
    mask = np.random.default_rng(seed).random((23, 19)) < (0.02, 0.3, 0.5, 0.9, 1.0)[seed]
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = np.zeros(mask.size, np.uint8)
    run_lengths.paint(flat, packed["counts"].decode(), 1)
    np.testing.assert_array_equal(flat.reshape(mask.shape, order="F"), mask)
    labels = np.where(mask, 0, VOID).astype(np.uint8)
    whole = mask.astype(np.int32)
    if mask.any():
        (part,) = run_lengths.parts(labels, whole)
        assert run_lengths.encode(part, mask.shape)["counts"] == packed["counts"].decode()


@pytest.mark.parametrize("counts", ["", "zzz", "5", "\x7f", "PPPPPPPPPPPPPPPPPPPP", "o" * 60, "1~"])
def test_lying_run_lengths_are_refused(counts: str) -> None:
    flat = np.zeros(16, np.uint8)
    with pytest.raises(ExportError):
        run_lengths.paint(flat, counts, 1)
    assert not flat.any()


def test_panoptic_segments_are_unique_and_their_areas_right(
    tmp_path, table, made_by, make_image
) -> None:
    image = make_image("x/a.png", 3, (30, 40))
    coco_panoptic.write(tmp_path / "out", table, [image], made_by)
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    things = {c["id"]: c["isthing"] for c in content["categories"]}
    assert things == {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 18: 1}
    (row,) = content["annotations"]
    picture = np.asarray(Image.open(tmp_path / "out" / "panoptic" / row["file_name"])).astype(int)
    numbers = picture @ [1, 256, 65536]
    ids = [s["id"] for s in row["segments_info"]]
    assert len(set(ids)) == len(ids)
    assert set(ids) == set(np.unique(numbers)) - {0}
    for segment in row["segments_info"]:
        mask = numbers == segment["id"]
        rows, columns = np.nonzero(mask)
        assert segment["area"] == mask.sum()
        assert segment["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert (image.labels[mask] == segment["category_id"] - 1).all()
        assert not things[segment["category_id"]] or ndimage.label(mask, EIGHT)[1] == 1
    stuff = [s["category_id"] for s in row["segments_info"] if not things[s["category_id"]]]
    assert len(set(stuff)) == len(stuff)
    assert (numbers[image.labels == VOID] == 0).all()


def test_colours_hold_24_bits() -> None:
    numbers = np.array([[0, 1, 255, 256, 65536, (1 << 24) - 1]], np.int32)
    np.testing.assert_array_equal(
        coco_panoptic.from_color(coco_panoptic.to_color(numbers)), numbers
    )


def test_more_segments_than_one_byte_counts(tmp_path, table, made_by) -> None:
    labels = np.full((50, 60), 1, np.uint8)
    labels[::2, ::2] = 17
    image = LabelledImage("a.png", labels, np.zeros_like(labels), np.zeros_like(labels))
    numbers = coco_panoptic.segments(labels, {17})
    assert np.unique(numbers).tolist() == list(range(1, 752))
    coco_panoptic.write(tmp_path / "out", table, [image], made_by)
    (found,) = coco_panoptic.read(tmp_path / "out")
    np.testing.assert_array_equal(found.labels, labels)
