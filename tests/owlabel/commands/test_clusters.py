from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from owlabel.cli import app

BUILD = ("--extractor", "handmade", "--classes", "3", "--factor", "1", "--samples", "500",
         "--superpixels", "0")  # fmt: skip


@pytest.fixture
def project(toy: Any) -> Path:
    toy.project.close()
    return Path(toy.project.folder)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_clusters_are_built_listed_shown_and_named(project: Path, tmp_path: Path) -> None:
    done = run("clusters", str(project), "build", *BUILD)
    assert done.exit_code == 0, done.output
    assert "3 clusters of pixels" in done.output
    listed = json.loads(run("clusters", str(project), "list", "--json").stdout)
    assert [row["of"] for row in listed] == ["pixels"] * 3
    largest = listed[0]["cluster"]
    done = run("clusters", str(project), "gallery", largest, str(tmp_path / "g.png"))
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.height == 96
        assert picture.width % 96 == 0
    done = run("clusters", str(project), "name", largest, "stuff")
    assert done.exit_code == 0, done.output
    told = re.search(r"(\d+) proposals are open, (\d+) of them of stuff", done.stdout)
    assert told is not None
    assert told[1] == told[2] != "0"  # all of them are of the new class
    listed = json.loads(run("clusters", str(project), "list", "--json").stdout)
    assert listed[0]["name"] == "stuff"
    shown = json.loads(run("proposals", str(project), "list", "--json").stdout)
    assert {row["source"] for row in shown} == {"cluster"}


def test_undo_takes_back_what_a_name_proposed(project: Path, tmp_path: Path) -> None:
    run("clusters", str(project), "build", *BUILD)
    largest = json.loads(run("clusters", str(project), "list", "--json").stdout)[0]["cluster"]
    run("clusters", str(project), "name", largest, "stuff")
    shown = json.loads(run("proposals", str(project), "list", "--json").stdout)
    number = str(shown[0]["id"])
    accepted = run("proposals", str(project), "accept", number, number)
    assert "1 accepted" in accepted.output
    for act in ("accept", "name"):
        undone = run("undo", str(project))
        assert undone.exit_code == 0, undone.output
        assert act in undone.output
    assert json.loads(run("proposals", str(project), "list", "--json").stdout) == []
    sheet = tmp_path / "sheet.png"
    sheet.write_text("mine")
    refused = run("clusters", str(project), "gallery", largest, str(sheet))
    assert (refused.exit_code, sheet.read_text()) == (1, "mine")


def test_bad_input_ends_in_one_line(project: Path, tmp_path: Path) -> None:
    for words, reason in (
        (("list",), "this project has no clusters yet"),
        (("name", "0", "x"), "build them first"),
        (("gallery", "0", str(tmp_path / "g.png")), "this project has no clusters yet"),
        (("build", "--extractor", "magic"), "extractor must be one of"),
        (("build", "--classes", "300"), "2 .. 254 clusters"),
        (("build", "--factor", "0"), "clusters_per_class must be greater than 0"),
        (("build", "--extractor", "imagenet", "--weights", "no.pth"), "no.pth does not exist"),
        (("build", "--network", "alexnet"), "network must be one of"),
        (("build", "--extractor", "imagenet"), "needs the path of a weights file"),
    ):
        done = run("clusters", str(project), *words)
        assert done.exit_code == 1, done.output
        assert reason in " ".join(done.stderr.split())
        assert "Traceback" not in done.output
    done = run("pretrain", str(project), "--start", "magic")
    assert done.exit_code == 1
    assert "start must be one of" in " ".join(done.stderr.split())
