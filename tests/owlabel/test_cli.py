from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from owlabel import __version__
from owlabel.classes import VOID
from owlabel.cli import app
from owlabel.formats.labels import indexed_png

run = CliRunner().invoke


@pytest.fixture
def folder(toy: Any) -> str:
    toy.project.close()
    return str(toy.images)


def test_version() -> None:
    assert run(app, ["--version"]).stdout.strip() == __version__


def test_the_steps_without_a_window(folder: str) -> None:
    rows = json.loads(run(app, ["candidates", folder, "--json"]).stdout)
    assert rows[0]["image"].startswith("deer")
    assert "region of" in run(app, ["click", folder, "deer_1.png", "24", "34"]).stdout
    done = run(app, ["learn", folder, "deer_1.png", "deer"])
    assert done.exit_code == 0, done.output
    assert "found in 2 of 4 images" in done.stdout
    assert "reviewed" in run(app, ["review", folder, "deer_1.png"]).stdout
    rows = json.loads(run(app, ["info", folder, "--json"]).stdout)
    states = {row["image"]: row["state"] for row in rows}
    assert states["deer_1.png"] == "reviewed"
    assert "undone: review" in run(app, ["undo", folder]).stdout
    assert "redone: review" in run(app, ["redo", folder]).stdout


def test_export_is_whole_and_never_over_another(folder: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    first = run(app, ["export", folder, str(target), "--which", "all"])
    assert first.exit_code == 0, first.output
    assert "4 images" in first.stdout
    again = run(app, ["export", folder, str(target), "--which", "all"])
    assert again.exit_code == 1
    assert "exists" in again.stderr


def test_where_the_model_is_lost_nothing_is_claimed(folder: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run(app, ["export", folder, str(target), "--which", "all", "--abstain", "0.5"])
    labels = {image.name: image.labels for image in indexed_png.read(target)}
    assert labels["deer_1.png"][24, 34] == VOID
    assert labels["deer_1.png"][2, 2] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["candidates", "/nowhere"], "no folder"),
        (["click", "{}", "nobody.png", "1", "1"], "no image is named 'nobody.png'"),
        (["click", "{}", "deer_1.png", "99", "1"], "outside"),
        (["learn", "{}", "deer_1.png", "deer"], "click an object first"),
        (["train", "{}", "deer"], "is not a novel class"),
        (["adopt", "{}", "77"], "no model version"),
        (["export", "{}", "/tmp/owlabel-never", "--format", "bmp"], "must be one of"),
        (["export", "{}", "/tmp/owlabel-never"], "no image is reviewed"),
        (["export", "{}", "/tmp/owlabel-never", "--abstain", "2"], "abstain must lie"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], words: str, folder: str) -> None:
    done = run(app, [a.format(folder) for a in arguments])
    assert done.exit_code == 1
    assert words in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output


def test_one_can_go_back_to_a_model_that_was_in_use(toy: Any, stranger: Path) -> None:
    made = toy.project.add_model(stranger, "other", "plm", toy.project.active_model().id)
    toy.project.close()
    folder = str(toy.images)
    assert run(app, ["adopt", folder, str(made.id)]).exit_code == 0
    assert "in use: toy" in run(app, ["adopt", folder, "1"]).stdout
    rows = json.loads(run(app, ["models", folder, "--json"]).stdout)
    assert [row["in use"] for row in rows] == ["yes", ""]
    assert run(app, ["adopt", folder, str(made.id)]).exit_code == 0


def test_an_image_is_named_by_its_path_first(toy: Any) -> None:
    (toy.images / "more").mkdir()
    (toy.images / "more" / "deer_1.png").write_bytes((toy.images / "empty_1.png").read_bytes())
    (toy.images / "broken.png").write_text("no picture")
    toy.project.close()
    folder = str(toy.images)
    assert run(app, ["click", folder, "deer_1.png", "24", "34"]).exit_code == 0
    failed = run(app, ["click", folder, "broken.png", "1", "1"])
    assert "broken.png cannot be read: " in failed.stderr


def test_a_project_that_is_made_on_the_way_is_told(toy: Any, tmp_path: Path) -> None:
    toy.project.close()
    moved = toy.images.rename(tmp_path / "moved")
    assert "created a project: " in run(app, ["info", str(moved)]).stderr
    assert "created a project" not in run(app, ["info", str(moved)]).stderr
