from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.camvid.protocol import Setting
from experiments.methods import ood_scores
from owlabel.classes import ClassTable, LabelClass
from owlabel_training.core.data import Frames

ROOT = Path(__file__).parents[4]


@pytest.fixture
def frames() -> Frames:
    table = ClassTable(tuple(LabelClass(i, n, (i, 0, 0)) for i, n in enumerate("abc")))
    label = np.full((32, 40), 255, np.uint8)
    label[:10], label[10:20], label[20:30] = 0, 1, 2
    return Frames(("f",), (np.zeros((32, 40, 3), np.uint8),), (label,), table)


@pytest.fixture
def setting() -> Setting:
    lookup = np.full(256, 255, np.uint8)
    lookup[[0, 2, 1]] = 0, 1, 2  # b is novel
    return Setting("2+1", ("a", "c"), ("b",), lookup, {})


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("seen", "unseen"):
        Image.fromarray(np.full((60, 60, 3), 200, np.uint8)).save(tmp_path / f"images/{name}.png")
        mask = np.zeros((60, 60), np.uint8)
        mask[10:50, 10:50] = 1
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    (tmp_path / "train.txt").write_text("seen\n")
    return tmp_path


def write_split(folder: Path, test: list[str]) -> Path:
    path = folder / "split.json"
    path.write_text(json.dumps({"training": ["seen"], "test": test}))
    return path


def test_held_out_classes_are_ood(frames: Frames, setting: Setting) -> None:
    ((_, truth),) = ood_scores.held_out(frames, setting)
    assert [int(truth[row, 0]) for row in (0, 10, 20, 31)] == [0, 1, 0, 255]


def test_pasting_is_the_same_for_a_seed_and_leaves_novel_classes_void(
    frames: Frames, setting: Setting, proxy: Path
) -> None:
    objects = ood_scores.unseen_objects(proxy, write_split(proxy, ["unseen"]))
    image, truth = next(ood_scores.pasted(frames, setting, objects, 0))
    again, same = next(ood_scores.pasted(frames, setting, objects, 0))
    np.testing.assert_array_equal(truth, same)
    np.testing.assert_array_equal(image, again)
    assert (image[truth == 1] > 0).all()
    assert (truth == 1).any()
    rest = truth != 1
    assert set(truth[10:20][rest[10:20]].tolist()) == {255}
    other = next(ood_scores.pasted(frames, setting, objects, 1))[1]
    assert (other != truth).any()


def test_objects_of_the_training_list_are_refused(proxy: Path) -> None:
    with pytest.raises(ValueError, match="training list"):
        ood_scores.unseen_objects(proxy, write_split(proxy, ["seen", "unseen"]))
    with pytest.raises(ValueError, match="cannot read the split"):
        ood_scores.unseen_objects(proxy, proxy / "nothing.json")


def test_the_committed_split_holds_94_pictures_once() -> None:
    parts = json.loads((ROOT / "training/recipes" / ood_scores.SPLIT).read_text())
    names = parts["training"] + parts["test"]
    assert len(names) == len(set(names)) == 94


def test_the_page_marks_the_best_of_each_column() -> None:
    seeds: list[Any] = [
        {"msp": {"auroc": a, "ap": 0.1, "fpr95": 0.5}, "energy": {"auroc": 0.7, "ap": 0.2,
         "fpr95": 0.6}} for a in (0.8, 0.9)
    ]  # fmt: skip
    row = dict.fromkeys(ood_scores.PARTS, seeds[0]) | {"pasted": ood_scores.spread(seeds)}
    page = ood_scores.page(
        {
            "command": "x",
            "note": "note",
            "results": {
                "frames": {"test": 1, "road_anomaly21": 2, "road_obstacle21": 3},
                "pasted_objects": 4,
                "scores": {"2+1": {"metric": row}},
            },
        }
    )
    assert "| energy | 70.0 / **20.0** / 60.0 |" in page
    assert "**85.0 ± 5.0** / 10.0 ± 0.0 / **50.0 ± 0.0** |" in page


def test_models_are_named_by_setting() -> None:
    with pytest.raises(ValueError, match="SETTING=FILE"):
        ood_scores._named("model.safetensors")
