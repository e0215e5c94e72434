from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from owlabel.checkpoints.header import (
    FORMAT,
    KEY,
    CheckpointError,
    CheckpointHeader,
    HeadInfo,
    read_header,
)
from owlabel.classes import ClassTable, LabelClass

CLASSES = ClassTable((LabelClass(0, "road", (1, 2, 3)), LabelClass(1, "sky", (4, 5, 6))))
HEADER = CheckpointHeader(
    FORMAT, "m", "resnet18", {"width": 8}, CLASSES, 3.0, "metric",
    (0.4, 0.4, 0.4), (0.2, 0.2, 0.2), 640, (HeadInfo(None, 2, "0" * 16),),
)  # fmt: skip


def write(path: Path, metadata: dict[str, Any]) -> Path:
    text = json.dumps({"__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


def test_a_header_survives_its_json() -> None:
    assert CheckpointHeader.from_json(HEADER.to_json()) == HEADER


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({}, None),
        ({"model": {"lambda_novel": 0.5}}, 0.5),
        ({"model": {"lambda_novel": -1}}, None),
        ({"model": "x"}, None),
        ({"model": {"lambda_novel": "nan"}}, None),
    ],
)
def test_a_recipe_may_name_the_reach_of_novel_classes(recipe: Any, expected: Any) -> None:
    assert replace(HEADER, recipe=recipe).lambda_novel == expected


def test_reading_a_header_needs_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", {KEY: HEADER.to_json()})
    code = (
        "import sys; from owlabel.checkpoints.header import read_header; "
        f"read_header({str(path)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "magic"}, "kind must be one of"),
        ({"prototype_length": 0.0}, "prototype_length"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be positive"),
        ({"max_side": 3}, "max_side"),
        ({"heads": ()}, "first head must be the base head"),
        ({"heads": (HeadInfo(None, 3, "0"),)}, "must have 2 outputs, got 3"),
        (
            {"heads": (HeadInfo(None, 2, "0"), HeadInfo(9, 3, "1"))},
            "class 9, which is not a novel class",
        ),
        ({"classes": ClassTable((LabelClass(1, "sky", (0, 0, 0)),))}, "base classes must have"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        replace(HEADER, **change)


@pytest.mark.parametrize("missing", ["name", "classes", "heads", "mean"])
def test_a_missing_value_is_named(missing: str) -> None:
    values = json.loads(HEADER.to_json())
    del values[missing]
    with pytest.raises(CheckpointError, match=missing):
        CheckpointHeader.from_json(json.dumps(values))


@pytest.mark.parametrize("content", [b"", b"\x00" * 4, b"PK\x03\x04 a zip file of pickles", b"{}"])
def test_other_files_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a model file"):
        read_header(path)


def test_someone_elses_safetensors_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not an OWLabel model"):
        read_header(write(tmp_path / "x.safetensors", {"format": "pt"}))


def test_bytes_after_the_weights_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"format": "pt"})
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="damaged"):
        read_header(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gone"):
        read_header(tmp_path / "gone.safetensors")
