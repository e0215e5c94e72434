"""How fast the real window answers: clicks, names and stalls, alone and while a worker trains.

    python -m owlabel_napari.entry.bench --side 480x360 2048x1024 --out docs/results/window.json

Opens the window (a display or xvfb-run is needed) on enlarged sample scenes with the sample model,
clicks like an annotator, and prints JSON.  "Visible" is from the click until the canvas with all
that follows from it is on the screen (its buffers are swapped).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

import owlabel_samples
from owlabel.jobs.requests.plm import PlmRequest
from owlabel_napari.canvas.napari_window import scene_canvas
from owlabel_napari.entry.windows import new_window

if TYPE_CHECKING:
    from owlabel_napari.window.panel import OWLabelPanel

WAIT_SECONDS = 600.0
TICK_MS = 5


def spread(milliseconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum."""
    if not milliseconds:
        return {"n": 0}
    values = np.asarray(milliseconds)
    names = {
        "p50": np.percentile(values, 50),
        "p95": np.percentile(values, 95),
        "max": values.max(),
    }
    return {name: round(float(value), 1) for name, value in names.items()} | {"n": len(values)}


class Stalls:
    """Watches the event loop: a timer that comes late tells how long the window was blocked."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.late.append((now - self._last) * 1000 - TICK_MS)
        self._last = now

    def take(self) -> dict[str, float]:
        """Return what was seen since the last call."""
        late, self.late = self.late, []
        self._last = time.perf_counter()
        return spread(late)


def enlarge(source: Path, target: Path, size: tuple[int, int], count: int) -> None:
    """Write `count` sample scenes enlarged to (width, height)."""
    target.mkdir(parents=True)
    for path in sorted(source.glob("*.jpg"))[:count]:
        Image.open(path).resize(size, Image.Resampling.BICUBIC).save(target / path.name, quality=92)


class Bench:
    """One window, one size of pictures."""

    def __init__(
        self, panel: OWLabelPanel, folder: Path, size: tuple[int, int], count: int
    ) -> None:
        enlarge(owlabel_samples.images(), folder / "pictures", size, count)
        self.panel = panel
        self.rng = np.random.default_rng(0)
        start = time.perf_counter()
        panel.open(folder / "pictures", None, folder / "project.owlabel")
        if panel.session is None or panel.workspace is None:
            raise RuntimeError("the pictures did not open: see the message above")
        self.session, self.overlays = panel.session, panel.workspace.overlays
        self.until("the first overlay", lambda: self.session.view.embedding() is not None)
        self.first_overlay = time.perf_counter() - start
        self.until("embedding", lambda: self.session.progress[0] == self.session.progress[1])
        self.turn(1.0)
        self.stalls = Stalls()
        self.swapped = 0.0
        canvas = scene_canvas(panel.viewer)
        if canvas is None:
            raise RuntimeError("the viewer has no window to measure")
        canvas.native.frameSwapped.connect(self._swap)

    def _swap(self) -> None:
        self.swapped = time.perf_counter()

    def turn(self, seconds: float = 0.0) -> None:
        """Let the event loop run once, or for a while."""
        until = time.perf_counter() + seconds
        QApplication.processEvents()
        while time.perf_counter() < until:
            QApplication.processEvents()
            time.sleep(0.002)

    def until(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait for a state; TimeoutError where it does not come."""
        limit = time.perf_counter() + WAIT_SECONDS
        while not ready():
            self.turn(0.05)
            if time.perf_counter() > limit:
                raise TimeoutError(f"{what} did not happen within {WAIT_SECONDS:.0f} s")

    def timed(self, act: Callable[[], Any]) -> tuple[float, float]:
        """Return the milliseconds until `act` returned, and until the screen shows all of it."""
        start = time.perf_counter()
        act()
        acted = time.perf_counter()
        while not self.overlays.drawn:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 1)
        shown = self.swapped if self.swapped > start else time.perf_counter()
        self.turn()
        return (acted - start) * 1000, (shown - start) * 1000

    @contextmanager
    def writes(self) -> Iterator[list[float]]:
        """Collect the milliseconds of each transaction with the database in the block."""
        project: Any = self.session.project
        taken = list[float]()
        action = project.action

        @contextmanager
        def timed(*arguments: Any) -> Iterator[Any]:
            start = time.perf_counter()
            with action(*arguments) as inner:
                yield inner
            taken.append((time.perf_counter() - start) * 1000)

        project.action = timed
        try:
            yield taken
        finally:
            del project.action

    def clicks(self, count: int) -> dict[str, Any]:
        """Click `count` places, each on its own region."""
        written, acts, visible = [], [], []
        height, width = self.session.labels.human().shape
        self.stalls.take()
        for _ in range(count):
            row, col = int(self.rng.integers(height)), int(self.rng.integers(width))
            with self.writes() as taken:
                acted, drawn = self.timed(partial(self.session.labels.click, row, col))
            written.append(sum(taken))
            acts.append(acted - sum(taken))
            visible.append(drawn)
            self.turn(0.05)
            self.session.labels.cancel_region()
            self.turn(0.05)
        return {
            "click_durable_ms": spread(written),
            "mask_and_signals_ms": spread(acts),
            "click_visible_ms": spread(visible),
            "event_loop_late_ms": self.stalls.take(),
        }

    def names(self, count: int) -> dict[str, float]:
        """Name `count` regions; until the picture is relabelled and drawn."""
        taken = []
        for index in range(count):
            self.session.queue.next()
            self.turn(0.4)
            item = self.session.queue.shown
            if item is None:
                break
            self.session.labels.click(*item.peak)
            self.turn(0.2)
            taken.append(self.timed(partial(self.session.labels.accept, f"thing {index % 3}"))[1])
            self.turn(0.3)
        return spread(taken)

    def switches(self, count: int) -> dict[str, float]:
        """Go to `count` other pictures; until they are drawn with their overlays."""
        taken = []
        for _ in range(count):
            taken.append(self.timed(self.session.next_image)[1])
            self.turn(0.2)
        return spread(taken)

    def run(self, count: int) -> dict[str, Any]:
        """Measure everything, then the clicks again while a worker trains."""
        result: dict[str, Any] = {"first_overlay_s": round(self.first_overlay, 2)}
        result["alone"] = self.clicks(count)
        result["name_to_relabelled_ms"] = self.names(12)
        result["switch_ms"] = self.switches(10)
        self.session.training.plm(PlmRequest(class_name="thing 0", iterations=2000))
        self.until(
            "training", lambda: any(j.kind == "plm" and j.done for j in self.session.worker.jobs())
        )
        result["while_a_worker_trains"] = self.clicks(count)
        for job in self.session.worker.jobs():
            if job.kind == "plm":
                self.session.worker.cancel(job.id)
        self.panel.close_project()
        return result


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--side", nargs="+", default=["480x360", "2048x1024"], help="WIDTHxHEIGHT")
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    viewer, panel = new_window()
    viewer.window.resize(1600, 1000)
    results: dict[str, Any] = {
        "command": "python -m owlabel_napari.entry.bench " + " ".join(sys.argv[1:]),
        "machine": f"{os.cpu_count()} cores, no GPU, software OpenGL under Xvfb",
        "load_before": round(os.getloadavg()[0], 1),
    }
    for side in given.side:
        width, height = (int(v) for v in side.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(panel, Path(folder), (width, height), given.pictures)
            results[side] = bench.run(given.clicks)
    viewer.close()
    text = json.dumps(results, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
