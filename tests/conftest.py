"""A toy project: pictures of flat colours, embeddings that follow from them, no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from owlabel.checkpoints.header import FORMAT, KEY, CheckpointHeader, HeadInfo
from owlabel.classes import ClassTable, LabelClass
from owlabel.ood.candidates import find
from owlabel.project.store import Project
from owlabel.registry import rescan_all
from owlabel.session.session import Session

SHAPE, GRID = (48, 64), (12, 16)
OBJECT = (slice(16, 32), slice(24, 44))  # where every second picture has a deer
BASE = ClassTable((LabelClass(0, "road", (128, 64, 128)), LabelClass(1, "sky", (70, 130, 180))))


def write_checkpoint(path: Path, heads: tuple[HeadInfo, ...] | None = None) -> Path:
    """Write a model file that has a header and no use for its weights."""
    header = CheckpointHeader(
        FORMAT, "toy", "toy", {}, BASE, 3.0, "metric", (0.0,) * 3, (1.0,) * 3, 2048,
        heads or (HeadInfo(None, 2, "0" * 16),),
    )  # fmt: skip
    save_file({"weight": np.zeros(1, np.float32)}, path, metadata={KEY: header.to_json()})
    return path


def embedding(deer: bool) -> np.ndarray:
    """Sky above, road below; the deer sits between the prototypes, shape (2, 12, 16)."""
    f = np.zeros((2, *GRID), np.float32)
    f[1, :6] = 3.0
    f[0, 6:] = 3.0
    if deer:
        f[:, 4:8, 6:11] = np.array([0.9, 1.2])[:, None, None]
    return f


def picture(path: Path, deer: bool, seed: int) -> None:
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    pixels[:24] = (70, 130, 180)
    pixels[24:] = (128, 64, 128)
    if deer:
        pixels[OBJECT] = (150, 100, 40)
    pixels[0, 0] = seed  # every picture is another
    Image.fromarray(pixels).save(path)


@dataclass(frozen=True)
class Toy:
    """A project, and what it was made of."""

    project: Project
    images: Path
    checkpoint: Path
    embed_all: Callable[[Project], None]


def embed_all(project: Project) -> None:
    for record in project.images():
        if record.error is not None:
            continue
        f = embedding(record.relative.startswith("deer"))
        project.cache.write("0" * 16, record.content_hash, {"embedding": f.astype(np.float16)}, {})
        score = np.clip(2 - ((f**2).sum(0) * 2 - 6 * f.sum(0) + 18) / 9, 0, 1).astype(np.float32)
        found = find(score, f.argmax(0).astype(np.uint8), SHAPE)
        project.candidates.replace(record.id, "0" * 16, found)


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    """Four pictures, two with a deer; embedded."""
    images = tmp_path / "street"
    images.mkdir()
    for index, name in enumerate(["deer_1.png", "deer_2.png", "empty_1.png", "empty_2.png"]):
        picture(images / name, name.startswith("deer"), index)
    checkpoint = write_checkpoint(tmp_path / "toy.safetensors")
    project = Project.create(tmp_path / "street.owlabel", images, checkpoint)
    embed_all(project)
    yield Toy(project, images, checkpoint, embed_all)
    project.close()


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A model file with other weights."""
    return write_checkpoint(tmp_path / "other.safetensors", (HeadInfo(None, 2, "1" * 16),))


@pytest.fixture
def session(toy: Toy) -> Session:
    """A session on the toy project, without a worker."""
    return Session(toy.project, start_worker=False)


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, str], dict[str, dict[str, str]]], Path]]:
    """Install a package for this process and those it starts: no pip, a folder on the path.

    ``install(files, entry_points, name="stranger")``: the text of each file, and for each group of
    entry points ``name: module:object``.
    """
    modules = set(sys.modules)

    def install(
        files: dict[str, str], groups: dict[str, dict[str, str]], name: str = "stranger"
    ) -> Path:
        site = tmp_path / f"site_{name}"
        about = site / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [
            line
            for group, points in groups.items()
            for line in (f"[{group}]", *(f"{key} = {target}" for key, target in points.items()))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for path, text in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text)
        monkeypatch.syspath_prepend(str(site))
        rescan_all()
        return site

    yield install
    monkeypatch.undo()
    for module in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
    rescan_all()
