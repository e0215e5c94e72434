from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from experiments.methods import weak_shot, weak_shot_lists, weak_shot_sample
from experiments.methods.cam_baseline import CamMaps, CamNet, cam_classes, cam_maps
from owlabel.classes import VOID, ClassTable, LabelClass
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save
from owlabel_training.weak_shot import job as weak_shot_jobs

RECIPES = Path(__file__).parents[4] / "training" / "recipes"
QUICK = (
    "data.novel=['box']", "data.left_out=[]", "data.train='train.txt'", "model.channels=32",
    "model.queries=9", "model.layers=1", "model.feedforward=32", "model.short_side=64",
    "weak_shot.crop=[64, 96]", "weak_shot.points=8",
)  # fmt: skip


@pytest.fixture
def weak(data: Path, segmenter: Segmenter) -> Path:
    torch.set_num_threads(1)
    tags = {f"scene_{i:02d}": ["sky", "box"] if i % 2 else ["sky"] for i in range(12)}
    (data / "tags.json").write_text(json.dumps({"tags": tags}))
    table = ClassTable((LabelClass(0, "sky", (0, 0, 9)), LabelClass(1, "road", (9, 9, 9))))
    save(segmenter, data / "base.safetensors", name="base", classes=table)
    return data


def run(data: Path, *words: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(weak_shot.main)
    given = [
        "--data", str(data), "--split", "sample", "--base", str(data / "base.safetensors"),
        "--test", "val.txt", "--recipes", str(RECIPES), "--out", str(data / "out.json"),
    ]  # fmt: skip
    for change in QUICK:
        given += ["--set", change]
    done = CliRunner().invoke(app, [*given, *words])
    return done.exit_code, done.output


def test_every_variant_is_trained_and_measured(weak: Path) -> None:
    code, text = run(weak, "--seed", "3", "--iterations", "2")
    assert code == 0, text
    results = json.loads((weak / "out.json").read_text())["results"]
    assert set(results["variants"]) == set(weak_shot.VARIANTS)
    assert (results["novel"], results["iterations"]) == (["box"], 2)
    for row in results["variants"].values():
        assert 0 <= row["novel_miou"] <= 1
        assert set(row["seeds"]) == {"3"}


def test_pieces_are_put_together() -> None:
    def piece(variant: str, seed: str, value: float, steps: int = 2) -> dict[str, object]:
        row = {"novel_miou": value, "spread": 0.0, "seeds": {seed: {"novel_miou": value}}}
        return {"novel": ["box"], "iterations": steps, "variants": {variant: row}}

    first = piece("basic", "0", 0.25)
    whole = weak_shot.together([first, {}, piece("basic", "1", 0.5), piece("cam", "0", 1)])
    assert {name: sorted(row["seeds"]) for name, row in whole["variants"].items()} == {
        "basic": ["0", "1"],
        "cam": ["0"],
    }
    assert first == piece("basic", "0", 0.25)
    with pytest.raises(ValueError, match="another experiment"):
        weak_shot.together([first, piece("basic", "1", 0.5, steps=3)])


def test_what_is_there_is_kept_and_another_experiment_is_refused(weak: Path) -> None:
    assert run(weak, "--variants", "basic", "--seed", "3", "--iterations", "2")[0] == 0
    code, text = run(weak, "--variants", "basic,cross", "--seed", "3", "--iterations", "2")
    assert code == 0, text
    assert '"variant": "cross"' in text
    assert '"variant": "basic"' not in text
    results = json.loads((weak / "out.json").read_text())["results"]
    assert list(results["variants"]) == ["basic", "cross"]
    code, text = run(weak, "--variants", "basic", "--seed", "3", "--iterations", "3")
    assert code == 2
    assert "another experiment" in " ".join(text.split())


def test_bad_words_are_one_line(weak: Path) -> None:
    for words, reason in (
        (("--variants", "magic"), "unknown variants ['magic']"),
        (("--split", "10+1"), "--split must be one of"),
        (("--test", "none.txt"), "cannot read the list"),
    ):
        code, text = run(weak, *words)
        assert code == 2
        assert reason in " ".join(text.split())
        assert "Traceback" not in text


def test_activation_maps_are_0_where_a_class_is_not_seen(segmenter: Segmenter) -> None:
    net = CamNet(segmenter, 2).eval()
    torch.nn.init.zeros_(net.classes.weight)
    with torch.no_grad():
        net.classes.bias.copy_(torch.tensor([3.0, -3.0]))
    maps = cam_maps(net, np.zeros((72, 96, 3), np.uint8), 64).maps
    assert maps.shape == (2, 72, 96)
    assert (maps[0] == 1).all()
    assert (maps[1] == 0).all()


def test_a_class_is_told_above_the_threshold_only() -> None:
    maps = CamMaps(np.array([[[0.9, 0.2, 0.4]], [[0.1, 0.1, 0.6]]], np.float32))
    assert cam_classes(maps, 0.3, 5).tolist() == [[5, VOID, 6]]
    assert cam_classes(maps, 0.7, 5).tolist() == [[5, VOID, VOID]]


def test_the_sample_runs_as_a_user_would(weak: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weak_shot_jobs, "SIDE", 64)
    for name, value in (("channels", 32), ("layers", 1), ("feedforward", 32)):
        monkeypatch.setitem(weak_shot_jobs.SMALL_MODEL, name, value)
    for path in sorted((weak / "labels").iterdir())[:6]:  # no box there
        label = np.array(Image.open(path))
        label[label == 2] = 1
        Image.fromarray(label).save(path)
    app = typer.Typer()
    app.command()(weak_shot_sample.main)
    words = [
        "--data", str(weak), "--test", str(weak), "--start", str(weak / "base.safetensors"),
        "--novel", "box", "--iterations", "2", "--labelled", "half",
        "--out", str(weak / "s.json"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    results = json.loads((weak / "s.json").read_text())["results"]
    assert results["tags"] == {"box": 6}
    assert set(results["iou"]) == set(results["complement"]) == {"box"}
    assert results["complement"]["box"] < 0.5, "in every other picture nothing is labelled"
    assert set(results["unlabelled"]) == {"box"}
    assert set(results["alone"]) == set(results["unseen_tagged"]) == {"box"}
    assert set(results["unseen"]["iou"]) == {"sky", "road", "box"}


def test_lists_and_tags_of_a_folder(weak: Path) -> None:
    app = typer.Typer()
    app.command()(weak_shot_lists.main)
    done = CliRunner().invoke(app, [str(weak), "--val", "2", "--test", "3"])
    assert done.exit_code == 0, done.output
    assert (weak / "test.txt").read_text().split() == ["scene_09", "scene_10", "scene_11"]
    tags = json.loads((weak / "tags.json").read_text())["tags"]
    assert tags["scene_00"] == ["sky", "road", "box"]
    assert CliRunner().invoke(app, [str(weak), "--test", "30"]).exit_code == 2
