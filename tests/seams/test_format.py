"""A format that a package adds is written from the command line and the window, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from owlabel.classes import ClassTable
from owlabel.formats.labels.importers import format_of, read_labels
from owlabel.session.session import Session

pytestmark = pytest.mark.usefixtures("package")


def test_the_command_writes_it_and_it_is_read_back(command: Any, toy: Any, tmp_path: Path) -> None:
    folder = str(toy.project.folder)
    toy.project.close()
    out, ours = tmp_path / "numbers", tmp_path / "masks"
    done = command("export", folder, str(out), "--format", "numbers", "--which", "all")
    assert done.returncode == 0, done.stderr
    assert command("export", folder, str(ours), "--which", "all").returncode == 0
    assert (format_of(out).name, format_of(ours).name) == ("numbers", "masks")
    theirs, masks = read_labels(out), read_labels(ours)
    assert theirs.classes == masks.classes
    for one, other in zip(theirs.images, masks.images, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.labels, other.labels)
    assert "numbers" in command("export", "--help").stdout
    refused = command("export", folder, str(tmp_path / "x"), "--format", "voc", "--which", "all")
    assert "'numbers'" in refused.stderr


@pytest.mark.gui
def test_the_export_form_offers_it(qtbot: Any, toy: Any) -> None:
    from owlabel_napari.widgets.export import ExportWidget

    form = ExportWidget(Session(toy.project, start_worker=False))
    qtbot.addWidget(form)
    assert "numbers" in form.format.choices
    form.format.value = "numbers"
    assert form.folder.value.endswith("-numbers")
    form.close_widget()


def test_what_no_format_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no known label format; OWLabel reads masks, coco"):
        read_labels(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        read_labels(tmp_path / "nothing")
    with pytest.raises(ValueError, match="unknown format 'voc'"):
        read_labels(tmp_path, "voc")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("np.full((2, 2), 9, np.uint8)", "ids that are not in the class table"),
        ("np.zeros((2, 2))", "must be uint8 of shape"),
        ("None", "must be uint8 of shape"),
    ],
)
def test_what_a_reader_brings_is_checked(
    install: Any, tmp_path: Path, expression: str, reason: str
) -> None:
    text = f"""
import numpy as np
from owlabel.classes import ClassTable, LabelClass
from owlabel.formats.labels.provenance import ReadImage
from owlabel.formats.labels.registry import Format, LabelMaps
TABLE = ClassTable((LabelClass(0, "a", (1, 2, 3)), LabelClass(1, "b", (3, 2, 1))))
def read(path, classes=None):
    return LabelMaps(TABLE, [ReadImage("x.png", {expression})])
def probe(path):
    raise OSError("broken")
RASH = Format("rash", "Rash", None, probe, read)
"""
    install({"rash.py": text}, {"owlabel.formats": {"rash": "rash:RASH"}}, "rash")
    with pytest.raises(ValueError, match=reason):
        list(read_labels(tmp_path, "rash").images)
    with pytest.raises(ValueError, match="no known label format"):
        read_labels(tmp_path)
    assert isinstance(read_labels(tmp_path, "rash").classes, ClassTable)
