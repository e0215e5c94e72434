"""A score that a package adds is one among the others, everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from owlabel.jobs.drain import drain
from owlabel.ood.registry import SCORES, all_scores
from owlabel.project.store import Project
from owlabel.session.session import Session

pytestmark = pytest.mark.usefixtures("package")


@pytest.fixture
def sitting(toy: Any) -> Session:
    return Session(toy.project, start_worker=False)


def test_it_is_computed_with_the_others() -> None:
    f = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)
    maps = all_scores(f)
    assert list(maps)[-1] == "surprise"
    np.testing.assert_array_equal(maps["surprise"], maps["msp"] ** 2)
    np.testing.assert_array_equal(SCORES["surprise"].of(f), maps["surprise"])


def test_the_command_calibrates_and_lists_it(command: Any, toy: Any) -> None:
    folder = str(toy.project.folder)
    toy.project.close()
    done = command("scores", folder, "--json", "--image", "deer_1.png")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)[-1]
    assert (row["score"], row["title"], row["missing"]) == ("surprise", "Surprise", "")
    assert row["usual"] <= row["median"] <= row["highest"]
    assert "surprise" in command("evaluate", "--help").stdout


def test_a_scale_without_it_is_outgrown(sitting: Session, package: Path) -> None:
    sitting.calibration.submit(always=True)
    list(drain(sitting.project))
    sitting.scores.forget()
    held = sitting.scores.calibrations
    assert held is not None
    assert held.calibration("surprise") is not None
    now = held.basis
    assert not now.outgrown(now, 4)
    before = type(now)(now.embedded, now.reviewed, now.residual, frozenset())
    assert before.outgrown(now, 4)


def test_it_is_measured(command: Any, tmp_path: Path) -> None:
    for kind, value in (("images", 120), ("masks", 0)):
        (tmp_path / "data" / kind).mkdir(parents=True)
        shape = (64, 96, 3) if kind == "images" else (64, 96)
        pixels = np.full(shape, value, np.uint8)
        pixels[:8] = 1
        Image.fromarray(pixels).save(tmp_path / "data" / kind / "a.png")
    out = tmp_path / "report"
    words = ("--model", "sample", "--score", "surprise")
    done = command("evaluate", str(tmp_path / "data"), str(out), *words)
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "evaluation.json").read_text())["scores"]
    assert [row["score"] for row in rows] == ["surprise"]


@pytest.mark.gui
def test_the_panel_offers_it(qtbot: Any, sitting: Session) -> None:
    from owlabel_napari.widgets.find.overlay_form import OverlayWidget

    shown: list[str] = []
    overlays: Any = SimpleNamespace(
        score_name="entropy", opacity=0.5, set_opacity=None, show_kind=None,
        show_score=shown.append, show_limits=lambda: None,
    )  # fmt: skip
    form = OverlayWidget(sitting, overlays)
    qtbot.addWidget(form)
    assert "Surprise" in [form.score.native.itemText(i) for i in range(len(SCORES))]
    form.score.value = "surprise"
    assert shown == ["surprise"]
    assert form.formula.text() == "Surprise = (1 - max p)^2"
    sitting.go_to(sitting.records[0].id)
    assert sitting.scores.current("surprise") is not None
    form.close_widget()


def test_a_score_that_fails_leaves_the_scale_of_the_others(
    install: Any, toy: Any, command: Any
) -> None:
    text = (
        "from owlabel.ood.registry import Score\n"
        "def fail(terms): raise KeyError('nothing here')\n"
        "WRONG = Score('wrong', 'Wrong', '?', '?', '?', fail)\n"
    )
    install({"wrong.py": text}, {"owlabel.scores": {"wrong": "wrong:WRONG"}}, "faulty")
    folder = toy.project.folder
    toy.project.close()
    done = command("scores", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    usual = {row["score"]: row["usual"] for row in json.loads(done.stdout)}
    assert usual["wrong"] is None
    assert usual["surprise"] is not None
    assert usual["entropy"] is not None
    with Project.open(folder) as project:
        session = Session(project, start_worker=False)
        record = session.records[0]
        with pytest.raises(ValueError, match="wrong failed: KeyError"):
            session.scores.score_map("wrong", record)
        every = session.scores.score_maps(record)
        assert every is not None
        assert "wrong" not in every
        assert "surprise" in every
