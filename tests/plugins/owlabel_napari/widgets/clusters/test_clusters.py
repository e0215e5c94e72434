"""Clusters and pre-training in the window, over a stub session."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from owlabel.classes import ClassTable, LabelClass
from owlabel.session.training.results import TrainingResult
from owlabel.view.clusters.catalog import ClusterInfo, Example

pytestmark = pytest.mark.gui

BASE = ClassTable((LabelClass(0, "road", (128, 64, 128)), LabelClass(1, "sky", (70, 130, 180))))


def result(comparison: Any, **details: Any) -> TrainingResult:
    return TrainingResult("pretrain", 9, comparison, {}, details)


def info(name: str, class_id: int | None = None) -> ClusterInfo:
    shown = (Example(1, (10, 10, 40, 40)), Example(1, (0, 0, 30, 30)))
    return ClusterInfo(name, 3, 40, 0.25, class_id, shown)


@pytest.fixture
def session(session: Any, tmp_path: Path) -> Any:
    """The fake session with a picture for its first image."""
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / "1.png")
    return session


@pytest.fixture
def widget(qtbot: Any, session: Any) -> Any:
    from napari.components import ViewerModel

    from owlabel_napari.canvas.cluster_layer import ClusterLayer
    from owlabel_napari.canvas.layers import OurLayers
    from owlabel_napari.widgets.clusters.clusters import ClustersWidget

    layer = ClusterLayer(OurLayers(ViewerModel()), session)
    made = ClustersWidget(session, layer)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_widget()


def built(widget: Any, *infos: ClusterInfo) -> None:
    clusters = widget.session.clusters
    clusters.built, clusters.list = object(), list(infos)
    widget.refresh()


def job(kind: str, state: str, **changes: Any) -> Any:
    values = {"id": 4, "kind": kind, "state": state, "done": 3, "total": 9, "message": "m"}
    return SimpleNamespace(**{**values, "eta_s": None, "error": None, **changes})


def test_the_form_asks_for_what_is_chosen(widget: Any) -> None:
    assert widget.form["classes"].value == 4, "at least four classes"
    widget.form["extractor"].value = "handmade"
    widget.form["superpixels"].value, widget.form["kinds"].value = 300, 5
    widget.build.click()
    ((kind, request),) = widget.session.calls
    assert kind == "clusters.build"
    assert (request.extractor, request.superpixels, request.kinds) == ("handmade", 300, 5)
    assert not widget.form["weights"].visible
    widget.form["extractor"].value = "imagenet"
    assert widget.form["weights"].visible


def test_a_missing_file_is_told(widget: Any) -> None:
    told: list[tuple[str, str]] = []
    widget.session.message.connect(lambda *said: told.append(said))
    widget.form["extractor"].value = "imagenet"
    widget.form["weights"].value = "nowhere.pth"
    widget.build.click()
    why = "the weights file nowhere.pth does not exist"
    assert [text for _, text in told] == [why]
    assert widget.progress.text() == why
    assert "235" in widget.progress.styleSheet(), "red"
    widget.refresh()
    assert widget.progress.text() == why, "it stays until the next attempt"
    widget.form["extractor"].value = "handmade"
    widget.build.click()
    assert widget.progress.text() == ""


def test_clusters_are_listed_with_patches_and_named(widget: Any, qtbot: Any) -> None:
    built(widget, info("7"), info("2", 1), info("c0"))
    texts = [widget.list.item(i).text() for i in range(widget.list.count())]
    assert texts == [
        "7: 25.0 %, 3 images",
        "2: 25.0 %, 3 images — sky",
        "c0: 40 unknown objects, 3 images",
    ]
    qtbot.waitUntil(lambda: not widget.list.item(2).icon().isNull())
    qtbot.waitUntil(lambda: len(widget.patches.thumbnails.made) == 2)  # the same are made once
    assert widget.gallery.pixmap().width() > 300
    widget.name.setText("tarmac")
    widget.give.click()
    assert widget.session.calls == [("clusters.name", "7", "tarmac")]
    widget.list.setCurrentRow(1)
    assert widget.name.text() == "sky"


def test_a_new_list_keeps_the_patches_that_are_made(widget: Any, qtbot: Any) -> None:
    done: list[Any] = []
    widget.patches.ready.connect(done.append)
    built(widget, info("7"), info("2"))
    qtbot.waitUntil(lambda: len(done) == 2)
    before = widget.gallery.pixmap().toImage()
    built(widget, info("7", 1), info("2"))
    assert widget.list.item(0).text().endswith("sky")
    assert not widget.list.item(0).icon().isNull()
    assert widget.gallery.pixmap().toImage() == before


def test_letters_that_are_keys_elsewhere_stay_in_the_name(widget: Any, qtbot: Any) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QVBoxLayout, QWidget

    pressed: list[int] = []

    class Panel(QWidget):
        def keyPressEvent(self, event: Any) -> None:
            pressed.append(event.key())

    panel = Panel()
    QVBoxLayout(panel).addWidget(widget)
    qtbot.addWidget(panel)
    built(widget, info("7"))
    panel.show()
    widget.name.setFocus()
    qtbot.keyClicks(widget.name, "krank")
    qtbot.keyClick(widget.name, Qt.Key.Key_Return)
    assert widget.session.calls == [("clusters.name", "7", "krank")]
    assert pressed == [], "Enter would accept a proposal"
    assert panel.focusWidget() is widget.list, "the next letter is a key of the panel"
    widget.setParent(None)


def test_the_field_for_the_name_stands_above_the_patches(widget: Any) -> None:
    built(widget, info("7"))
    widget.resize(330, widget.sizeHint().height())
    widget.layout().activate()
    assert widget.list.y() < widget.name.y() < widget.gallery.y()
    assert not widget.progress.isVisible(), "nothing to tell takes no room"


def test_the_way_to_the_proposals_is_offered_while_there_are_any(widget: Any) -> None:
    asked: list[bool] = []
    widget.review_wanted.connect(lambda: asked.append(True))
    widget.refresh()
    assert not widget.review.isVisible()
    widget.session.project.proposals.count = lambda _source: 1200
    widget.refresh()
    assert widget.review.text() == "Review 1,200 proposed masks"
    widget.review.click()
    assert asked == [True]


def test_a_group_of_unknown_objects_is_shown_alone(widget: Any) -> None:
    built(widget, info("7"), info("c2"))
    widget.session.clusters.labels = np.full((60, 80), 7, np.uint8)
    widget.session.clusters.objects = np.zeros((60, 80), bool)
    widget.session.clusters.objects[5:9] = True
    widget.alone.setChecked(True)
    widget.visible.setChecked(True)
    widget.list.setCurrentRow(1)
    layer = widget.layer.layers["clusters"]
    assert np.unique(layer.data).tolist() == [0, 3]
    assert ("clusters.unknown_objects", "c2") in widget.session.calls
    widget.session.clusters.objects = None
    widget.layer.refresh()
    assert not layer.visible


def test_the_choice_stays_when_the_list_is_made_again(widget: Any) -> None:
    built(widget, info("7"), info("2"))
    widget.list.setCurrentRow(1)
    built(widget, info("2", 0), info("7"))
    assert widget.chosen.name == "2"


def test_the_layer_shows_clusters_one_or_all(widget: Any) -> None:
    built(widget, info("7"), info("2"), info("c0"))
    labels = np.full((60, 80), 255, np.uint8)
    labels[:20], labels[20:40] = 7, 2
    widget.session.clusters.labels = labels
    widget.visible.setChecked(True)
    layer = widget.layer.layers["clusters"]
    assert layer.visible
    assert np.unique(layer.data).tolist() == [0, 3, 8]
    assert not layer.editable
    widget.alone.setChecked(True)
    assert np.unique(layer.data).tolist() == [0, 8]
    widget.list.setCurrentRow(1)
    assert np.unique(layer.data).tolist() == [0, 3]
    widget.visible.setChecked(False)
    assert not layer.visible


def test_progress_cancel_and_failure_are_shown(widget: Any) -> None:
    widget.session.worker.rows = [job("auxiliary_labels", "running")]
    widget.refresh()
    assert "3 of 9" in widget.progress.text()
    assert not widget.build.isEnabled()
    widget.cancel.click()
    assert widget.session.calls == [("worker.cancel", 4)]
    widget.session.worker.rows = [job("auxiliary_labels", "failed", error="too few pixels")]
    widget.refresh()
    assert widget.progress.text() == "Failed: too few pixels"
    assert widget.build.isEnabled()


def test_agreement_is_told_with_its_variant(widget: Any) -> None:
    told = {"pmiou_hungarian": 0.25, "pmiou_max": 0.5, "pixels": 20_000}
    widget.session.worker.rows = [job("auxiliary_labels", "done", result=told)]
    built(widget, info("7"))
    assert "25.0 % (Hungarian), 50.0 % (max), on 20,000" in widget.agreement.text()


# -- pre-training ------------------------------------------------------------------------------


@pytest.fixture
def pretraining(qtbot: Any, session: Any) -> Any:
    from owlabel.jobs.requests.clusters import ClusterRequest
    from owlabel_napari.widgets.train.pretraining import PretrainingWidget

    made = PretrainingWidget(session, lambda: ClusterRequest(extractor="handmade"))
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_widget()


def test_pretraining_is_asked_for_with_the_clusters_of_the_form(pretraining: Any) -> None:
    told: list[tuple[str, str]] = []
    pretraining.session.message.connect(lambda *said: told.append(said))
    pretraining.form["start"].value = "random"
    pretraining.form["iterations"].value, pretraining.form["tuning"].value = 20, 30
    pretraining.start.click()
    ((_, request),) = pretraining.session.calls
    assert (request.iterations, request.tuning, request.start) == (20, 30, "random")
    assert request.clusters.extractor == "handmade"
    assert "it needs at least two images" in told[0][1]
    assert "it needs at least two images" in pretraining.progress.text()


def test_curve_and_result_are_scrolled_to(pretraining: Any, qtbot: Any) -> None:
    from owlabel_napari.widgets.common.parts import scrolled

    area = scrolled(pretraining)
    qtbot.addWidget(area)
    area.resize(340, 160)
    area.show()
    bar = area.verticalScrollBar()
    pretraining.session.worker.rows = [job("pretrain", "running")]
    pretraining.refresh()
    qtbot.waitUntil(lambda: bar.value() > 0)
    bar.setValue(0)
    pretraining.refresh()
    qtbot.wait(30)
    assert bar.value() == 0, "once; then the page is the annotator's"
    pretraining.session.worker.rows = [job("pretrain", "done")]
    pretraining.session.training.waiting["pretrain"] = result({"before": {"a": 0.1}})
    pretraining.refresh()
    qtbot.waitUntil(lambda: bar.value() > 0)
    area.takeWidget()  # the fixture closes it


def test_the_loss_is_plotted_and_the_result_adopted(pretraining: Any) -> None:
    session = pretraining.session
    session.worker.rows = [job("pretrain", "running")]
    session.worker.reported = [
        SimpleNamespace(id=1, step=1, metrics={"loss": 5.0}),
        SimpleNamespace(id=2, step=2, metrics={"loss": 4.0}),
        SimpleNamespace(id=3, step=1, metrics={"loss": 1.0, "minutes": 0.1}),
    ]
    pretraining.refresh()
    assert len(pretraining.plot) == 2, "the loss of the labels is another one"
    session.worker.reported += [
        SimpleNamespace(id=4 + step, step=step, metrics={"loss": 6.0}) for step in (1, 2, 3)
    ]
    pretraining.refresh()
    assert len(pretraining.plot) == 3, "a killed worker's steps are not drawn twice"
    pretraining.cancel.click()
    before = {"closed-set mIoU": 0.4, "road": 0.5}
    after = {"closed-set mIoU": 0.5, "road": 0.6}
    told = {"val_frames": 3, "val_human_pixels": 1000}
    session.training.waiting["pretrain"] = result({"before": before, "after": after}, **told)
    pretraining.refresh()
    table = pretraining.comparison.table
    rows = [[table.item(r, c).text() for c in range(4)] for r in range(table.rowCount())]
    assert rows[0] == ["closed-set mIoU", "40.0", "50.0", "+10.0"]
    assert "on 1,000 pixels labelled by hand" in pretraining.comparison.note.text()
    pretraining.comparison.adopt.click()
    assert session.calls == [("worker.cancel", 4), ("models.adopt", 9)]
