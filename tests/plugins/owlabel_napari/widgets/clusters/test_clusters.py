"""Clusters and pre-training in the window, over a stub session."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from psygnal import Signal

from owlabel.classes import ClassTable, LabelClass
from owlabel.session.training.pretraining import PretrainResult
from owlabel.view.cluster_catalog import ClusterInfo, Example

pytestmark = pytest.mark.gui

BASE = ClassTable((LabelClass(0, "road", (128, 64, 128)), LabelClass(1, "sky", (70, 130, 180))))


class Stub:
    """The part of a session that the widgets use."""

    jobs_changed = Signal()
    history_changed = Signal()
    classes_changed = Signal()
    model_changed = Signal()
    image_changed = Signal(int)
    message = Signal(str, str)

    def __init__(self, folder: Path) -> None:
        self.rows: list[Any] = []
        self.reported: list[Any] = []
        self.found: Any = None
        self.infos: list[ClusterInfo] = []
        self.labels: Any = None
        self.classes = BASE
        self.image_id = 1
        self.calls: list[Any] = []
        self.waiting: PretrainResult | None = None
        self.proposed = 0
        self.objects: Any = None
        counted = SimpleNamespace(count=lambda _source: self.proposed)
        self.project = SimpleNamespace(proposals=counted)
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(folder / "1.png")
        self._path = folder / "1.png"

    def jobs(self) -> list[Any]:
        return self.rows

    def metrics(self, job_id: int, since: int = 0) -> list[Any]:
        return [r for r in self.reported if r.id > since]

    def cluster_set(self) -> Any:
        return self.found

    def cluster_names(self) -> dict[str, int]:
        return {i.name: i.class_id for i in self.infos if i.class_id is not None}

    def clusters(self) -> list[ClusterInfo]:
        return self.infos

    def auxiliary_labels(self) -> Any:
        return self.labels

    def unknown_objects(self, cluster: str) -> Any:
        self.calls.append(("objects", cluster))
        return self.objects

    def record(self, image_id: int | None = None) -> Any:
        return SimpleNamespace(path=self._path)

    def build_clusters(self, request: Any) -> int:
        self.calls.append(("build", request))
        request.settings(2)
        return 1

    def name_cluster(self, cluster: str, name: str) -> None:
        self.calls.append(("name", cluster, name))

    def pretrain(self, request: Any) -> int:
        self.calls.append(("pretrain", request))
        request.check(1)
        return 1

    def cancel_job(self, job_id: int) -> None:
        self.calls.append(("cancel", job_id))

    def pretrain_result(self) -> PretrainResult | None:
        return self.waiting

    def adopt(self, model_id: int) -> None:
        self.calls.append(("adopt", model_id))
        self.waiting = None


def info(name: str, class_id: int | None = None) -> ClusterInfo:
    shown = (Example(1, (10, 10, 40, 40)), Example(1, (0, 0, 30, 30)))
    return ClusterInfo(name, 3, 40, 0.25, class_id, shown)


@pytest.fixture
def session(tmp_path: Path) -> Stub:
    return Stub(tmp_path)


@pytest.fixture
def widget(qtbot: Any, session: Stub) -> Any:
    from napari.components import ViewerModel

    from owlabel_napari.canvas.cluster_layer import ClusterLayer
    from owlabel_napari.canvas.layers import OurLayers
    from owlabel_napari.widgets.clusters.clusters import ClustersWidget

    layer = ClusterLayer(OurLayers(ViewerModel()), session)  # type: ignore[arg-type]
    made = ClustersWidget(session, layer)  # type: ignore[arg-type]
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_widget()


def built(widget: Any, *infos: ClusterInfo) -> None:
    widget.session.found, widget.session.infos = object(), list(infos)
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
    assert kind == "build"
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
    why = "there is no file of weights nowhere.pth"
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
    assert widget.session.calls == [("name", "7", "tarmac")]
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
    assert widget.session.calls == [("name", "7", "krank")]
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
    widget.session.proposed = 1200
    widget.refresh()
    assert widget.review.text() == "Review 1,200 proposed masks"
    widget.review.click()
    assert asked == [True]


def test_a_group_of_unknown_objects_is_shown_alone(widget: Any) -> None:
    built(widget, info("7"), info("c2"))
    widget.session.labels = np.full((60, 80), 7, np.uint8)
    widget.session.objects = np.zeros((60, 80), bool)
    widget.session.objects[5:9] = True
    widget.alone.setChecked(True)
    widget.visible.setChecked(True)
    widget.list.setCurrentRow(1)
    layer = widget.layer.layers["clusters"]
    assert np.unique(layer.data).tolist() == [0, 3]
    assert widget.layer.cluster_at(6, 0) == 2
    assert ("objects", "c2") in widget.session.calls
    widget.session.objects = None
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
    widget.session.labels = labels
    widget.visible.setChecked(True)
    layer = widget.layer.layers["clusters"]
    assert layer.visible
    assert np.unique(layer.data).tolist() == [0, 3, 8]
    assert not layer.editable
    widget.alone.setChecked(True)
    assert np.unique(layer.data).tolist() == [0, 8]
    widget.list.setCurrentRow(1)
    assert np.unique(layer.data).tolist() == [0, 3]
    assert widget.layer.cluster_at(25, 5) == 2
    widget.visible.setChecked(False)
    assert not layer.visible
    assert widget.layer.cluster_at(25, 5) is None


def test_progress_cancel_and_failure_are_shown(widget: Any) -> None:
    widget.session.rows = [job("auxiliary_labels", "running")]
    widget.refresh()
    assert "3 of 9" in widget.progress.text()
    assert not widget.build.isEnabled()
    widget.cancel.click()
    assert widget.session.calls == [("cancel", 4)]
    widget.session.rows = [job("auxiliary_labels", "failed", error="too few pixels")]
    widget.refresh()
    assert widget.progress.text() == "Failed: too few pixels"
    assert widget.build.isEnabled()


def test_agreement_is_told_with_its_variant(widget: Any) -> None:
    told = {"pmiou_hungarian": 0.25, "pmiou_max": 0.5, "pixels": 20_000}
    widget.session.rows = [job("auxiliary_labels", "done", result=told)]
    built(widget, info("7"))
    assert "25.0 % (Hungarian), 50.0 % (max), on 20,000" in widget.agreement.text()


# -- pre-training ------------------------------------------------------------------------------


@pytest.fixture
def pretraining(qtbot: Any, session: Stub) -> Any:
    from owlabel.jobs.requests.clusters import ClusterRequest
    from owlabel_napari.widgets.train.pretraining import PretrainingWidget

    made = PretrainingWidget(session, lambda: ClusterRequest(extractor="handmade"))  # type: ignore[arg-type]
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
    assert "at least two are needed" in told[0][1]
    assert "at least two are needed" in pretraining.progress.text()


def test_curve_and_result_are_scrolled_to(pretraining: Any, qtbot: Any) -> None:
    from owlabel_napari.widgets.common.parts import scrolled

    area = scrolled(pretraining)
    qtbot.addWidget(area)
    area.resize(340, 160)
    area.show()
    bar = area.verticalScrollBar()
    pretraining.session.rows = [job("pretrain", "running")]
    pretraining.refresh()
    qtbot.waitUntil(lambda: bar.value() > 0)
    bar.setValue(0)
    pretraining.refresh()
    qtbot.wait(30)
    assert bar.value() == 0, "once; then the page is the annotator's"
    pretraining.session.rows = [job("pretrain", "done")]
    pretraining.session.waiting = PretrainResult(9, {"before": {"a": 0.1}}, {})
    pretraining.refresh()
    qtbot.waitUntil(lambda: bar.value() > 0)
    area.takeWidget()  # the fixture closes it


def test_the_loss_is_plotted_and_the_result_adopted(pretraining: Any) -> None:
    session = pretraining.session
    session.rows = [job("pretrain", "running")]
    session.reported = [
        SimpleNamespace(id=1, step=1, metrics={"loss": 5.0}),
        SimpleNamespace(id=2, step=2, metrics={"loss": 4.0}),
        SimpleNamespace(id=3, step=1, metrics={"loss": 1.0, "minutes": 0.1}),
    ]
    pretraining.refresh()
    assert len(pretraining.plot) == 2, "the loss of the labels is another one"
    session.reported += [
        SimpleNamespace(id=4 + step, step=step, metrics={"loss": 6.0}) for step in (1, 2, 3)
    ]
    pretraining.refresh()
    assert len(pretraining.plot) == 3, "a killed worker's steps are not drawn twice"
    pretraining.cancel.click()
    before = {"closed-set mIoU": 0.4, "road": 0.5}
    after = {"closed-set mIoU": 0.5, "road": 0.6}
    told = {"val_frames": 3, "val_human_pixels": 1000}
    session.waiting = PretrainResult(9, {"before": before, "after": after}, told)
    pretraining.refresh()
    table = pretraining.comparison.table
    rows = [[table.item(r, c).text() for c in range(4)] for r in range(table.rowCount())]
    assert rows[0] == ["closed-set mIoU", "40.0", "50.0", "+10.0"]
    assert "on 1,000 pixels labelled by hand" in pretraining.comparison.note.text()
    pretraining.comparison.adopt.click()
    assert session.calls == [("cancel", 4), ("adopt", 9)]
