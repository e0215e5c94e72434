from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from owlabel.checkpoints.header import read_header
from owlabel.checkpoints.residual_header import read_residual_header
from owlabel.classes import ClassTable, LabelClass
from owlabel.jobs.job import run_to_end
from owlabel.models.residual_block import load_block
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel.ood import logit_scores as scores
from owlabel_training.core.base_loop import predict
from owlabel_training.core.data import read_frames
from owlabel_training.core.recipe import DataRecipe
from owlabel_training.ood.loop import MiouFellError
from owlabel_training.ood.measures import base_score
from owlabel_training.ood.recipe import (
    EntropyRecipe,
    OodRecipe,
    ProxyRecipe,
    ResidualRecipe,
)
from owlabel_training.ood.residual_training import fingerprint
from owlabel_training.ood.run import OodTraining

SETTINGS = {"width": 16, "low_width": 8, "rates": [1, 2, 3], "dropout": 0.1}
NAMES = ("sky", "road", "box")
TINY: dict[str, Any] = {
    "epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "crop": (64, 64), "max_miou_drop": 1.0,
}  # fmt: skip
METHODS = ("entropy", "rpl", "rpl_corocl")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base model of three classes with random weights, and a head of a novel class."""
    torch.manual_seed(0)
    segmenter = Segmenter("mobilenet_v3_small", SETTINGS, 3)
    with torch.no_grad():  # statistics of pictures, so that random features differ at all
        for _ in range(20):
            segmenter(torch.rand(2, 3, 1, 1) * torch.rand(2, 3, 64, 64))
    segmenter.eval().add_head(5)
    rows = [LabelClass(i, name, (i, i, i)) for i, name in enumerate(NAMES)]
    table = ClassTable((*rows, LabelClass(5, "deer", (9, 9, 9), novel=True)))
    save(segmenter, tmp_path / "base.safetensors", name="base", classes=table)
    return tmp_path / "base.safetensors"


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    folder = tmp_path / "proxy"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(16):
        image = rng.integers(0, 255, (80, 90, 3)).astype(np.uint8)
        mask = np.zeros((80, 90), np.uint8)
        mask[20:60, 20:60] = 1
        image[mask == 1] = (20, 240, 20)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return folder


def recipe(method: str, proxy: Path, **changes: Any) -> OodRecipe:
    values = {**TINY, **changes}
    entropy = EntropyRecipe(**{"lr": 1e-3, **values}) if method == "entropy" else None
    residual = (
        None
        if method == "entropy"
        else ResidualRecipe(
            **{"lr": 1e-3, "samples": 16, "corocl": method == "rpl_corocl", **values}
        )
    )
    return OodRecipe(
        name="tiny", proxy=ProxyRecipe(path=str(proxy)), entropy=entropy, residual=residual
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_and_tells_before_and_after(
    method: str, base: Path, data: Path, proxy: Path, tmp_path: Path
) -> None:
    seen: list[dict[str, float]] = []
    result = run_to_end(
        OodTraining(recipe(method, proxy), base, data, tmp_path / "run").run(),
        lambda p: seen.append(dict(p.metrics)),
    )
    assert set(result["comparison"]["after"]) == {"closed-set mIoU", "AP", "AUROC", "FPR95"}
    assert [row["epoch"] for row in result["course"]] == [0, 1, 2]
    assert sum("ap" in row for row in seen) == 3
    assert sum("loss" in row for row in seen) == 4


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_in_sixteen_bits_too(
    method: str, base: Path, data: Path, proxy: Path, tmp_path: Path
) -> None:
    chosen = recipe(method, proxy, precision="bf16-mixed", epochs=1, steps_per_epoch=1)
    result = run_to_end(OodTraining(chosen, base, data, tmp_path / "run").run())
    assert result["best_epoch"] == 1


@pytest.mark.parametrize("method", ["rpl", "rpl_corocl"])
def test_rpl_leaves_the_class_map_alone_bit_for_bit(
    method: str, base: Path, data: Path, proxy: Path, tmp_path: Path
) -> None:
    frames = read_frames(data, ["scene_10", "scene_11"])
    file_before = hashlib.sha256(base.read_bytes()).hexdigest()
    segmenter = load(base)[0]
    hash_before = fingerprint(segmenter)
    before = [predict(segmenter, image) for image in frames.images]
    grids = [base_score(segmenter, "max_logit")(image) for image in frames.images]
    result = run_to_end(OodTraining(recipe(method, proxy), base, data, tmp_path / "run").run())
    again, header = load(base)
    block, about = load_block(result["checkpoint"], header.heads[0].hash)
    assert any(parameter.abs().sum() > 0 for parameter in block.residual.parameters())
    assert hashlib.sha256(base.read_bytes()).hexdigest() == file_before
    assert fingerprint(again) == hash_before
    for image, old, grid in zip(frames.images, before, grids, strict=True):
        assert predict(again, image).equal(old)
        np.testing.assert_array_equal(base_score(again, "max_logit")(image), grid)
    assert about.recipe["base_hash"] == header.heads[0].hash == about.base_hash
    mious = {row["miou"] for row in result["course"]}
    assert len(mious) == 1


def test_entropy_training_makes_a_new_base_without_heads_of_another_backbone(
    base: Path, data: Path, proxy: Path, tmp_path: Path
) -> None:
    result = run_to_end(OodTraining(recipe("entropy", proxy), base, data, tmp_path / "run").run())
    old, new = read_header(base), read_header(result["checkpoint"])
    assert new.heads[0].hash != old.heads[0].hash
    assert [h.class_id for h in new.heads] == [None]
    assert [c.name for c in new.classes.classes] == list(NAMES)
    assert new.recipe["entropy_maximisation"]["entropy"]["lambda_ood"] == 0.9
    assert str(tmp_path) not in str(new.recipe)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_run_that_was_killed_ends_like_one_that_was_not(
    method: str, stop_at: int, base: Path, data: Path, proxy: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("owlabel_training.core.steps.SAVE_EVERY_S", 0.0)
    chosen = recipe(method, proxy)
    whole = run_to_end(OodTraining(chosen, base, data, tmp_path / "whole").run())
    steps = OodTraining(chosen, base, data, tmp_path / "killed").run()
    for progress in steps:
        if progress.done == stop_at and "loss" in progress.metrics:
            break
    steps.close()
    seen: list[int] = []
    resumed = run_to_end(
        OodTraining(chosen, base, data, tmp_path / "killed").run(), lambda p: seen.append(p.done)
    )
    assert seen == list(range(stop_at + 1, 5))
    assert resumed["course"] == whole["course"]
    one, two = (Path(r["checkpoint"]) for r in (whole, resumed))
    if method == "entropy":
        assert read_header(one).heads[0].hash == read_header(two).heads[0].hash
    else:
        assert read_residual_header(one).hash == read_residual_header(two).hash


def test_a_model_that_forgot_its_classes_is_not_installed(
    base: Path, data: Path, proxy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mious = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(
        "owlabel_training.ood.entropy_maximisation.miou", lambda *_: (next(mious), None)
    )
    chosen = recipe("entropy", proxy, max_miou_drop=0.02)
    with pytest.raises(MiouFellError, match=r"fell from 90.0 to 40.0 %, more than 2 points"):
        run_to_end(OodTraining(chosen, base, data, tmp_path / "run").run())
    assert not (tmp_path / "run" / "tiny.safetensors").exists()


def test_it_stops_when_nothing_gets_better(
    base: Path, data: Path, proxy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "owlabel_training.ood.residual_training.measure_ood",
        lambda *_: {"ap": 0.5, "auroc": 0.5, "fpr95": 0.5},
    )
    chosen = recipe("rpl", proxy, epochs=9, steps_per_epoch=1, patience=2)
    result = run_to_end(OodTraining(chosen, base, data, tmp_path / "run").run())
    assert [row["epoch"] for row in result["course"]] == [0, 1, 2, 3]
    assert result["best_epoch"] == 1


def test_what_does_not_fit_is_refused_before_the_first_step(
    base: Path, data: Path, proxy: Path, tmp_path: Path
) -> None:
    other = recipe("rpl", proxy).replace(data=DataRecipe(left_out=("box",)))
    with pytest.raises(ValueError, match="the base model knows"):
        next(OodTraining(other, base, data, tmp_path / "run").run())
    missing = recipe("rpl", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no proxy folder"):
        next(OodTraining(missing, base, data, tmp_path / "run").run())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_entropy_rises_on_the_object_and_nowhere_else(
    data: Path, proxy: Path, tmp_path: Path
) -> None:
    from owlabel_training.ood.data import ood_data, paste
    from owlabel_training.ood.entropy_maximisation import EntropyMaximisation
    from owlabel_training.ood.proxies import read_proxies

    torch.manual_seed(0)
    frames = read_frames(data, ["scene_00"])
    chosen = ProxyRecipe(path=str(proxy), scales=(0.7,))
    together = ood_data((frames, frames), read_proxies(chosen, 2048), chosen)
    segmenter = Segmenter("mobilenet_v3_small", {**SETTINGS, "dropout": 0.0}, 3)
    course = EntropyRecipe(lr=4e-3, batch_size=2, crop=(72, 96), lambda_ood=0.5,
                           averaging="separate", freeze_statistics=False)  # fmt: skip
    method = EntropyMaximisation(segmenter, together, chosen, course)
    rng = np.random.default_rng(0)
    image, label = paste(frames.images[0], frames.labels[0], together.objects, rng, (0.7,))
    images = torch.from_numpy(np.stack([image, image])).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(np.stack([label, label])).long()
    method.recipe = course.replace(batch_size=4)  # let the statistics move
    on_grid = label[2::4, 2::4]
    for _ in range(10):
        for _ in range(20):
            method.optimiser.zero_grad()
            method.loss((images, labels)).backward()
            method.optimiser.step()
        with torch.no_grad():  # still in training mode: the batch's statistics are the picture's
            entropy = scores.entropy(segmenter(images)[0].numpy() * 6)
        ood, known = entropy[on_grid == 254].mean(), entropy[on_grid < 3].mean()
        if ood > 0.9 and known < 0.3:
            break
    assert ood > 0.9
    assert known < 0.3


@pytest.mark.slow
def test_rpl_learns_to_tell_pasted_objects(
    base: Path, data: Path, proxy: Path, tmp_path: Path
) -> None:
    chosen = recipe("rpl", proxy, epochs=3, steps_per_epoch=30, batch_size=4, lr=3e-3)
    result = run_to_end(OodTraining(chosen, base, data, tmp_path / "run").run())
    before, after = (result["comparison"][key]["AP"] for key in ("before", "after"))
    assert after > 2 * before  # the frozen features are random
