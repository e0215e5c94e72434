from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from owlabel.checkpoints.header import KEY, CheckpointError, read_header
from owlabel.classes import ClassTable, LabelClass
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save


def with_deer(classes: ClassTable) -> ClassTable:
    return ClassTable((*classes.classes, LabelClass(3, "deer", (1, 2, 3), novel=True)))


@torch.no_grad()
def test_a_model_comes_back_as_it_was(
    segmenter: Segmenter, classes: ClassTable, images: Tensor, tmp_path: Path
) -> None:
    segmenter.add_head(3)
    segmenter.max_side = 640
    named = with_deer(classes)
    header = save(segmenter, tmp_path / "a.safetensors", name="a", classes=named, recipe={"x": 1})
    again, read = load(tmp_path / "a.safetensors")
    assert read == header == read_header(tmp_path / "a.safetensors")
    assert (read.max_side, read.recipe, read.classes) == (640, {"x": 1}, named)
    assert [h.class_id for h in read.heads] == [None, 3]
    features = again.features(images)
    for index in (0, 1):
        expected = segmenter.embed(segmenter.features(images), index)
        torch.testing.assert_close(again.embed(features, index), expected)


@torch.no_grad()
def test_half_storage_halves_the_file_and_hardly_moves_the_embedding(
    segmenter: Segmenter, classes: ClassTable, images: Tensor, tmp_path: Path
) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save(segmenter, full, name="a", classes=classes)
    save(segmenter, half, name="a", classes=classes, half=True)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    again = load(half)[0]
    assert next(again.parameters()).dtype == torch.float32
    torch.testing.assert_close(again(images), segmenter(images), atol=5e-3, rtol=0.1)


def test_a_new_head_keeps_the_hash_of_the_base(
    segmenter: Segmenter, classes: ClassTable, tmp_path: Path
) -> None:
    first = save(segmenter, tmp_path / "a.safetensors", name="a", classes=classes, half=True)
    loaded = load(tmp_path / "a.safetensors")[0]
    loaded.add_head(3)
    named = with_deer(classes)
    second = save(loaded, tmp_path / "b.safetensors", name="b", classes=named)
    assert second.heads[0] == first.heads[0]
    assert second.heads[1].hash != second.heads[0].hash


def test_the_hash_follows_weights_and_preprocessing(
    segmenter: Segmenter, classes: ClassTable, tmp_path: Path
) -> None:
    def digest() -> str:
        path = tmp_path / "a.safetensors"
        return save(segmenter, path, name="a", classes=classes).heads[0].hash

    hashes = [digest()]
    segmenter.max_side = 512
    hashes.append(digest())
    with torch.no_grad():
        next(segmenter.backbone.parameters()).mul_(1.001)
    hashes.append(digest())
    assert len(set(hashes)) == 3


def test_classes_must_fit_the_heads(segmenter: Segmenter, tmp_path: Path) -> None:

    wrong = ClassTable((LabelClass(0, "a", (0, 0, 0)), LabelClass(1, "b", (0, 0, 0))))
    with pytest.raises(CheckpointError, match="must have 2 outputs, got 3"):
        save(segmenter, tmp_path / "a.safetensors", name="a", classes=wrong)
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit_are_refused_by_name(
    segmenter: Segmenter, classes: ClassTable, tmp_path: Path
) -> None:
    header = save(segmenter, tmp_path / "a.safetensors", name="a", classes=classes)
    other = replace(header, architecture="resnet18")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors", {KEY: other.to_json()})
    with pytest.raises(CheckpointError, match=r"b\.safetensors: the weights do not fit"):
        load(tmp_path / "b.safetensors")


def test_a_file_that_was_cut_off_is_refused(
    segmenter: Segmenter, classes: ClassTable, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save(segmenter, path, name="a", classes=classes)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load(path)


def test_a_newer_format_is_refused_in_words(
    segmenter: Segmenter, classes: ClassTable, tmp_path: Path
) -> None:
    header = save(segmenter, tmp_path / "a.safetensors", name="a", classes=classes)
    values = json.loads(header.to_json()) | {"format": 99}
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors", {KEY: json.dumps(values)})
    with pytest.raises(CheckpointError, match="newer OWLabel"):
        read_header(tmp_path / "b.safetensors")
