from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from experiments.camvid.fewshot import fine_tuning, support_names
from experiments.camvid.main import app
from experiments.camvid.measures import incremental_row
from experiments.camvid.protocol import drives, read_list, read_setting
from owlabel.classes import ClassTable, LabelClass
from owlabel.metrics import ConfusionMatrix
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save

TRAIN = [f"scene_{i:02d}" for i in range(10)]


@pytest.fixture
def camvid(data: Path) -> Path:
    """The small scenes with a protocol: the road, in the middle of the ids, is novel."""
    support = {
        str(seed): {"road": {"one_shot": [TRAIN[seed]], "five_shot": TRAIN[seed : seed + 5]}}
        for seed in range(3)
    }
    setting = {"known": ["sky", "box"], "order": ["road"], "support": support}
    protocol = {
        "label_space": {"0": "sky", "1": "road", "2": "box"},
        "settings": {"2+1": setting},
        "eval": {"val_subset": ["scene_10"]},
    }
    (data / "protocol.json").write_text(json.dumps(protocol))
    (data / "test.txt").write_text("scene_10\nscene_11")
    return data


@pytest.fixture
def model(segmenter: Segmenter, tmp_path: Path) -> Path:
    rows = (LabelClass(0, "sky", (0, 0, 9)), LabelClass(1, "box", (9, 0, 0)))
    save(segmenter, tmp_path / "m.safetensors", name="m", classes=ClassTable(rows))
    return tmp_path / "m.safetensors"


def test_truth_has_known_classes_first_and_hides_what_is_not_added(camvid: Path) -> None:
    setting = read_setting(camvid, "2+1")
    label = np.array([[0, 1, 2, 255]], np.uint8)
    assert setting.truth(label).tolist() == [[0, 2, 1, 255]]
    assert setting.truth(label, 0).tolist() == [[0, 255, 1, 255]]
    assert setting.novel_ids == (2,)


def test_drives_are_told_apart_by_name() -> None:
    found = drives(["0001TP_1", "Seq05VD_f1", "0001TP_2"])
    assert found == {"0001TP": [0, 2], "Seq05VD": [1], "together": [0, 1, 2]}


def test_an_unknown_setting_is_named(camvid: Path) -> None:
    with pytest.raises(ValueError, match="no setting '7\\+4'"):
        read_setting(camvid, "7+4")


def test_the_four_numbers_of_an_increment(camvid: Path) -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]))
    row = incremental_row(matrix, read_setting(camvid, "2+1"))
    assert (row["miou_old"], row["miou_novel"]) == (0.5, 1.0)
    assert row["miou"] == pytest.approx(2 / 3, abs=1e-4)
    assert row["harmonic"] == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize("command", ["closed", "anomaly", "npm"])
def test_a_measurement_says_how_it_was_made(
    camvid: Path, model: Path, tmp_path: Path, command: str
) -> None:
    words = ["--data", str(camvid), "--model", str(model), "--setting", "2+1"]
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [command, *words, "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    (path,) = out.glob("camvid_2+1_*.json")
    content = json.loads(path.read_text())
    assert {"command", "commit", "machine", "results"} <= set(content)
    assert str(tmp_path) not in path.read_text()


def test_the_tables_hold_what_was_measured(camvid: Path, model: Path, tmp_path: Path) -> None:
    from experiments.camvid.table import page

    words = ["--data", str(camvid), "--model", str(model), "--setting", "2+1"]
    CliRunner().invoke(app, ["npm", *words, "--out", str(tmp_path)], catch_exceptions=False)
    (tmp_path / "camvid_2+1_npm.json").rename(tmp_path / "camvid_10+1_npm.json")
    lines = page(tmp_path).splitlines()
    assert sum(line.startswith("| NPM, lambda") for line in lines) == 10
    assert sum("chosen on val" in line for line in lines) == 2


def test_fine_tuning_measures_all_classes_and_spares_the_base(
    camvid: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.camvid.fewshot.FINE_TUNING_STEPS", 1)
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    setting, support = read_setting(camvid, "2+1"), read_list(camvid, "train")
    assert set(support_names(setting)) <= set(support.names)
    row = fine_tuning(segmenter, read_list(camvid, "test"), support, setting, 0, 5)
    assert set(row["together"]) >= {"miou", "miou_old", "miou_novel", "harmonic"}
    assert all(torch.equal(v, before[k]) for k, v in segmenter.state_dict().items())
