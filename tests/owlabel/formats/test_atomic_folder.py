from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from owlabel.classes import OOD_PROXY, UNSET
from owlabel.formats.atomic_folder import MARKER, ExportError, checked_name
from owlabel.formats.labels import indexed_png
from owlabel.formats.labels.registry import FORMATS, exporters

NAMES = sorted(exporters())
HOSTILE = ["../a.png", "a/../../b.png", "/etc/passwd", "C:\\a.png", "c:a.png", "\\\\host\\a"]
HOSTILE += ["a//b.png", ".", "", "a/./b", "a\x00b.png", "a\nb", "x" * 300]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_export_stays_untouched_unless_asked(
    name, tmp_path, table, made_by, make_image
) -> None:
    out = tmp_path / "out"
    list(FORMATS[name].stream(out, table, [make_image("a.png", 1)], made_by))
    before = tree(tmp_path)
    with pytest.raises(ExportError, match="out already exists"):
        list(FORMATS[name].stream(out, table, [make_image("b.png", 2)], made_by))
    assert tree(tmp_path) == before
    list(FORMATS[name].stream(out, table, [make_image("b.png", 2)], made_by, overwrite=True))
    assert [image.name for image in FORMATS[name].read(out).images] == ["b.png"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_of_somebody_elses_files_is_never_replaced(tmp_path, table, made_by) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(ExportError, match="not an OWLabel export"):
        indexed_png.write(tmp_path, table, [], made_by, overwrite=True)
    assert tree(tmp_path) == {"holiday.jpg": b"precious"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_half_way_leaves_what_was_there(
    name, overwrite, tmp_path, table, made_by, make_image
) -> None:
    out = tmp_path / "out"
    if overwrite:
        list(FORMATS[name].stream(out, table, [make_image("old.png")], made_by))
    before = tree(tmp_path)

    def images():
        yield make_image("a.png")
        raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match="No space left"):
        list(FORMATS[name].stream(out, table, images(), made_by, overwrite))
    assert tree(tmp_path) == before
    assert os.listdir(tmp_path) == (["out"] if overwrite else [])


@pytest.mark.parametrize("name", NAMES)
def test_a_cancelled_export_leaves_nothing(name, tmp_path, table, made_by, make_image) -> None:
    steps = FORMATS[name].stream(tmp_path / "out", table, [make_image("a.png")] * 2, made_by)
    next(steps)
    assert len(os.listdir(tmp_path)) == 1  # it works in a folder of its own
    steps.close()
    assert os.listdir(tmp_path) == []


def test_images_are_taken_one_by_one(tmp_path, table, made_by, make_image) -> None:
    taken = []

    def images():
        for name in ("a.png", "b.png", "c.png"):
            taken.append(name)
            yield make_image(name)

    seen = [list(taken) for _ in indexed_png.stream(tmp_path / "out", table, images(), made_by)]
    assert seen == [["a.png"], ["a.png", "b.png"], ["a.png", "b.png", "c.png"]]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_name_is_refused_and_named(hostile, tmp_path, table, made_by, make_image) -> None:
    with pytest.raises(ExportError) as error:
        indexed_png.write(tmp_path / "out", table, [make_image(hostile)], made_by)
    assert repr(hostile) in str(error.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["ä ö/ü.png", "12:30.jpg", "a'b\"c.png", "..a/b..png", "=1+1.png", "無/題.tif"]
)
def test_an_odd_but_harmless_name_is_kept(name, tmp_path, table, made_by, make_image) -> None:
    assert checked_name(name).as_posix() == name
    indexed_png.write(tmp_path / "out", table, [make_image(name)], made_by)
    assert [image.name for image in indexed_png.read(tmp_path / "out")] == [name]


@pytest.mark.parametrize("value", [UNSET, OOD_PROXY, 200])
def test_a_value_that_is_no_class_is_not_exported(
    value, tmp_path, table, made_by, make_image
) -> None:
    image = make_image("a.png")
    image.labels[3, 4] = value
    with pytest.raises(ExportError, match=rf"a\.png: labels \[{value}\]"):
        indexed_png.write(tmp_path / "out", table, [image], made_by)


def test_two_images_of_one_name_are_refused(tmp_path, table, made_by, make_image) -> None:
    with pytest.raises(ExportError, match=r"'a\.png'"):
        indexed_png.write(tmp_path / "out", table, [make_image("a.png")] * 3, made_by)


def test_what_a_killed_export_left_is_put_right(tmp_path, table, made_by, make_image) -> None:
    indexed_png.write(tmp_path / "out", table, [make_image("old.png")], made_by)
    (tmp_path / "out").rename(tmp_path / ".out.previous")  # killed between the two renames
    (tmp_path / ".out.partial-999999999-x").mkdir()
    with pytest.raises(ExportError, match="out already exists"):
        indexed_png.write(tmp_path / "out", table, [], made_by)
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).is_file()


def test_a_link_is_not_written_through(tmp_path, table, made_by) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ExportError, match="is not a folder"):
        indexed_png.write(tmp_path / "link", table, [], made_by, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert not any((tmp_path / "real").iterdir())


def test_returned_files_exist(tmp_path, table, made_by, make_image) -> None:
    image = make_image("d/a.png")
    files = indexed_png.write(tmp_path / "out", table, [image], made_by)
    assert all(f.is_file() for f in files)
    assert tmp_path / "out/masks/d/a.png" in files
    assert np.isin(image.labels, [*table.names, 255]).all()
