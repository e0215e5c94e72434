from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from owlabel.cli import app
from owlabel.view.open_project import find_checkpoint

run = CliRunner().invoke


@pytest.fixture
def data(tmp_path: Path, picture, mask) -> Path:
    """Two pictures with masks, and score maps that are right."""
    (tmp_path / "maps").mkdir()
    for name in ("a", "b"):
        picture(f"images/{name}.png", (64, 96))
        path = mask(f"masks/{name}.png", [1] * 500, (64, 96), rest=0)
        np.save(tmp_path / "maps" / f"{name}.npy", np.asarray(Image.open(path), np.float32) / 2)
    return tmp_path


def test_score_maps_of_a_folder(data: Path) -> None:
    out = data / "out"
    done = run(app, ["evaluate", str(data), str(out), "--maps", str(data / "maps")])
    assert done.exit_code == 0, done.output
    content = json.loads((out / "evaluation.json").read_text())
    assert content["scores"][0]["pooled"]["ap"] == 1
    assert content["command"].startswith("owlabel ")
    assert (out / "report.html").is_file()
    again = run(app, ["evaluate", str(data), str(out), "--maps", str(data / "maps")])
    assert again.exit_code == 1
    assert "exists" in again.output


def test_the_threshold_of_another_split(data: Path) -> None:
    maps = ["--maps", str(data / "maps")]
    assert run(app, ["evaluate", str(data), str(data / "one"), *maps]).exit_code == 0
    other = ["--calibration", str(data / "one" / "evaluation.json")]
    assert run(app, ["evaluate", str(data), str(data / "two"), *maps, *other]).exit_code == 0
    row = json.loads((data / "two" / "evaluation.json").read_text())["scores"][0]
    assert (row["open_threshold"], row["open_threshold_from_other_data"]) == (0.5, True)


def residual_block(path: Path) -> Path:
    """Write a block with random weights for the sample model."""
    from owlabel.models.residual_block import block_for, save_block
    from owlabel.models.weights import load

    segmenter, header = load(find_checkpoint("sample"))
    save_block(block_for(segmenter), path, name="block", base_hash=header.heads[0].hash)
    return path


def test_a_model_is_run_in_a_process_of_its_own(data: Path) -> None:
    out = data / "out"
    names = ["entropy", "sml", "rpl_energy"]
    block = residual_block(data / "block.safetensors")
    arguments = ["--model", "sample", "--residual", str(block)]
    arguments += [word for name in names for word in ("--score", name)]
    done = run(app, ["evaluate", str(data), str(out), *arguments])
    assert done.exit_code == 0, done.output
    scores = json.loads((out / "evaluation.json").read_text())["scores"]
    assert [row["score"] for row in scores] == names
    assert scores[0]["pooled"]["positives"] == 1000


def test_masks_without_ood_say_what_to_name(data: Path, mask) -> None:
    for name in ("a", "b"):
        mask(f"masks/{name}.png", [], (64, 96), rest=0)
    done = run(app, ["evaluate", str(data), str(data / "out"), "--maps", str(data / "maps")])
    assert done.exit_code == 0, done.output
    assert "--held-out" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a model (--model) or a folder"),
        (["--maps", "nowhere"], "contains neither a.npy"),
        (["--model", "nowhere.safetensors"], "no model file"),
        (["--model", "sample", "--score", "beauty"], "unknown score"),
        (["--model", "sample", "--score", "rpl_energy"], "needs a trained residual block"),
        (["--maps", "maps", "--layout", "voc"], "layout must be one of"),
        (["--maps", "maps", "--fpr95", "last"], "first or closest"),
        (["--maps", "maps", "--calibration", "masks/a.png"], "not an evaluation.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(data: Path, arguments: list[str], words: str) -> None:
    given = [str(data / a) if a in ("maps", "masks/a.png") else a for a in arguments]
    done = run(app, ["evaluate", str(data), str(data / "out"), *given])
    assert done.exit_code == 1
    assert words in " ".join(done.output.split())
    assert not (data / "out").exists()


@pytest.mark.parametrize("held_out", ["sky", "road", "car"])
def test_class_maps_keep_the_order_of_all_classes(data: Path, held_out: str) -> None:
    classes = [
        {"id": i, "name": n, "color": [i, i, i]} for i, n in enumerate(("sky", "road", "car"))
    ]
    root, place = data / "street", ("sky", "road", "car").index(held_out)
    labels = np.repeat(np.arange(3, dtype=np.uint8), 10)[:, None].repeat(30, 1)
    for folder in ("images", "labels", "classes", "scores"):
        (root / folder).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(root / "images" / "a.png")
    for folder in ("labels", "classes"):
        Image.fromarray(labels).save(root / folder / "a.png")
    np.save(root / "scores" / "a.npy", (labels == place).astype(np.float32))
    words = ["--maps", str(root / "scores"), "--class-maps", str(root / "classes")]
    words += ["--layout", "classes", "--held-out", held_out]
    done = run(app, ["evaluate", str(root), str(data / "out"), *words])
    assert done.exit_code == 0, done.output
    row = json.loads((data / "out" / "evaluation.json").read_text())["scores"][0]
    assert row["closed_miou"] == 1
