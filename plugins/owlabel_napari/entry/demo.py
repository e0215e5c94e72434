"""The demonstration: the sample street scenes in the window, or a walk through all steps there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

import owlabel_samples
from owlabel.jobs.requests.plm import PlmRequest
from owlabel_napari.entry.windows import new_window, open_window
from owlabel_napari.window.sample_folder import sample_folder

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel.view.queue_order import QueueItem
    from owlabel_napari.window.workspace import Workspace

STEP_SECONDS = 900.0
SHOTS = 3
LOOKED_AT = 12
"""Candidates at the top of the queue of which the largest unknown object is named first."""
CLICKS, ENOUGH = 3, 0.2
"""Clicks on an object, at most; no more where less than this share of it is missing."""
ITERATIONS = 300


def demo(walk: Path | None = None) -> None:
    """Open the window on the sample scenes; with `walk`, go through all steps without a user.

    Parameters
    ----------
    walk : Path or None
        Folder for the screenshots and the exported labels; a number is added where it exists.

    Raises
    ------
    ValueError
        If a step of the walk does not happen in time.
    """
    if walk is None:
        open_window(sample_folder())
        return
    Walk(_free(walk.resolve())).run()


def _free(folder: Path) -> Path:
    """Make and return the folder, or one with a number where it exists."""
    numbered = (folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))
    target = folder if not folder.exists() else next(f for f in numbered if not f.exists())
    target.mkdir(parents=True)
    return target


class Walk:
    """From opening the folder to the export, as a user would, saying what was seen.

    The walk names objects as somebody would who sees them: it reads the true labels of the sample.

    Parameters
    ----------
    out : Path
        Empty folder for everything that it leaves.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.labels = owlabel_samples.labels()
        self.names = {c["id"]: c["name"] for c in owlabel_samples.classes()}
        self.novel = {c["id"] for c in owlabel_samples.classes() if c["novel"]}
        self.images = owlabel_samples.images()
        self.began = time.perf_counter()
        self.viewer, self.panel = new_window()
        self.viewer.window.resize(1600, 1000)

    @property
    def workspace(self) -> Workspace:
        """The panel of the open project."""
        if self.panel.workspace is None:
            raise ValueError("the sample project did not open: see the message above")
        return self.panel.workspace

    @property
    def session(self) -> Session:
        """The session of the open project."""
        return self.workspace.session

    def run(self) -> None:
        """Do all steps, then close the window."""
        try:
            self._open()
            name = self._name_first()
            self._more_shots(name)
            self._train(name)
            self._review_and_export()
        finally:
            self.viewer.close()
        print(f"\nScreenshots and exported labels are in {self.out}")

    def _say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.began:6.1f} s] {text}", flush=True)

    def _shoot(self, name: str) -> None:
        for _ in range(3):
            self.workspace.steps.finish()
            self._turn(0.4)
        for widget in QApplication.allWidgets():
            if type(widget).__name__ == "NapariQtNotification":
                widget.close()  # what napari says about Qt versions is not part of the picture
        self._turn(0.2)
        self.viewer.screenshot(str(self.out / name), canvas_only=False, flash=False)

    def _turn(self, seconds: float) -> None:
        """Let the window live for a while."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            QApplication.processEvents()
            time.sleep(0.01)

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        until = time.perf_counter() + STEP_SECONDS
        while not ready():
            self._turn(0.05)
            if time.perf_counter() > until:
                raise ValueError(f"{what} did not happen within {STEP_SECONDS:.0f} s")

    def _open(self) -> None:
        self.panel.open(self.images, None, self.out / "project.owlabel")
        self._say(f"opened {len(self.session.records)} images")
        self._wait("the first overlay", lambda: self.session.view.embedding() is not None)
        self._say("first overlay")
        self._wait("embedding", lambda: self.session.progress[0] == self.session.progress[1])
        self._wait("the queue", lambda: bool(self.session.queue.items()))
        self._say(f"all images embedded, {len(self.session.queue.items())} candidates")

    def _truth(self, item: QueueItem) -> np.ndarray:
        path = self.labels / Path(item.record.relative).with_suffix(".png").name
        return np.asarray(Image.open(path))

    def _class_of(self, item: QueueItem) -> int:
        return int(self._truth(item)[item.peak])

    def _object(self, item: QueueItem) -> np.ndarray:
        """Return the true mask of the object in whose middle the candidate is strangest."""
        truth, (row, col) = self._truth(item), item.peak
        _, pieces = cv2.connectedComponents((truth == truth[row, col]).astype(np.uint8))
        return np.asarray(pieces == pieces[row, col])

    def _click_candidate(self, item: QueueItem) -> None:
        """Click the object, and again in the middle of what is missing, as somebody would."""
        self.session.queue.select(item.key)
        self.session.labels.click(*item.peak)
        wanted = self._object(item)
        for _ in range(CLICKS - 1):
            region = self.session.labels.region
            missing = wanted if region is None else wanted & ~region.full(wanted.shape)
            if missing.mean() < ENOUGH * wanted.mean():
                break
            depth = cv2.distanceTransform(missing.astype(np.uint8), cv2.DIST_L2, 5)
            row, col = np.unravel_index(int(depth.argmax()), depth.shape)
            self.session.labels.click(int(row), int(col))
            self._turn(0.2)

    def _name_first(self) -> str:
        shown = [
            i for i in self.session.queue.items()[:LOOKED_AT] if self._class_of(i) in self.novel
        ]
        item = max(shown, key=lambda i: i.area, default=None)
        if item is None:
            raise ValueError(
                "no candidate at the top of the queue is an object that the model has never seen"
            )
        name = str(self.names[self._class_of(item)])
        self._click_candidate(item)
        self._shoot("1-candidate.png")
        start = time.perf_counter()
        named = self.session.labels.accept(name)
        self._say(f"named a {name!r}; image relabelled after {time.perf_counter() - start:.3f} s")
        self._wait("relabelling", lambda: named.id in self.session.shots.occurrences)
        found = self.session.shots.occurrences[named.id]
        self._say(f"{name!r} found in {found} of {len(self.session.records)} images")
        self._shoot("2-named.png")
        return name

    def _more_shots(self, name: str) -> None:
        for _ in range(SHOTS - 1):
            fitting = (
                i for i in self.session.queue.items() if self.names.get(self._class_of(i)) == name
            )
            item = next(fitting, None)
            if item is not None:
                self._click_candidate(item)
                self.session.labels.accept(name)
        named = self.session.classes.find(name)
        self._say(f"{self.session.shots.count(named.id) if named else 0} shots of {name!r}")

    def _train(self, name: str) -> None:
        self.workspace.show_training()
        self.session.training.plm(PlmRequest(class_name=name, iterations=ITERATIONS))
        self._wait("training", lambda: self.session.training.result("plm") is not None)
        result = self.session.training.result("plm")
        assert result is not None
        before, after = (result.comparison.get(k, {}).get(name) for k in ("before", "after"))
        self._say(f"head trained; IoU of {name!r} on the shots: {before} before, {after} after")
        self._shoot("3-trained.png")
        self.session.models.adopt(result.model_id)
        self._wait("the new head", lambda: self.session.view.embedded_heads() == 2)
        self._say(f"adopted {self.session.models.active.name!r}")

    def _review_and_export(self) -> None:
        for _ in range(2):
            self.session.labels.review()
            self.session.next_image()
            self._wait("the next picture", lambda: self.session.view.embedded_heads() == 2)
        self._shoot("4-adopted.png")
        for which, format_name in (("reviewed", "masks"), ("all", "coco"), ("all", "panoptic")):
            target = self.out / f"{which}-{format_name}"
            self.session.export(target, format_name, which)
            self._wait("the export", target.exists)
            self._say(f"exported {which} labels to {target.name}/")
