"""Tags and proposals from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from owlabel.cli import app
from owlabel.project.tables.proposals import NewProposal

run = CliRunner().invoke


@pytest.fixture
def folder(toy: Any) -> str:
    toy.project.close()
    return str(toy.images)


def test_tags_are_set_listed_and_taken_back(folder: str) -> None:
    first = run(app, ["tags", folder, "set", "deer", "present", "deer_1.png"])
    assert first.exit_code == 1
    assert "no class is named 'deer': create it with --create-classes" in first.stderr
    args = ["set", "deer", "present", "deer_1.png", "deer_2.png", "--create-classes"]
    assert "2 new tags" in run(app, ["tags", folder, *args]).stdout
    assert "2 new tags" in run(app, ["tags", folder, "none", "deer_1.png", "empty_1.png",
                                     "empty_2.png"]).stdout  # fmt: skip
    rows = json.loads(run(app, ["tags", folder, "list", "--json"]).stdout)
    assert rows[0] == {"image": "deer_1.png", "present": "deer", "absent": ""}
    counts = json.loads(run(app, ["tags", folder, "list", "--counts", "--json"]).stdout)
    assert counts == [{"class": "deer", "present": 2, "absent": 2, "unknown": 0}]
    run(app, ["undo", folder])
    rows = json.loads(run(app, ["tags", folder, "list", "--class", "deer", "--json"]).stdout)
    assert [r["deer"] for r in rows] == ["present", "present", "unknown", "unknown"]
    assert "no class is named 'elk'" in run(app, ["tags", folder, "list", "--class", "elk"]).stderr


def test_files_go_in_and_out(folder: str, tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("deer_1.png,deer\nnowhere.png,deer\n")
    refused = run(app, ["tags", folder, "import", str(path), "--create-classes"])
    assert refused.exit_code == 1
    assert "line 2: no image is named 'nowhere.png'" in " ".join(refused.stderr.split())
    assert json.loads(run(app, ["tags", folder, "list", "--json"]).stdout) == []
    flags = ["--create-classes", "--skip-unknown"]
    done = run(app, ["tags", folder, "import", str(path), *flags])
    assert (
        "1 new tags in 1 image; created deer; skipped 1 tags with unknown names: nowhere.png"
        in " ".join(done.stdout.split())
    )
    out = tmp_path / "out.json"
    assert run(app, ["tags", folder, "export", str(out)]).exit_code == 0
    assert json.loads(out.read_text()) == {"tags": {"deer_1.png": {"present": ["deer"]}}}
    out.write_text("notes of mine")
    refused = run(app, ["tags", folder, "export", str(out)])
    assert (refused.exit_code, out.read_text()) == (1, "notes of mine")
    assert run(app, ["tags", folder, "export", str(out), "--overwrite"]).exit_code == 0
    lost = run(app, ["tags", folder, "export", str(tmp_path / "gone" / "out.json")])
    assert "create it first" in " ".join(lost.stderr.split())


@pytest.fixture
def proposed(toy: Any) -> str:
    project = toy.project
    mask = np.zeros((48, 64), bool)
    mask[16:32, 24:44] = True
    with project.action("name") as action:
        deer = action.add_class("deer").id
        action.set_tags(deer, {1: "present", 2: "present"})
    for image_id, confidence in ((1, 0.9), (2, 0.4)):
        item = NewProposal(deer, mask, confidence)
        project.proposals.write(image_id, "weak_shot", "job 1", [item])
    project.close()
    return str(toy.images)


def test_proposals_are_listed_accepted_and_rejected(proposed: str) -> None:
    rows = json.loads(run(app, ["proposals", proposed, "list", "--json"]).stdout)
    assert [(r["image"], r["class"], r["confidence"]) for r in rows] == [
        ("deer_1.png", "deer", 0.9), ("deer_2.png", "deer", 0.4)
    ]  # fmt: skip
    both = run(app, ["proposals", proposed, "accept"])
    assert "--all" in both.stderr
    done = run(app, ["proposals", proposed, "accept", "--all", "--at-least", "0.5"])
    assert "1 accepted, 320 pixels" in done.stdout
    assert (
        "no open proposal has the number 77"
        in run(app, ["proposals", proposed, "reject", "77"]).stderr
    )
    assert "1 rejected" in run(app, ["proposals", proposed, "reject", str(rows[1]["id"])]).stdout
    assert json.loads(run(app, ["proposals", proposed, "list", "--json"]).stdout) == []
    assert "undone: reject deer" in run(app, ["undo", proposed]).stdout


def test_square_brackets_are_part_of_a_name(toy: Any) -> None:
    toy.project.close()
    odd = toy.images / "street[final].png"
    (toy.images / "deer_1.png").rename(odd)
    folder = str(toy.images)
    done = run(app, ["tags", folder, "set", "[/car]", "present", odd.name, "--create-classes"])
    assert done.exit_code == 0, done.output
    assert "[/car]" in run(app, ["tags", folder, "list"]).stdout
    assert odd.name in run(app, ["info", folder]).stdout
