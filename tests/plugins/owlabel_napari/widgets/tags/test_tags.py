"""The tab for tags, and the review of proposed masks in the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from owlabel.project.tables.proposals import NewProposal
from owlabel.session.session import Session

pytestmark = pytest.mark.gui
MASK = np.zeros((48, 64), bool)
MASK[14:30, 20:40] = True


@pytest.fixture
def real(toy: Any) -> Session:
    made = Session(toy.project, start_worker=False)
    deer = made.labels.add_class("deer").id
    made.tags.tag([1, 2], deer, "present")
    return made


def propose(session: Session, image_id: int = 1, confidence: float = 0.9) -> int:
    item = NewProposal(2, MASK, confidence)
    session.project.proposals.write(image_id, "weak_shot", "job 1", [item])
    session.queue.changed.emit()
    return session.project.proposals.open(image_id=image_id)[0].id


@pytest.fixture
def widget(qtbot: Any, real: Session) -> Iterator[Any]:
    from owlabel_napari.widgets.tags.tags import TagsWidget

    made = TagsWidget(real)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_widget()


def row(widget: Any, index: int) -> list[str]:
    return [widget.table.item(index, c).text() for c in range(4)]


def test_the_table_tells_and_turns_the_tags_of_this_image(widget: Any, real: Session) -> None:
    assert row(widget, 0) == ["deer", "✓ present", "2", "0"]
    widget.table.cellClicked.emit(0, 1)
    widget.show_tags()
    assert row(widget, 0) == ["deer", "✗ absent", "1", "1"]
    widget.table.cellClicked.emit(0, 1)
    widget.table.cellClicked.emit(0, 0)
    assert real.project.tags.of(1) == {}


def test_what_is_missing_is_said_in_plain_words(widget: Any, real: Session, qtbot: Any) -> None:
    told = widget.masks.lacking
    qtbot.waitUntil(lambda: "No known class has a mask" in told.text())
    assert "deer: present in 2 images, at least 20 are advised" in told.text()
    assert "The project has only 4 images." in told.text()
    with real.project.action("paint", {}, "road") as action:
        action.set_labels(1, np.zeros((48, 64), np.uint8))
    real.labels.changed.emit(1)
    name = real.classes.base[0].name
    qtbot.waitUntil(lambda: f"at least 20 are advised: {name} 1" in told.text())
    assert "deer: 1 of 2 images with this class have no mask of a known class" in told.text()


def test_masks_are_counted_bit_by_bit(
    widget: Any, real: Session, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([2, 1, 0])
    told: list[str] = []
    monkeypatch.setattr(real.tags, "scan_masks", lambda _seconds: next(left))
    monkeypatch.setattr(widget.masks.lacking, "setText", told.append)
    widget.masks.show_lacking()
    qtbot.waitUntil(lambda: len(told) == 3)
    assert ["Counting masks" in text for text in told] == [True, True, False]


def test_files_are_imported_or_refused_in_words(widget: Any, real: Session, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    real.message.connect(lambda *said: told.append(said))
    path = tmp_path / "tags.csv"
    path.write_text("empty_1.png,elk\n")
    widget.import_from(path)
    assert told[-1][0] == "warning"
    assert "line 1: no class is named 'elk'" in told[-1][1]
    assert widget.imported.text() == told[-1][1]
    widget.make_classes.setChecked(True)
    widget.import_from(path)
    assert told[-1] == ("info", "tags.csv: 1 new tags in 1 image; created elk")
    assert real.classes.find("elk") is not None


def job(state: str, **changes: Any) -> Any:
    values = {"id": 4, "kind": "weak_shot", "state": state, "done": 3, "total": 9,
              "message": "training", "eta_s": None, "error": None, "result": None,
              "payload": {}}  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def test_a_number_that_is_typed_is_what_it_says(widget: Any, qtbot: Any) -> None:
    steps = widget.masks.form["iterations"]
    field = steps.native.lineEdit()
    field.selectAll()
    qtbot.keyClicks(field, "700")  # a least value of 10 would make 1000 of it, digit by digit
    assert steps.value == 700


def test_masks_are_asked_for_and_followed(
    widget: Any, real: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(real.training, "weak_shot", asked.append)
    widget.masks.form["iterations"].value, widget.masks.form["retrain"].value = 50, 20
    widget.masks.start.click()
    assert (asked[0].iterations, asked[0].retrain) == (50, 20)
    reported = [SimpleNamespace(id=1, step=1, metrics={"loss": 3.0})]
    monkeypatch.setattr(real.worker, "metrics", lambda _job, since: [] if since else reported)
    monkeypatch.setattr(real.worker, "jobs", lambda: [job("running")])
    widget.masks.show_job()
    assert "Step 3 of 9" in widget.masks.progress.text()
    assert not widget.masks.start.isEnabled()
    assert len(widget.masks.plot) == 1
    made = {"tagged": 3, "proposals": 2, "confidence": 0.71, "sure": 1, "doubtful": 0}
    result = {"classes": {"deer": made}, "comparison": {}}
    monkeypatch.setattr(real.worker, "jobs", lambda: [job("done", result=result)])
    widget.masks.show_job()
    said = "deer: 2 masks in 3 tagged images, 71 % sure on average; 1 from 90 %"
    assert widget.masks.progress.text().replace("\u00a0", " ") == said


def test_before_and_after_are_shown_where_people_painted(
    widget: Any, real: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = widget.masks.comparison
    assert shown.isHidden()
    result: dict[str, Any] = {"classes": {}, "comparison": {}}
    monkeypatch.setattr(real.worker, "jobs", lambda: [job("done", result=result)])
    widget.masks.show_job()
    assert "nothing is compared" in shown.note.text()
    assert shown.table.isHidden()
    result["comparison"] = {
        "before": {"deer": 0.2}, "after": {"deer": 0.7}, "pixels": {"deer": 320}, "images": 1
    }  # fmt: skip
    widget.masks.show_job()
    assert [shown.table.item(0, c).text() for c in range(4)] == ["deer", "20.0", "70.0", "+50.0"]
    assert "on 320 pixels that people painted or accepted in 1 image." in shown.note.text()
    assert shown.adopt.isHidden()
    assert "worse" not in shown.note.text()
    result["comparison"]["before"]["deer"] = 0.8
    widget.masks.show_job()
    assert shown.note.text().startswith("The masks are worse than the model:")


def test_it_says_how_many_masks_wait(widget: Any, real: Session, qtbot: Any) -> None:
    assert widget.masks.review.isHidden()
    propose(real)
    widget.masks.show_job()
    assert widget.masks.waiting.text() == "1 mask from tags to review"
    with qtbot.waitSignal(widget.review_wanted):
        widget.masks.review.click()


# -- review in a real viewer -------------------------------------------------------------------


@pytest.fixture
def window(make_napari_viewer: Any, real: Session) -> Iterator[Any]:
    from owlabel_napari.window.panel import OWLabelPanel

    viewer = make_napari_viewer()
    made = OWLabelPanel(viewer)
    viewer.window.add_dock_widget(made, name="OWLabel")
    made.show_session(real)
    made.workspace.steps.finish()
    yield made
    made.close_project()


def shown(window: Any) -> np.ndarray:
    window.workspace.steps.finish()
    return window.viewer.layers["region"].data > 0


def test_proposals_are_accepted_rejected_and_corrected_by_keys(window: Any, real: Session) -> None:
    first, second = propose(real, 1, 0.9), propose(real, 2, 0.8)
    work = window.workspace
    work.review_masks()
    work.candidate.refresh()
    assert work.tabs.currentIndex() == 0
    assert work.candidate.what.text() == "Is this deer?"
    assert "Mask from tags, 90 % sure, 320 px" in work.candidate.detail.text()
    assert work.candidate.name_button.text() == "Accept  ⏎"
    work.queue.refresh()
    assert work.queue.list.item(0).text() == "deer?  ·  90 % sure\ndeer_1.png"
    np.testing.assert_array_equal(shown(window), MASK)
    work.keys.acts["Enter"]()
    assert real.project.proposals.get(first).state == "accepted"
    assert real.image_id == 2, "it goes on"
    work.keys.acts["R"]()
    real.labels.click(26, 22, add=False)
    work.candidate.refresh()
    assert work.candidate.what.text() == "Correcting a mask of deer"
    work.keys.acts["Enter"]()
    assert 0 < np.count_nonzero(real.labels.human(2) == 2) < MASK.sum()
    assert real.project.proposals.get(second).state == "accepted"
    assert not shown(window).any()
    work.keys.acts["Control-Z"]()
    work.keys.acts["K"]()
    assert real.project.proposals.get(second).state == "rejected"
    assert (real.labels.human(2) != 2).all()


def test_the_keys_do_for_segments_what_they_did(window: Any, real: Session) -> None:
    told: list[str] = []
    real.message.connect(lambda _level, text: told.append(text))
    work = window.workspace
    work.keys.acts["R"]()
    assert "R corrects a proposed mask" in told[-1]
    real.queue.next()
    work.candidate.refresh()
    assert work.candidate.known_button.text() == "Known  K"
    assert work.candidate.correct_button.isHidden()
    work.keys.acts["Enter"]()
    assert "Click an object first" in told[-1]
    work.keys.acts["K"]()
    assert real.can_undo == "known after all"


def test_the_gallery_has_a_dock_that_goes_with_the_project(window: Any) -> None:
    work = window.workspace
    docks = window.viewer.window.dock_widgets
    work.keys.acts["Q"]()
    assert "Tag images (OWLabel)" in docks
    work.show_gallery()
    assert list(docks).count("Tag images (OWLabel)") == 1
    gallery = work.gallery.gallery
    window.viewer.window.remove_dock_widget(gallery)  # the cross of the dock
    work.show_gallery()
    assert work.gallery.gallery is gallery
    assert "Tag images (OWLabel)" in window.viewer.window.dock_widgets
    window.close_project()
    assert "Tag images (OWLabel)" not in window.viewer.window.dock_widgets
