"""The whole way in a real window with a real worker; also the crash that must not come back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATHS = [str(ROOT), *(str(ROOT / part) for part in ("plugins", "training", "sample_data"))]

MAKE_MODEL = """
import sys, torch
from pathlib import Path
from owlabel.classes import ClassTable, LabelClass
from owlabel.models.weights import save
from owlabel.models.segmenter import build
torch.manual_seed(0)
table = ClassTable(tuple(LabelClass(i, n, (9 * i, 0, 0)) for i, n in enumerate("abc")))
settings = {"width": 16, "low_width": 8, "output_stride": 16}
save(build("mobilenet_v3_small", settings, 3), Path(sys.argv[1]), name="random", classes=table)
"""

WALK = """
import sys, time
from pathlib import Path
import napari
from qtpy.QtWidgets import QApplication
from owlabel.jobs.requests.plm import PlmRequest
from owlabel_napari.entry.windows import panel_of

viewer = napari.Viewer()                     # the viewer first, the optimiser after it
panel = panel_of(viewer)
folder = Path(sys.argv[1])
assert panel.open(folder / "pictures", folder / "model.safetensors", folder / "p.owlabel")
session = panel.session

def until(what, ready):
    end = time.monotonic() + 240
    while not ready():
        QApplication.processEvents()
        time.sleep(0.02)
        jobs = [(job.kind, job.state, job.error) for job in session.worker.jobs()]
        assert time.monotonic() < end, (what, jobs)

until("the first embedding", lambda: session.view.embedding() is not None)
until("embedding", lambda: session.progress[0] == session.progress[1])
session.labels.click(20, 20)
session.labels.accept("deer")
until("relabelling", lambda: not session.worker.active())
session.training.plm(PlmRequest(class_name="deer", iterations=3))
until("training", lambda: session.training.result("plm") is not None)
session.models.adopt(session.training.result("plm").model_id)
until("the new head", lambda: session.view.embedded_heads() == 2)
session.labels.review()
session.export(folder / "out", "masks", "reviewed")
until("the export", (folder / "out").exists)
print("torch" in sys.modules, flush=True)
panel.close_project()
viewer.close()
"""


LEFT_OPEN = """
import napari
from owlabel_napari.window.panel import OWLabelPanel

viewer = napari.Viewer()
viewer.window.add_dock_widget(OWLabelPanel(viewer))
"""


def _run(code: str, *arguments: str) -> str:
    path = os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.gui
@pytest.mark.timeout(600)
def test_smoke_a_viewer_then_a_worker_that_trains(tmp_path: Path, qapp: object) -> None:
    import numpy as np
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        pixels = rng.integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")
    _run(MAKE_MODEL, str(tmp_path / "model.safetensors"))
    assert _run(WALK, str(tmp_path)).splitlines()[-1] == "False", "torch is in the window's process"
    assert sorted(p.name for p in (tmp_path / "out").rglob("0.png"))


@pytest.mark.gui
def test_a_script_may_end_while_its_window_is_open(qapp: object) -> None:
    _run(LEFT_OPEN)
