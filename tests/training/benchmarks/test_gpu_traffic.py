"""What the scores of a tensor move on a GPU: one kernel reads the logits, and that once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.scores import SETS, SIZES

pytestmark = pytest.mark.skipif(
    not torch.__version__.startswith("2.15.") or sys.platform != "linux",
    reason="counts with private parts of torch 2.15 and with triton",
)


def test_the_scores_of_a_large_image_move_less_than_two_reads(tmp_path: Path) -> None:
    out = tmp_path / "x.json"  # in a process of its own: torch remembers which devices it has found
    words = [sys.executable, "-m", "benchmarks.gpu_traffic", "--out", str(out)]
    subprocess.run(words, check=True, capture_output=True)
    found = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert set(found) == {"torch", *(f"{size} {label}" for size in SIZES for label in SETS)}
    for label in SETS:
        moved = found[f"19x1024x2048 {label}"]["bytes_over_one_read"]
        assert 1 + 5 / 19 < moved < 2  # one read and five maps are the least
