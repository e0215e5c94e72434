from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from owlabel.checkpoints.header import CheckpointError
from owlabel.classes import ClassTable, LabelClass
from owlabel.jobs.job import run_to_end
from owlabel.models.mask.weights import load_mask_former
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import save
from owlabel_training.core.steps import Every, run_steps
from owlabel_training.main import app
from owlabel_training.weak_shot.loop import Learner, train_weak_shot
from owlabel_training.weak_shot.recipe import (
    MaskModelRecipe,
    WeakDataRecipe,
    WeakShotRecipe,
    WeakShotSettings,
)
from owlabel_training.weak_shot.run import (
    WeakShotTraining,
    new_model,
    read_training_frames,
    supervised,
)
from owlabel_training.weak_shot.sampler import PairBatch, PairSampler

MODEL = MaskModelRecipe(
    channels=32, queries=6, layers=2, heads=4, feedforward=32, architecture="mobilenet_v3_small"
)
QUICK = WeakShotSettings(
    iterations=4, crop=(64, 96), points=8, freeze=0.25, dist_after=0.0, lr=1e-3
)
RECIPE = WeakShotRecipe(
    name="weak", model=MODEL, weak_shot=QUICK,
    data=WeakDataRecipe(novel=("box", "ball"), tags="tags.json", val="val.txt"),
)  # fmt: skip
SMALL = Path(__file__).parents[4] / "training" / "recipes"


@pytest.fixture
def weak(data: Path) -> Path:
    """The small scenes; a part of each box is a ball: two novel classes in every picture."""
    torch.set_num_threads(1)
    table = json.loads((data / "classes.json").read_text())
    table["classes"].append({"id": 3, "name": "ball", "color": [1, 2, 3]})
    (data / "classes.json").write_text(json.dumps(table))
    tags = {}
    for path in sorted((data / "labels").iterdir()):
        label = np.array(Image.open(path))
        rows, columns = np.nonzero(label == 2)
        label[rows.min() : rows.min() + 8, columns.min() : columns.min() + 8] = 3
        Image.fromarray(label).save(path)
        tags[path.stem] = ["box", "ball"]
    (data / "tags.json").write_text(json.dumps({"tags": tags}))
    return data


def steps(folder: Path, recipe: WeakShotRecipe = RECIPE) -> list[dict[str, float]]:
    """The losses of the first steps of a run on a folder."""
    frames = read_training_frames(recipe, folder)
    learner = Learner(new_model(recipe.model, None, frames, 0), frames.n_base, recipe.weak_shot)
    batch = PairSampler(frames, recipe.weak_shot).batch
    rows: list[dict[str, float]] = []

    def learn(pairs: PairBatch) -> dict[str, float]:
        rows.append(learner.learn(pairs))
        return rows[-1]

    for _ in itertools.islice(run_steps(learn, batch, learner.state, Every()), 3):
        pass
    return rows


@pytest.mark.parametrize("change", ["hidden", "swapped", "moved"])
@pytest.mark.parametrize("similarity", ["cross", "self"])
def test_no_novel_mask_leaks_into_any_loss(weak: Path, change: str, similarity: str) -> None:
    settings = QUICK.replace(similarity=similarity)
    recipe = RECIPE.replace(weak_shot=settings)
    before = steps(weak, recipe)
    assert all(row["comp"] > 0 and row["sim"] != 0 and row["dist"] != 0 for row in before)
    rng = np.random.default_rng(0)
    for path in sorted((weak / "labels").iterdir()):
        label = np.array(Image.open(path))
        novel = np.isin(label, (2, 3))
        if change == "hidden":
            label[novel] = 255
        elif change == "swapped":
            label[novel] = 5 - label[novel]
        else:
            label[novel] = rng.choice([2, 3, 255], int(novel.sum()))
        Image.fromarray(label).save(path)
    assert steps(weak, recipe) == before, "bit for bit"


def test_tags_are_the_channel(weak: Path) -> None:
    before = steps(weak)
    tags = {f"scene_{i:02d}": ["box"] for i in range(12)}
    tags["scene_00"].append("ball")
    (weak / "tags.json").write_text(json.dumps({"tags": tags}))
    assert steps(weak) != before


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({"comp_weight": 0.0}, "comp"), ({"similarity": "none"}, "sim"), ({"dist_weight": 0.0}, "")],
)
def test_each_loss_can_be_left_out(weak: Path, changes: dict[str, float], missing: str) -> None:
    settings = QUICK.replace(**changes)  # type: ignore[arg-type]
    row = steps(weak, RECIPE.replace(weak_shot=settings))[0]
    assert missing not in row
    if not missing:
        assert row["dist"] == 0


def test_dist_loss_needs_a_shared_tag(weak: Path) -> None:
    tags = {f"scene_{i:02d}": [["box"], ["ball"], []][min(i, 2)] for i in range(12)}
    (weak / "tags.json").write_text(json.dumps({"tags": tags}))
    assert all(row["dist"] == 0 for row in steps(weak))


def test_a_frozen_backbone_gets_no_gradient_and_thaws_later(weak: Path) -> None:
    frames = read_training_frames(RECIPE, weak)
    learner = Learner(new_model(MODEL, None, frames, 0), frames.n_base, QUICK)
    steps = run_steps(learner.learn, PairSampler(frames, QUICK).batch, learner.state, Every())
    before = {k: v.clone() for k, v in learner.model.backbone.state_dict().items()}
    next(steps)
    after = learner.model.backbone.state_dict()
    assert all(before[k].equal(v) for k, v in after.items())
    next(steps)
    assert not all(before[k].equal(v) for k, v in learner.model.backbone.state_dict().items())
    running = [k for k in before if "running" in k]
    assert all(before[k].equal(learner.model.backbone.state_dict()[k]) for k in running)


def test_a_run_goes_on_where_it_stopped(
    weak: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owlabel_training.core.steps.SAVE_EVERY_S", 0.0)
    frames = read_training_frames(RECIPE, weak)
    whole, parts = new_model(MODEL, None, frames, 0), new_model(MODEL, None, frames, 0)
    run_to_end(train_weak_shot(whole, frames, QUICK, tmp_path / "whole"))
    stopped = train_weak_shot(parts, frames, QUICK, tmp_path / "parts")
    assert [next(stopped).done for _ in range(2)] == [1, 2]
    stopped.close()
    again = new_model(MODEL, None, frames, 5)
    progress = list(train_weak_shot(again, frames, QUICK, tmp_path / "parts"))
    assert [p.done for p in progress] == [3, 4]
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value)


def test_a_state_of_another_run_is_refused_in_one_line(weak: Path, tmp_path: Path) -> None:
    frames = read_training_frames(RECIPE, weak)
    learner = Learner(new_model(MODEL, None, frames, 0), frames.n_base, QUICK, tmp_path)
    learner.state.save()
    other = new_model(MODEL.replace(queries=7), None, frames, 0)
    with pytest.raises(ValueError, match="state of another run"):
        run_to_end(train_weak_shot(other, frames, QUICK, tmp_path))


def test_a_whole_run_writes_model_pseudo_labels_and_the_retrained_model(
    weak: Path, segmenter: Segmenter, tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    table = ClassTable((LabelClass(0, "sky", (0, 0, 9)), LabelClass(1, "road", (9, 9, 9))))
    save(segmenter, base, name="base", classes=table)
    recipe = RECIPE.replace(weak_shot=QUICK.replace(retrain=2))
    result = run_to_end(WeakShotTraining(recipe, base, weak, tmp_path / "out").run())
    assert len(result["lacking"]) == 4
    assert set(result["iou"]) == {"sky", "road", "box", "ball"}
    assert "novel_miou" in result["retrained"]
    model, header = load_mask_former(result["checkpoint"])
    assert [c.name for c in header.classes.classes if c.novel] == ["box", "ball"]
    assert model.settings.queries == 6
    pseudo = np.array(Image.open(tmp_path / "out" / "pseudo" / "scene_03.png"))
    truth = np.array(Image.open(weak / "labels" / "scene_03.png"))
    assert (pseudo[truth < 2] == truth[truth < 2]).all()
    assert set(np.unique(pseudo)) <= {0, 1, 2, 3, 255}
    with pytest.raises(CheckpointError, match="is not a MaskFormer"):
        load_mask_former(base)


def test_retraining_has_neither_comp_loss_nor_pairs() -> None:
    plain = supervised(QUICK.replace(retrain=7))
    assert (plain.comp_weight, plain.similarity, plain.iterations) == (0.0, "none", 7)


def test_too_few_proposals_are_refused(weak: Path) -> None:
    frames = read_training_frames(RECIPE, weak)
    with pytest.raises(ValueError, match="at least the 4 classes"):
        new_model(MODEL.replace(queries=3), None, frames, 0)


QUICK_WORDS = (
    "base.checkpoint=''", "data.novel=['box']", "data.left_out=['ball']", "data.train='train.txt'",
    "model.channels=32", "model.queries=6", "model.layers=1", "model.feedforward=32",
    "weak_shot.iterations=2", "weak_shot.crop=[64, 96]", "weak_shot.points=8",
)  # fmt: skip


def command(data: Path, out: Path, *changes: str) -> tuple[int, str]:
    words = [str(SMALL / "sample_weak_shot.toml"), "--data", str(data), "--out", str(out)]
    for change in (*QUICK_WORDS, *changes):
        words += ["--set", change]
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


def test_the_command_trains_and_says_which_class_lacks_what(weak: Path, tmp_path: Path) -> None:
    code, text = command(weak, tmp_path)
    assert code == 0, text
    assert "box: 10 tagged images, at least 20 are advised" in text
    assert (tmp_path / "sample_weak_shot" / "sample_weak_shot.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("data.novel=['tree']", "['tree'] are not in"),
        ("data.novel=[]", "data: novel must name"),
        ("data.tags='none.json'", "cannot read the tags"),
        ("model.queries=2", "model.queries"),
        ("weak_shot.similarity='some'", "weak_shot: similarity must be one of cross, self, none"),
        ("weak_shot.lr=0", "weak_shot: lr must be"),
        ("base.checkpoint='none.safetensors'", "none.safetensors"),
        ("model.architecture='vgg'", "unknown architecture 'vgg'"),
    ],
)
def test_bad_input_is_one_line(weak: Path, tmp_path: Path, change: str, reason: str) -> None:
    code, text = command(weak, tmp_path, change)
    assert code == 2
    assert reason in " ".join(text.split())
    assert "Traceback" not in text
