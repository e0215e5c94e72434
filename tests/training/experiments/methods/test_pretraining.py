from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.methods import pretraining
from experiments.methods.pretraining import labelled_names
from experiments.methods.pretraining_table import page

NAMES = [f"a_{i:03d}" for i in range(50)] + [f"b_{i:03d}" for i in range(20)]


def test_labelled_frames_are_neighbours_in_each_drive() -> None:
    for seed, first in ((0, 0), (1, 22), (2, 45)):
        chosen = labelled_names(NAMES, 0.1, seed)
        assert chosen[:5] == [f"a_{i:03d}" for i in range(first, first + 5)]
        assert [name[0] for name in chosen] == ["a"] * 5 + ["b"] * 2
    assert labelled_names(NAMES, 1.0, 1) == NAMES
    with pytest.raises(ValueError, match="got 0"):
        labelled_names(NAMES, 0, 0)


def test_more_test_frames_measure_the_same_checkpoint_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, measured = [], []
    said = {"cpu_minutes": 1.5, "pmiou": {"pmiou_hungarian": 0.2}}
    monkeypatch.setattr(pretraining, "_tuned", lambda *given: trained.append(given) or said)
    monkeypatch.setattr(pretraining, "load", lambda path: (path, None))
    monkeypatch.setattr(pretraining, "_spread", lambda data, file, count: (file, count))

    def miou(segmenter: Path, frames: tuple[str, int]) -> tuple[float, list[float]]:
        measured.append((segmenter.name, *frames))
        return frames[1] / 1000, [0.5]

    monkeypatch.setattr(pretraining, "miou", miou)
    for count, trainings, measurements in ((78, 1, 1), (78, 1, 1), (156, 1, 2)):
        setup = pretraining.Setup(tmp_path, tmp_path, 0.2, 6, 8, count, 0)
        row = pretraining._run(setup, "handmade: DBSCAN", 1)
        assert row == {"miou": count / 1000, "iou": [0.5], "test_frames": count, **said}
        assert (len(trained), len(measured)) == (trainings, measurements)
    assert measured[1] == ("handmade_DBSCAN_0.2_6_8_0_1_tuned.safetensors", "test.txt", 156)


def test_the_page_holds_what_is_there(tmp_path: Path) -> None:
    assert "##" not in page(tmp_path)
    about = {"command": "c", "cpu_minutes": 1, "minutes": 2, "machine": "m", "commit": "f" * 40}
    one = {"pmiou_hungarian": 0.2, "pmiou_max": 0.3, "pixels": 9, "removed": 0.0}
    rows = {"0": {"clusters": 17, "val": one, "test": one}}
    pmiou = {
        "superpixels alone": {"val": one, "test": one},
        "handmade": {"usual": rows},
        "budget": {"frames": 3, "val": 1, "test": 2},
    }
    starts = {
        "random": {"0": {"miou": 0.2}, "1": {"miou": 0.3}},
        "model": {"0": {"miou": 0.5, "pmiou": one, "cpu_minutes": 7.2}},
    }
    budget = {
        "share": 0.1, "steps": 4, "pretraining_steps": 5, "network": "n", "crop": [1, 2],
        "test_frames": 3, "unlabelled": 0,
    }  # fmt: skip
    for name, results in (("pmiou", pmiou), ("0.1", {"starts": starts, "budget": budget})):
        content = {**about, "note": "n", "results": results}
        (tmp_path / f"pretraining_{name}.json").write_text(json.dumps(content))
    made = page(tmp_path)
    assert "| handmade: usual | 17 | 20.0 | 30.0 | 20.0 | 30.0 |" in made
    assert "| random weights | 25.0 ± 5.0 | - | - | 2 |" in made
    assert "7 CPU minutes, in pieces that the command found done, on m" in made
    assert "labelled part | 50.0 | +30.0 | 20.0 | 1 |" in made  # the same seed starts from 20
