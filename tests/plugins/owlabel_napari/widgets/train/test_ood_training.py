"""The form of OoD training over a stub session: what it asks for and what it shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from owlabel.session.training.results import TrainingResult

pytestmark = pytest.mark.gui


@pytest.fixture
def widget(qtbot: Any, session: Any) -> Any:
    from owlabel_napari.widgets.train.ood_training import OodTrainingWidget

    made = OodTrainingWidget(session)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_widget()


def result(comparison: Any, **details: Any) -> TrainingResult:
    return TrainingResult("ood", 7, comparison, {"method": "rpl"}, details)


def job(state: str, **changes: Any) -> Any:
    values = {"id": 4, "kind": "ood", "state": state, "done": 3, "total": 9, "message": "epoch 1.0"}
    return SimpleNamespace(**{**values, "eta_s": None, "error": None, **changes})


def test_the_form_asks_for_what_is_chosen(widget: Any) -> None:
    widget.form["method"].value = "entropy"
    widget.form["lambda_ood"].value = 0.5
    widget.form["averaging"].value = "separate"
    widget.form["epochs"].value, widget.form["steps_per_epoch"].value = 2, 7
    widget.start.click()
    ((_, request),) = widget.session.calls
    assert (request.method, request.lambda_ood, request.averaging) == ("entropy", 0.5, "separate")
    assert (request.epochs, request.steps_per_epoch, request.source) == (2, 7, "project")


def test_fields_are_shown_where_they_matter(widget: Any) -> None:
    assert not widget.form["lambda_ood"].visible
    assert not widget.form["path"].visible
    widget.form["method"].value = "entropy"
    widget.form["source"].value = "folder"
    assert widget.form["lambda_ood"].visible
    assert widget.form["path"].visible
    assert widget.browse.isVisible()


def test_a_bad_folder_is_told_at_once(widget: Any, tmp_path: Any) -> None:
    told: list[tuple[str, str]] = []
    widget.session.message.connect(lambda *said: told.append(said))
    widget.form["source"].value = "folder"
    widget.form["path"].value = str(tmp_path)
    widget.start.click()
    assert len(told) == 1
    assert "is not a proxy folder" in told[0][1]


def test_curves_follow_the_epochs_and_cancel_is_offered(widget: Any) -> None:
    session = widget.session
    session.worker.rows = [job("running")]
    session.worker.reported = [
        SimpleNamespace(id=1, step=0, metrics={"epoch": 0.0, "miou": 0.6, "ap": 0.2}),
        SimpleNamespace(id=2, step=1, metrics={"loss": 1.0}),
        SimpleNamespace(id=3, step=5, metrics={"epoch": 1.0, "miou": 0.59, "ap": 0.5, "loss": 1.0}),
    ]
    widget.refresh()
    assert len(widget.plot) == 2
    assert "Step 3 of 9" in widget.progress.text()
    assert not widget.start.isEnabled()
    widget.cancel.click()
    assert session.calls == [("worker.cancel", 4)]
    widget.refresh()
    assert len(widget.plot) == 2, "nothing is read twice"


def test_a_failure_is_told_in_the_form(widget: Any) -> None:
    widget.session.worker.rows = [job("failed", error="masks/a.png has the values [7]")]
    widget.refresh()
    assert "masks/a.png has the values [7]" in widget.progress.text()
    assert widget.start.isEnabled()
    assert not widget.plot.isVisible(), "there is nothing to plot"


def test_a_result_that_is_worse_says_so(widget: Any) -> None:
    comparison = {"before": {"AP": 0.3}, "after": {"AP": 0.1}}
    widget.session.training.waiting["ood"] = result(comparison, objects=12, val_objects=3)
    widget.refresh()
    assert "worse than before: discard it" in widget.comparison.note.text()


def test_before_and_after_are_compared_and_adopted(widget: Any) -> None:
    before = {"closed-set mIoU": 0.6, "AP": 0.2, "AUROC": 0.8, "FPR95": 0.5}
    after = {"closed-set mIoU": 0.6, "AP": 0.7, "AUROC": 0.9, "FPR95": 0.1}
    told = {"objects": 12, "val_objects": 3, "val_frames": 5, "val_human_pixels": 1000}
    widget.session.training.waiting["ood"] = result({"before": before, "after": after}, **told)
    widget.refresh()
    table = widget.comparison.table
    rows = [[table.item(r, c).text() for c in range(4)] for r in range(table.rowCount())]
    assert rows[0] == ["closed-set mIoU", "60.0", "60.0", "+0.0"]
    assert rows[3] == ["FPR95", "50.0", "10.0", "-40.0"]
    up, down = (table.item(r, 3).foreground().color().name() for r in (1, 3))
    assert up == down, "a lower FPR95 is better"
    assert "1,000 of their pixels" in widget.comparison.note.text()
    widget.comparison.adopt.click()
    assert widget.session.calls == [("models.adopt", 7)]
    assert not widget.comparison.isVisible()
