"""Files of tags: what they say, and what is told of wrong ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owlabel.classes import ClassTable, LabelClass
from owlabel.formats.tags import files as tag_files
from owlabel.formats.tags.files import Reading, ReadTags

CLASSES = ClassTable(
    (
        LabelClass(0, "road", (1, 1, 1)),
        LabelClass(1, "deer", (2, 2, 2), novel=True),
        LabelClass(2, "wild boar", (3, 3, 3), novel=True),
    )
)
IMAGES = {"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/3.jpg": 4}


@pytest.fixture
def read(tmp_path: Path) -> object:
    def read_text(name: str, text: str | bytes, **how: bool) -> ReadTags:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tag_files.read(path, IMAGES, CLASSES, Reading(**how))

    return read_text


# -- what is understood ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "image,class,state\na/1.png,deer,present\na/2.png,deer,absent\n",
        "image;class;state\r\na/1.png;Deer;1\r\na/2.png;deer;no\r\n",
        "a/1.png\tdeer\tyes\na\\2.png\tdeer\tABSENT\n\n",
        "\ufeffimage,class,state\n a/1.png , deer ,\tpresent\n2.png,deer,false",
        'a/1,deer,present\n"2",deer,absent\n',
    ],
)
def test_csv(read, text: str) -> None:  # type: ignore[no-untyped-def]
    assert read("t.csv", text).tags == {1: {1: "present", 2: "absent"}}


def test_csv_without_states_says_present(read) -> None:  # type: ignore[no-untyped-def]
    found = read("t.csv", "image,class\na/1.png,deer\nb/3.jpg,wild boar\n")
    assert found.tags == {1: {1: "present"}, 2: {4: "present"}}


@pytest.mark.parametrize(
    "value",
    [
        {"a/1.png": ["deer"], "2": {"absent": ["deer"]}},
        {"rule": "at least 0.1 %", "tags": {"a/1": ["deer"], "a/2.png": {"absent": ["deer"]}}},
    ],
)
def test_json(read, value: object) -> None:  # type: ignore[no-untyped-def]
    assert read("t.json", json.dumps(value)).tags == {1: {1: "present", 2: "absent"}}


def test_coco_annotations_without_masks(read) -> None:  # type: ignore[no-untyped-def]
    value = {
        "images": [{"id": 7, "file_name": "images/a/1.png"}, {"id": 8, "file_name": "3.jpg"}],
        "categories": [{"id": 5, "name": "deer"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5},
            {"id": 2, "image_id": 7, "category_id": 5},
            {"id": 3, "image_id": 8, "tags": ["wild boar", "road"]},
            {"id": 4, "image_id": 8, "category_id": 5, "state": "absent"},
        ],
    }
    found = read("t.json", json.dumps(value))
    assert found.tags == {
        1: {1: "present", 4: "absent"}, 2: {4: "present"}, 0: {4: "present"}
    }  # fmt: skip


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("deer/2.png", "deer/x/3.jpg", "wild boar/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert tag_files.read(tmp_path, IMAGES, CLASSES).tags == {
        1: {2: "present", 4: "present"}, 2: {2: "present"}
    }  # fmt: skip


def test_images_that_lie_in_folders_of_classes(tmp_path: Path) -> None:
    for name in ("deer/1.png", "road/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    images = {"deer/1.png": 1, "road/1.png": 2}
    assert tag_files.read(tmp_path, images, CLASSES).tags == {1: {1: "present"}, 0: {2: "present"}}


def test_new_classes_are_made_where_wanted(read) -> None:  # type: ignore[no-untyped-def]
    text = "a/1.png,elk\na/2.png,Elk\na/1.png,7\n"
    found = read("t.csv", text, create_classes=True)
    assert found.tags == {}
    assert found.new == {"elk": {1: "present", 2: "present"}, "7": {1: "present"}}


def test_no_class_is_made_for_images_that_are_not_there(read) -> None:  # type: ignore[no-untyped-def]
    text = "class,image\nx/9.png,elk\na/1.png,elk\n"
    found = read("t.csv", text, create_classes=True, skip_unknown=True)
    assert found.new == {"elk": {1: "present"}}


def test_what_is_unknown_is_left_out_where_wanted(read) -> None:  # type: ignore[no-untyped-def]
    text = "a/1.png,elk\nc/9.png,deer\na/1.png,deer\n"
    found = read("t.csv", text, skip_unknown=True)
    assert found.tags == {1: {1: "present"}}
    assert found.skipped == {"elk": 1, "c/9.png": 1}


def test_a_whole_list_says_what_is_absent(read) -> None:  # type: ignore[no-untyped-def]
    text = '{"a/1.png": ["deer"], "a/2.png": ["wild boar"], "b/1.png": []}'
    assert read("t.json", text, others_absent=True).tags == {
        1: {1: "present", 2: "absent"}, 2: {1: "absent", 2: "present"}
    }  # fmt: skip


# -- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "a/1.png,deer\na/1.png,dear\n", r"line 2: no class is named 'dear' \(did you me"),
        ("t.csv", "a/1.png,elk\n", r"create the classes \(--create-classes\)"),
        ("t.csv", "a/1.png,elk\n", r"Nothing was imported"),
        ("t.csv", "\n\nc/9.png,deer\n", "line 3: no image is named 'c/9.png'.*--skip-unknown"),
        ("t.csv", "1.png,deer\n", "line 1: '1.png' fits a/1.png, b/1.png; write the path"),
        ("t.csv", "a/1.png,deer\n" * 2, "line 2: .*again, as in line 1; delete one"),
        ("t.csv", "a/1.png,deer,1\na/1,deer,0\n", "line 2: .*absent.*but present in line 1"),
        ("t.csv", "a/1.png,deer,perhaps\n", "line 1: unknown state 'perhaps'"),
        ("t.csv", "a/1.png\n", "line 1: a line must be image,class"),
        ("t.csv", "a/1.png,deer,present,me\n", "line 1: a line must be image,class"),
        ("t.csv", 'a/1.png,"deer\n', "line 1: not valid CSV"),
        ("t.csv", "a/1.png,deer\nb/3.jpg,r\xe9n".encode("latin-1"), "line 2: the byte 0xe9"),
        ("t.csv", "a/1.png,deer".encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        ("t.csv", "a/1.png,de\x00er\n", "line 1: .*control"),
        ("t.json", '{"a/1.png": ["deer"],\n "a/2.png": [}', "line 2: not valid JSON"),
        ("t.json", '{"a/1.png": ["deer"],\n "a/1.png": ["deer"]}', "line 2: .*occurs twice"),
        ("t.json", '{"a/1.png": [],\n "x": ["deer"]}', r"line 2 \('x'\): no image is named 'x'"),
        ("t.json", '{"a/1.png": ["deer", "deer"]}', "line 1.*again"),
        ("t.json", '{"a/1.png": "deer"}', "line 1.*write a list of classes"),
        ("t.json", '{"a/1.png": {"there": ["deer"]}}', "line 1.*write a list of classes"),
        ("t.json", '{"a/1.png": [3]}', "line 1.*classes must be a list of names"),
        ("t.json", "[1, 2]", "tags must be an object"),
        ("t.json", "[" * 100_000, "nested too deeply"),
        ("t.json", '{"images": [], "annotations": [{"image_id": 3}]}', "annotation 1.*no image"),
        ("t.xlsx", "", r"tags must be a .csv or .json file, or a folder"),
    ],
)
def test_wrong_files_are_told_with_line_and_remedy(read, name, text, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said) as error:
        read(name, text)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ({"caption": "a deer"}, r"needs a category_id or a list tags \(a caption is not read\)"),
        ({"category_id": 9}, "no category has the id 9"),
        ({"tags": ["deer"], "state": "?"}, "unknown state '\\?'"),
        (3, "an annotation must be an object"),
    ],
)
def test_wrong_annotations(read, annotation: object, said: str) -> None:  # type: ignore[no-untyped-def]
    row = {"id": 4, "image_id": 7, **annotation} if isinstance(annotation, dict) else annotation
    value = {"images": [{"id": 7, "file_name": "a/1.png"}], "annotations": [row]}
    with pytest.raises(ValueError, match=f"annotation 1.*{said}"):
        read("t.json", json.dumps(value))


def test_many_unknown_names_are_told_in_one_line(read) -> None:  # type: ignore[no-untyped-def]
    text = "".join(f"c/{i}.png,deer\n" for i in range(50))
    with pytest.raises(ValueError, match=r"line 1: .*; line 2: .*; line 3: .*; 49 more") as error:
        read("t.csv", text)
    assert len(str(error.value)) < 600


def test_what_is_not_there_or_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        tag_files.read(tmp_path / "none.csv", IMAGES, CLASSES)
    with pytest.raises(ValueError, match="has no subfolder with images"):
        tag_files.read(tmp_path, IMAGES, CLASSES)


def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    images = {f"{i:06}.png": i for i in range(50_000)}
    rows = [(name, c, "present") for name in images for c in ("deer", "wild boar")]
    tag_files.write(tmp_path / "t.csv", rows)
    begin = time.process_time()
    found = tag_files.read(tmp_path / "t.csv", images, CLASSES)
    assert sum(map(len, found.tags.values())) == 100_000
    assert time.process_time() - begin < 10
    tag_files.write(tmp_path / "t.json", rows)
    assert tag_files.read(tmp_path / "t.json", images, CLASSES) == found


# -- there and back ----------------------------------------------------------------------------


@given(
    tags=st.dictionaries(
        st.tuples(st.sampled_from(sorted(IMAGES)), st.sampled_from(["deer", "wild boar"])),
        st.sampled_from(["present", "absent"]),
        min_size=1,
    ),
    suffix=st.sampled_from([".csv", ".json"]),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    tags: dict[tuple[str, str], str],
    suffix: str,
) -> None:
    path = tmp_path_factory.mktemp("tags") / f"t{suffix}"
    tag_files.write(path, [(image, name, state) for (image, name), state in tags.items()])
    found = tag_files.read(path, IMAGES, CLASSES).tags
    ids = {c.name: c.id for c in CLASSES.classes}
    again = {(i, c): s for c, states in found.items() for i, s in states.items()}
    assert again == {(IMAGES[i], ids[c]): s for (i, c), s in tags.items()}


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a tag file must end in .csv or .json"):
        tag_files.write(tmp_path / "t.xlsx", [])
    with pytest.raises(ValueError, match="cannot be written"):
        tag_files.write(tmp_path / "none" / "t.csv", [])
