from __future__ import annotations

import hashlib
import json

import numpy as np
from PIL import Image

from owlabel.classes import VOID, Source
from owlabel.formats.labels import indexed_png
from owlabel.formats.labels.provenance import LabelledImage, card


def test_a_card_worked_by_hand(table, made_by) -> None:
    labels = np.array([[0, 0, 17], [17, 17, VOID]], np.uint8)
    source = np.array(
        [[Source.BASE, Source.HUMAN, Source.NPM], [Source.PLM, Source.NPM, Source.NONE]], np.uint8
    )
    confidence = np.array([[255, 0, 51], [102, 153, 9]], np.uint8)
    found = card(LabelledImage("a.png", labels, source, confidence, "edited"), table, made_by)
    assert found["sources"] == {"none": 1, "human": 1, "base": 1, "npm": 2, "plm": 1}
    assert found["void_pixels"] == 1
    assert found["state"] == "edited"
    assert found["model"] == {"name": "base: v1", "hash": "0123456789abcdef"}
    assert found["labels_sha256"] == hashlib.sha256(bytes([0, 0, 17, 17, 17, 255])).hexdigest()
    road, deer = found["classes"]
    assert (road["id"], road["pixels"], road["mean_confidence"]) == (0, 2, 0.5)
    assert (deer["id"], deer["pixels"], deer["mean_confidence"]) == (17, 3, 0.4)
    assert deer["sources"] == {"npm": 2, "plm": 1}


def test_every_image_has_a_card_and_a_source_map(tmp_path, table, made_by, make_image) -> None:
    image = make_image("drive/a.jpg")
    indexed_png.write(tmp_path / "out", table, [image], made_by)
    written = json.loads((tmp_path / "out/provenance/drive/a.json").read_text())
    assert written == card(image, table, made_by)
    with Image.open(tmp_path / "out/provenance/drive/a.source.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), image.source)


def test_masks_are_indexed_and_painted_in_the_colours_of_the_classes(
    tmp_path, table, made_by, make_image
) -> None:
    image = make_image("a.png")
    indexed_png.write(tmp_path / "out", table, [image], made_by)
    with Image.open(tmp_path / "out/masks/a.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), image.labels)
        np.testing.assert_array_equal(
            np.asarray(picture.convert("RGB")), table.palette()[image.labels]
        )
