"""Every script of ``examples`` runs, in a folder of its own, on the sample scenes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(script: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the first example has made: the project with all images embedded."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "out.txt").write_text(run(EXAMPLES / "list_candidates.py", folder))
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_described(script: Path) -> None:
    text = script.read_text("utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith('"""')
    assert f"({script.name})" in (EXAMPLES / "README.md").read_text("utf-8")


EXPECTED = {
    "add_a_score": r"correlation with entropy: 0\.9\d+\n",
    "list_candidates": r"32 images, \d+ open candidates\n",
    "click_and_name": r"found in \d+ of 32 images\n",
    "tag_images": r"street_01\.jpg,deer,present\nstreet_02\.jpg,deer,absent\n",
    "score_maps": r"entropy +0\.\d+",
    "export_coco": r"32 images in coco/instances\.json\n",
    "train_head": r"IoU of deer on labelled pixels: \d\.\d\d before, \d\.\d\d after\n",
    "evaluate_model": r"entropy: AUROC \d+\.\d  AP \d+\.\d\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_runs(script: Path, embedded: Path, tmp_path: Path) -> None:
    shutil.copytree(embedded, tmp_path, dirs_exist_ok=True)
    printed = (
        (embedded / "out.txt").read_text()
        if script.stem == "list_candidates"
        else run(script, tmp_path)
    )
    assert re.search(EXPECTED[script.stem], printed), printed
