"""A small session without a project, a worker or a model, for fast tests of the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from owlabel.classes import UNSET, VOID, ClassTable, LabelClass, distinct_color
from owlabel.ood.candidates import Candidate
from owlabel.project.storage.records import ImageRecord
from owlabel.view.signals import SessionSignals

SHAPE, GRID = (60, 80), (15, 20)
BASE = ClassTable((LabelClass(0, "road", (128, 64, 128)), LabelClass(1, "sky", (70, 130, 180))))


class FakeScoring:
    """A scale of 0 .. 1 for every score but RPL, which lacks its block."""

    def __init__(self) -> None:
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

    def about_scale(self, name: str) -> str:
        return "over all pixels of 3 images"


class FakeSession(SessionSignals):
    """What the panel may call, over arrays in memory; `calls` tells what was called."""

    def __init__(self, folder: Path) -> None:
        tags = SimpleNamespace(all=dict, counts=dict, of=lambda _image_id: {})
        proposals = SimpleNamespace(count=lambda _source=None: len(self.proposals()))
        self.project = SimpleNamespace(
            folder=folder / "toy.owlabel", tags=tags, proposals=proposals, replaced=()
        )
        self.records = [self._record(folder, i) for i in (1, 2, 3)]
        self.broken: list[Any] = []
        self.classes, self.found = BASE, {}
        self.image_id: int | None = 1
        self.lambda_novel, self.threshold = 1.5, 0.5
        self.scoring = FakeScoring()
        self.region: Any = None
        self.clicks: tuple[Any, ...] = ()
        self.candidate: Any = None
        self.can_undo: str | None = None
        self.can_redo: str | None = None
        self.progress = (3, 3)
        self.model = SimpleNamespace(id=1, name="base")
        self.calls: list[tuple[Any, ...]] = []
        self._human = {r.id: np.full(SHAPE, UNSET, np.uint8) for r in self.records}
        self._jobs: list[Any] = []
        self._items = [self._item(7, 1), self._item(8, 2)]
        self.why: Any = None
        self.candidates = SimpleNamespace(
            show="all", hide_above=0.5, hidden=0, show_hidden=False, classifier=None, pinned=None,
            pin=lambda ids: setattr(self.candidates, "pinned", list(ids)),
            release=lambda: setattr(self.candidates, "pinned", None),
        )  # fmt: skip
        self.closed = False
        self.correction: Any = None

    def _record(self, folder: Path, number: int) -> ImageRecord:
        name = f"{number}.png"
        return ImageRecord(number, folder / name, name, name, SHAPE, None, "new", None)

    def _item(self, row_id: int, image_id: int) -> Any:
        candidate = Candidate(0.8, 50, (10, 10, 20, 30), (15, 20), 0, 1.0)
        row = SimpleNamespace(id=row_id, image_id=image_id, candidate=candidate, claimed_by=None)
        return SimpleNamespace(row=row, record=self.record(image_id), claimed=None, false=None,
                               proposal=None)  # fmt: skip

    def record(self, image_id: int | None = None) -> ImageRecord:
        wanted = self.image_id if image_id is None else image_id
        return next(r for r in self.records if r.id == wanted)

    def place(self, image_id: int) -> tuple[int, int]:
        return [r.id for r in self.records].index(image_id), len(self.records)

    def image(self) -> np.ndarray:
        return np.full((*SHAPE, 3), 20 * (self.image_id or 0), np.uint8)

    def score(self, name: str) -> np.ndarray:
        return np.linspace(0, 1, GRID[0] * GRID[1], dtype=np.float32).reshape(GRID)

    def false_alarms(self, name: str, fraction: float) -> float | None:
        return self.scoring.alarms and self.scoring.alarms * (1 - fraction)

    def set_mixture(self, beta: float, gamma: float, mmsp_norm: str) -> None:
        self.calls.append(("set_mixture", beta, gamma, mmsp_norm))
        self.scoring.beta, self.scoring.gamma, self.scoring.mmsp_norm = beta, gamma, mmsp_norm
        self.scores_changed.emit()

    def prediction(self) -> Any:
        labels = np.zeros(SHAPE, np.uint8)
        labels[:30] = 1
        return SimpleNamespace(labels=labels, source=np.full(SHAPE, 2, np.uint8))

    def human(self) -> np.ndarray:
        return self._human[self.image_id]

    def distances(self, row: int, col: int) -> dict[str, float]:
        return {"road": 1.0, "sky": 4.0}

    def proposed_region(self) -> Any:
        return None

    def has_proposals(self) -> bool:
        return any(item.proposal is not None for item in self._items)

    def proposals(self, source: str | None = None) -> list[Any]:
        return [item.proposal for item in self._items if item.proposal is not None]

    def proposal_is_open(self, proposal_id: int) -> bool:
        return proposal_id in [p.id for p in self.proposals()]

    def tags_lacking(self) -> list[str]:
        return []

    def masks_lacking(self) -> list[str]:
        return []

    def count_masks(self, _seconds: float | None) -> int:
        return 0

    def cluster_set(self) -> Any:
        return None

    def cluster_names(self) -> dict[str, int]:
        return {}

    def clusters(self) -> list[Any]:
        return []

    def auxiliary_labels(self) -> Any:
        return None

    def pretrain_result(self) -> Any:
        return None

    def explain(self, row: Any) -> Any:
        return self.why

    def queue(self, limit: int = 200) -> list[Any]:
        return self._items

    def go_to(self, image_id: int) -> None:
        self.image_id, self.region, self.clicks = image_id, None, ()
        self.image_changed.emit(image_id)

    def next_image(self) -> None:
        self.calls.append(("next_image",))
        self.go_to(self.image_id % 3 + 1)

    def previous_image(self) -> None:
        self.calls.append(("previous_image",))
        self.go_to((self.image_id + 1) % 3 + 1)

    def select_candidate(self, row_id: int) -> None:
        self.candidate = next(i for i in self._items if i.row.id == row_id)
        if self.candidate.record.id != self.image_id:
            self.go_to(self.candidate.record.id)
        self.queue_changed.emit()

    def next_candidate(self) -> None:
        self.calls.append(("next_candidate",))
        self.select_candidate(8 if self.candidate and self.candidate.row.id == 7 else 7)

    def previous_candidate(self) -> None:
        self.calls.append(("previous_candidate",))

    def click(self, row: int, col: int, add: bool = True) -> None:
        self.calls.append(("click", row, col, add))
        self.clicks = (*self.clicks, SimpleNamespace(row=row, col=col, add=add))
        mask = np.ones((6, 8), bool)
        self.region = SimpleNamespace(mask_box=(10, 12, 16, 20), mask=mask, area=48)
        self.region_changed.emit()

    def cancel_region(self) -> None:
        self.calls.append(("cancel_region",))
        self.region, self.clicks = None, ()
        self.region_changed.emit()

    def accept(self, name: str) -> LabelClass:
        if self.region is None:
            raise ValueError("there is no region: click an object first")
        self.calls.append(("accept", name))
        named = self.classes.find(name)
        if named is None:
            new_id = 1 + max(self.classes.names)
            named = LabelClass(new_id, name, distinct_color(new_id), novel=True)
            self.classes = ClassTable((*self.classes.classes, named))
            self.classes_changed.emit()
        r0, c0, r1, c1 = self.region.mask_box
        self._human[self.image_id][r0:r1, c0:c1] = named.id
        self.cancel_region()
        self.labels_changed.emit(self.image_id)
        return named

    def paint(self, labels: np.ndarray) -> None:
        assert set(np.unique(labels)) <= {*self.classes.names, UNSET, VOID}
        self.calls.append(("paint", self.image_id))
        self._human[self.image_id] = labels
        self.labels_changed.emit(self.image_id)

    def review(self, done: bool = True) -> None:
        state = "reviewed" if done else "proposed"
        self.records = [
            replace(r, state=state) if r.id == self.image_id else r for r in self.records
        ]
        self.labels_changed.emit(self.image_id)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in ACTS:
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, *args, *kwargs.values()))

    def shots(self, class_id: int) -> int:
        return 1

    def models(self) -> list[Any]:
        return [self.model, SimpleNamespace(id=2, name="base + deer")]

    def jobs(self) -> list[Any]:
        return self._jobs

    def metrics(self, job_id: int, since: int = 0) -> list[Any]:
        return []

    def result(self) -> Any:
        return None

    def ood_result(self) -> Any:
        return None

    def export(self, folder: Path, kind: str, which: str, overwrite: bool = False) -> int:
        if folder.exists() and not overwrite:
            raise ValueError(f"{folder} exists")
        self.calls.append(("export", folder, kind, which, overwrite))
        return 1

    def poll(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


ACTS = (
    "set_hide_above", "show_hidden", "rank_queue", "tag", "tag_none", "add_class",
    "accept_proposal", "reject_proposal", "correct_proposal", "train_from_tags", "build_clusters",
    "name_cluster", "pretrain",
    "undo", "redo", "mark_ignore", "mark_known", "set_threshold", "set_lambda", "rename_class",
    "recolor_class", "retrain", "cancel_job", "adopt", "discard", "switch_model", "add_model_file",
)  # fmt: skip


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
