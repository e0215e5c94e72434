"""What the scores of a tensor move on a GPU: one kernel reads the logits, and that once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from owlabel_training.bench_scores import SETS
from owlabel_training.scores_traffic import main, traffic

pytestmark = pytest.mark.skipif(
    not torch.__version__.startswith("2.15."), reason="counts with private parts of torch 2.15"
)


@pytest.mark.parametrize("label", SETS)
def test_the_scores_move_less_than_two_reads(label: str) -> None:
    found = traffic((19, 1024, 2048), SETS[label])
    assert 1 + 5 / 19 < found["bytes_over_one_read"] < 2  # one read and five maps are the least


def test_nothing_of_the_made_up_gpu_stays() -> None:
    was = torch.cuda.is_available()
    traffic((12, 36, 48), ("entropy",))
    assert torch.cuda.is_available() == was


def test_the_command_writes_all_sets(tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "x.json")])
    written = json.loads((tmp_path / "x.json").read_text())
    assert len([key for key in written["results"] if " " in key]) == 2 * len(SETS)
