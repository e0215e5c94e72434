from __future__ import annotations

import json
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owlabel.classes import VOID, ClassTable, LabelClass
from owlabel.formats.atomic_folder import ExportError
from owlabel.formats.labels import stream as steps
from owlabel.formats.labels.provenance import LabelledImage, Provenance
from owlabel.formats.labels.registry import FORMATS, exporters

NAMES = sorted(exporters())
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MAPS = SHAPES.flatmap(
    lambda shape: arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 9, VOID]))
)
TABLE = ClassTable(tuple(LabelClass(i, f"class {i}", (i, i, i), novel=i > 1) for i in (0, 1, 2, 9)))


def export(name, folder, table, images, provenance, overwrite=False) -> list[Path]:
    return steps.run(FORMATS[name].stream(folder, table, images, provenance, overwrite))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(maps=st.lists(MAPS, max_size=3))
def test_labels_come_back_byte_for_byte(name: str, maps: list[np.ndarray]) -> None:
    images = [
        LabelledImage(f"drive {i}/frame.jpg", m, np.zeros_like(m), np.zeros_like(m))
        for i, m in enumerate(maps)
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "out")
        export(name, folder, TABLE, iter(images), Provenance("t", "m", "h"))
        found = list(FORMATS[name].read(folder).images)
    assert [f.name for f in found] == [i.name for i in images]
    for one, other in zip(found, images, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.labels.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_class_names_survive_as_they_are(name, tmp_path, table, made_by, make_image) -> None:
    export(name, tmp_path / "out", table, [make_image("a.png")], made_by)
    assert steps.read_classes(tmp_path / "out") == table


@pytest.mark.parametrize("name", NAMES)
def test_the_same_labels_give_the_same_bytes(name, tmp_path, table, made_by, make_image) -> None:
    contents = []
    for place in ("one", "two"):
        files = export(
            name, tmp_path / place, table, [make_image("x/a.png"), make_image("b.png")], made_by
        )
        contents.append({f.relative_to(tmp_path / place): f.read_bytes() for f in files})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_differ_by_suffix_or_case_only_do_not_meet(
    name, tmp_path, table, made_by, make_image
) -> None:
    names = ["a/x.jpg", "a/x.png", "A/X.tif", "a/x"]
    images = [make_image(n, seed) for seed, n in enumerate(names[:3])]
    export(name, tmp_path / "out", table, images, made_by)
    found = {f.name: f.labels for f in FORMATS[name].read(tmp_path / "out").images}
    for image in images:
        np.testing.assert_array_equal(found[image.name], image.labels)


def test_a_changed_mask_is_noticed(tmp_path, table, made_by, make_image) -> None:
    export("masks", tmp_path / "out", table, [make_image("a.png", 1)], made_by)
    export("masks", tmp_path / "other", table, [make_image("a.png", 2)], made_by)
    (tmp_path / "other/masks/a.png").rename(tmp_path / "out/masks/a.png")
    with pytest.raises(ExportError, match=r"a\.png is not the mask"):
        list(FORMATS["masks"].read(tmp_path / "out").images)


@pytest.mark.parametrize(
    ("name", "file"), [("coco", "instances.json"), ("panoptic", "panoptic.json")]
)
@pytest.mark.parametrize("hostile", ["../a.png", "/etc/passwd", "C:/a.png", "x\\y.png"])
def test_paths_inside_a_table_are_not_followed(
    name, file, hostile, tmp_path, table, made_by, make_image
) -> None:
    export(name, tmp_path / "out", table, [make_image("a.png")], made_by)
    content = json.loads((tmp_path / "out" / file).read_text())
    rows = content["annotations"] if name == "panoptic" else content["images"]
    rows[0]["file_name"] = hostile
    (tmp_path / "out" / file).write_text(json.dumps(content))
    with pytest.raises(ExportError, match="image name"):
        list(FORMATS[name].read(tmp_path / "out").images)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_no_such_export_is_refused(name, tmp_path) -> None:
    with pytest.raises(ExportError, match="cannot be read"):
        list(FORMATS[name].read(tmp_path).images)
