"""Who may import whom, checked with `ast`; and what must stay true of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "owlabel": ROOT / "owlabel",
    "owlabel_training": ROOT / "training" / "owlabel_training",
    "owlabel_napari": ROOT / "plugins" / "owlabel_napari",
    "owlabel_samples": ROOT / "sample_data" / "owlabel_samples",
}
MAY_IMPORT = {
    "owlabel": set(),
    "owlabel_training": {"owlabel"},
    "owlabel_napari": {"owlabel", "owlabel_samples"},
    "owlabel_samples": set(),
}
TORCH = {"torch", "torchvision", "lightning_fabric", "segmentation_models_pytorch", "timm"}
WINDOW = {
    "napari",
    "qtpy",
    "PyQt5",
    "PyQt6",
    "PySide6",
    "magicgui",
    "superqt",
    "pyqtgraph",
    "vispy",
}
# Inside owlabel: a module may import from its own floor or from floors before it.
FLOORS = [
    {"__init__", "classes"},
    {
        "images",
        "decoding",
        "pixelwise",
        "histogram",
        "cells",
        "grid",
        "checkpoints",
        "residuals",
        "label_blocks",
        "trained",
    },
    {
        "logit_scores",
        "metric_scores",
        "scores",
        "standardised",
        "metrics",
        "regions",
        "fewshot",
        "finds",
        "segments",
        "auxiliary",
    },
    {
        "candidates",
        "calibration",
        "meta",
        "meta_words",
        "project",
        "models",
        "formats",
        "labelling",
        "evaluation",
        "lacking",
    },
    {
        "reading",
        "scoring",
        "sitting",
        "decisions",
        "candidate_queue",
        "corrections",
        "cluster_set",
        "cluster_proposals",
    },
    {"signals", "view"},
    {"jobs"},
    {
        "opening",
        "editing",
        "calibrating",
        "judging",
        "ood_training",
        "tagging",
        "proposing",
        "clustering",
        "pretraining",
        "weak_shot",
    },
    {"session"},
    {"replay"},
    {"commands", "cli"},
]


def files(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_their_friends(package: str) -> None:
    forbidden = set(PACKAGES) - {package} - MAY_IMPORT[package]
    wrong = [
        (path.name, name)
        for path in files(package)
        for name in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert not wrong


def test_torch_is_imported_in_models_and_training_only() -> None:
    wrong = [
        path.relative_to(ROOT).as_posix()
        for package in ("owlabel", "owlabel_napari", "owlabel_samples")
        for path in files(package)
        if "models" not in path.parts and any(n.split(".")[0] in TORCH for n in imports(path))
    ]
    assert not wrong


def test_the_window_toolkit_is_imported_in_the_plugin_only() -> None:
    wrong = [
        path.relative_to(ROOT).as_posix()
        for package in ("owlabel", "owlabel_training", "owlabel_samples")
        for path in files(package)
        if any(n.split(".")[0] in WINDOW for n in imports(path))
    ]
    assert not wrong


def _floor(module: str) -> int:
    part = module.split(".")[1] if "." in module else "__init__"
    for index, floor in enumerate(FLOORS):
        if part in floor:
            return index
    return -1


def test_owlabel_is_built_in_floors() -> None:
    wrong = []
    for path in files("owlabel"):
        here = _floor(
            "owlabel." + path.relative_to(PACKAGES["owlabel"]).parts[0].removesuffix(".py")
        )
        assert here >= 0, f"{path.name} has no floor: add it to FLOORS"
        for name in imports(path):
            if name.startswith("owlabel.") and _floor(name) > here:
                wrong.append((path.name, name))
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_short(package: str) -> None:
    long = [p.name for p in files(package) if len(p.read_text().splitlines()) > 400]
    assert not long


@pytest.mark.parametrize("module", ["owlabel.session", "owlabel.cli", "owlabel.jobs.worker"])
def test_importing_leaves_torch_and_qt_out(module: str) -> None:
    code = f"import sys, {module}; print(sorted({TORCH | WINDOW!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
