"""A small session without a project, a worker or a model, for fast tests of the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from psygnal import Signal

from owlabel.classes import UNSET, VOID, ClassTable, LabelClass
from owlabel.ood.candidates import Candidate
from owlabel.project.storage.records import CandidateRow, ImageRecord
from owlabel.view.queue_order import QueueItem

SHAPE, GRID = (60, 80), (15, 20)
BASE = ClassTable((LabelClass(0, "road", (128, 64, 128)), LabelClass(1, "sky", (70, 130, 180))))


class Part:
    """A part of the fake session: what it does not know it records, as ("labels.click", ...)."""

    ACTS: tuple[str, ...] = ()

    def __init__(self, session: FakeSession) -> None:
        self.session = session

    def record(self, name: str, *args: Any) -> None:
        part = type(self).__name__.removeprefix("Fake").lower()
        self.session.calls.append((f"{part}.{name}", *args))

    def __getattr__(self, name: str) -> Any:
        if name not in type(self).ACTS:
            raise AttributeError(name)
        return lambda *args, **kwargs: self.record(name, *args, *kwargs.values())


class FakeLabels(Part):
    """Labels over arrays in memory."""

    ACTS = ("mark_ignore", "mark_known", "rename_class", "recolor_class", "add_class")
    changed, region_changed, prediction_changed = Signal(int), Signal(), Signal(int)

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.region: Any = None
        self.clicks: tuple[Any, ...] = ()
        self.correction: Any = None
        self._human = {r.id: np.full(SHAPE, UNSET, np.uint8) for r in session.records}

    def prediction(self) -> Any:
        labels = np.zeros(SHAPE, np.uint8)
        labels[:30] = 1
        return SimpleNamespace(labels=labels, source=np.full(SHAPE, 2, np.uint8))

    def human(self) -> np.ndarray:
        return self._human[self.session.image_id]

    def click(self, row: int, col: int, add: bool = True) -> None:
        self.record("click", row, col, add)
        self.clicks = (*self.clicks, SimpleNamespace(row=row, col=col, add=add))
        mask = np.ones((6, 8), bool)
        self.region = SimpleNamespace(mask_box=(10, 12, 16, 20), mask=mask, area=48)
        self.region_changed.emit()

    def cancel_region(self) -> None:
        self.record("cancel_region")
        self.region, self.clicks = None, ()
        self.region_changed.emit()

    def accept(self, name: str) -> LabelClass:
        if self.region is None:
            raise ValueError("there is no region: click an object first")
        self.record("accept", name)
        named = self.session.classes.find(name)
        if named is None:
            self.session.classes = with_novel(self.session.classes, name)
            named = self.session.classes.find(name)
            self.session.classes_changed.emit()
        r0, c0, r1, c1 = self.region.mask_box
        self._human[self.session.image_id][r0:r1, c0:c1] = named.id
        self.cancel_region()
        self.changed.emit(self.session.image_id)
        return named

    def paint(self, labels: np.ndarray) -> None:
        assert set(np.unique(labels)) <= {*self.session.classes.names, UNSET, VOID}
        self.record("paint", self.session.image_id)
        self._human[self.session.image_id] = labels
        self.changed.emit(self.session.image_id)

    def review(self, done: bool = True) -> None:
        state, image_id = "reviewed" if done else "proposed", self.session.image_id
        self.session.records = [
            replace(r, state=state) if r.id == image_id else r for r in self.session.records
        ]
        self.changed.emit(image_id)


class FakeQueue(Part):
    """Two candidates, of the first and of the second image."""

    ACTS = ("rank", "reveal_hidden")
    changed = Signal()

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.show, self.hide_above, self.hidden, self.show_hidden = "all", 0.5, 0, False
        self.classifier: Any = None
        self.pinned: Any = None
        self.why: Any = None
        self.shown: QueueItem | None = None
        self.list = [self._item(7, 1), self._item(8, 2)]

    def _item(self, row_id: int, image_id: int) -> QueueItem:
        candidate = Candidate(0.8, 50, (10, 10, 20, 30), (15, 20), 0, 1.0)
        row = CandidateRow(row_id, image_id, candidate, None)
        return QueueItem(self.session.record(image_id), row)

    def items(self, limit: int = 200) -> list[QueueItem]:
        return self.list

    def pin(self, keys: list[str]) -> None:
        self.pinned = list(keys)

    def unpin(self) -> None:
        self.pinned = None

    def explain(self, item: QueueItem) -> Any:
        return self.why

    def select(self, key: str) -> None:
        self.shown = next(item for item in self.list if item.key == key)
        if self.shown.record.id != self.session.image_id:
            self.session.go_to(self.shown.record.id)
        self.changed.emit()

    def next(self) -> None:
        self.record("next")
        first, second = self.list[:2]
        self.select(second.key if self.shown is not None and self.shown == first else first.key)

    def previous(self) -> None:
        self.record("previous")


class FakeScores(Part):
    """A scale of 0 .. 1 for every score but RPL, which lacks its block."""

    changed = Signal()

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.beta, self.gamma, self.mmsp_norm = 20.0, 0.8, "none"
        self.alarms: float | None = 1000.0
        self.reviewed = True
        self.lacking = {"rpl_energy": "needs a residual block"}

    def unavailable(self, name: str) -> str | None:
        return self.lacking.get(name)

    def limits(self, name: str, values: Any = None) -> tuple[float, float]:
        return 0.0, 1.0

    def cut(self, name: str, fraction: float, values: Any = None) -> float:
        low, high = self.limits(name, values)
        return low + fraction * (high - low)

    def describe_scale(self, name: str) -> str:
        return "over all pixels of 3 images"

    def current(self, name: str) -> np.ndarray:
        return np.linspace(0, 1, GRID[0] * GRID[1], dtype=np.float32).reshape(GRID)

    def distances(self, row: int, col: int) -> dict[str, float]:
        return {"road": 1.0, "sky": 4.0}

    def false_alarms_shown(self, name: str, fraction: float) -> float | None:
        return self.alarms and self.alarms * (1 - fraction)


class FakeSettings(Part):
    """Settings that are recorded."""

    changed = Signal(object)

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.lambda_novel, self.threshold = 1.5, 0.5

    def set(self, **values: Any) -> None:
        self.record("set", values)
        scores = self.session.scores
        for key in scores.__dict__.keys() & values.keys():
            setattr(scores, key, values[key])
            scores.changed.emit()


class FakeTags(Part):
    """Tags that are recorded."""

    ACTS = ("tag", "tag_none")
    changed = Signal(object)

    def missing_tags(self) -> list[str]:
        return []

    def missing_masks(self) -> list[str]:
        return []

    def scan_masks(self, _seconds: float | None) -> int:
        return 0


class FakeProposals(Part):
    """The proposed masks of the queue."""

    ACTS = ("accept", "reject", "correct")

    def open(self, source: str | None = None) -> list[Any]:
        return [item.proposal for item in self.session.queue.list if item.proposal is not None]

    def is_open(self, proposal_id: int) -> bool:
        return proposal_id in [p.id for p in self.open()]

    def region(self, _item: Any) -> Any:
        return None


class FakeClusters(Part):
    """No clusters, unless a test builds some."""

    ACTS = ("name",)

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.built: Any = None
        self.list: list[Any] = []
        self.labels: Any = None
        self.objects: Any = None

    def build(self, request: Any) -> int:
        self.record("build", request)
        request.settings(2)
        return 1

    def current(self) -> Any:
        return self.built

    def names(self) -> dict[str, int]:
        return {i.name: i.class_id for i in self.list if i.class_id is not None}

    def list_all(self) -> list[Any]:
        return self.list

    def auxiliary_labels(self) -> Any:
        return self.labels

    def unknown_objects(self, cluster: str) -> Any:
        self.record("unknown_objects", cluster)
        return self.objects


class FakeModels(Part):
    """Two versions of a model."""

    ACTS = ("discard", "switch", "add_file")
    changed = Signal()

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.active = SimpleNamespace(id=1, name="base")

    def adopt(self, model_id: int) -> None:
        self.record("adopt", model_id)
        self.session.training.waiting.clear()

    def versions(self) -> list[Any]:
        return [self.active, SimpleNamespace(id=2, name="base + deer")]


class FakeTraining(Part):
    """Trainings that are recorded."""

    ACTS = ("plm", "weak_shot")

    def ood(self, request: Any) -> int:
        self.record("ood", request)
        request.payload("model.safetensors")
        return 1

    def pretrain(self, request: Any) -> int:
        self.record("pretrain", request)
        request.check(1)
        return 1

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.waiting: dict[str, Any] = {}

    def result(self, kind: str) -> Any:
        return self.waiting.get(kind)


class FakeWorker(Part):
    """Jobs that nobody runs."""

    ACTS = ("cancel",)
    changed = Signal()

    def __init__(self, session: FakeSession) -> None:
        super().__init__(session)
        self.rows: list[Any] = []
        self.reported: list[Any] = []

    def jobs(self) -> list[Any]:
        return self.rows

    def metrics(self, job_id: int, since: int = 0) -> list[Any]:
        return [r for r in self.reported if r.id > since]


class FakeSession:
    """What the panel may call, over arrays in memory; `calls` holds what was called."""

    image_changed, classes_changed = Signal(int), Signal()
    history_changed, message = Signal(), Signal(str, str)

    def __init__(self, folder: Path) -> None:
        self.calls: list[tuple[Any, ...]] = []
        tags = SimpleNamespace(all=dict, counts=dict, of=lambda _image_id: {})
        proposals = SimpleNamespace(count=lambda _source=None: len(self.proposals.open()))
        self.project = SimpleNamespace(
            folder=folder / "toy.owlabel", tags=tags, proposals=proposals, replaced=()
        )
        self.records = [self._record(folder, i) for i in (1, 2, 3)]
        self.broken: list[Any] = []
        self.classes = BASE
        self.image_id: int | None = 1
        self.can_undo: str | None = None
        self.can_redo: str | None = None
        self.progress = (3, 3)
        self.closed = False
        self.shots = SimpleNamespace(count=lambda _class_id: 1, occurrences={})
        self.view = SimpleNamespace(
            embedding=lambda: None, output=lambda: None, embedded_heads=lambda: 1
        )
        self.labels, self.queue, self.scores = FakeLabels(self), FakeQueue(self), FakeScores(self)
        self.settings, self.tags = FakeSettings(self), FakeTags(self)
        self.proposals, self.clusters = FakeProposals(self), FakeClusters(self)
        self.models, self.training = FakeModels(self), FakeTraining(self)
        self.worker = FakeWorker(self)

    def record(self, image_id: int | None = None) -> ImageRecord:
        wanted = self.image_id if image_id is None else image_id
        return next(r for r in self.records if r.id == wanted)

    def _record(self, folder: Path, number: int) -> ImageRecord:
        name = f"{number}.png"
        return ImageRecord(number, folder / name, name, name, SHAPE, None, "new", None)

    def __getattr__(self, name: str) -> Any:
        if name not in ("undo", "redo"):
            raise AttributeError(name)
        return lambda: self.calls.append((name,))

    def position(self, image_id: int) -> tuple[int, int]:
        return [r.id for r in self.records].index(image_id), len(self.records)

    def image(self) -> np.ndarray:
        return np.full((*SHAPE, 3), 20 * (self.image_id or 0), np.uint8)

    def go_to(self, image_id: int) -> None:
        self.image_id, self.labels.region, self.labels.clicks = image_id, None, ()
        self.image_changed.emit(image_id)

    def next_image(self) -> None:
        self.calls.append(("next_image",))
        self.go_to(self.image_id % 3 + 1)

    def previous_image(self) -> None:
        self.calls.append(("previous_image",))
        self.go_to((self.image_id + 1) % 3 + 1)

    def export(self, folder: Path, kind: str, which: str, overwrite: bool = False) -> int:
        if folder.exists() and not overwrite:
            raise ValueError(f"{folder} exists")
        self.calls.append(("export", folder, kind, which, overwrite))
        return 1

    def poll(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def with_novel(classes: ClassTable, name: str) -> ClassTable:
    """Return the classes with one more."""
    added = LabelClass(len(classes.classes), name, (200, 60, 60), True)
    return ClassTable((*classes.classes, added))


@pytest.fixture
def session(tmp_path: Path) -> FakeSession:
    return FakeSession(tmp_path)


@pytest.fixture
def panel(make_napari_viewer: Any, session: FakeSession) -> Iterator[Any]:
    """The docked panel of a real viewer, showing the fake session."""
    from owlabel_napari.window.panel import OWLabelPanel

    viewer = make_napari_viewer()
    made = OWLabelPanel(viewer)
    viewer.window.add_dock_widget(made, name="OWLabel")
    made.show_session(session)
    made.workspace.steps.finish()
    yield made
    made.close_project()


@pytest.fixture
def overlays(qtbot: Any, session: FakeSession) -> Iterator[Any]:
    """The layers of the fake session in a viewer without a window: a tenth of the time."""
    from napari.components import ViewerModel

    from owlabel_napari.canvas.overlays import Overlays
    from owlabel_napari.events.deferred_work import Steps

    made = Overlays(ViewerModel(), session, Steps())
    made.steps.finish()
    yield made
    made.steps.close()
    made.close()
