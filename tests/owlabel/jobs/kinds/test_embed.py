"""Embedding a project: order, cache, candidates, broken images, resume."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from owlabel.checkpoints.header import CheckpointHeader, HeadInfo
from owlabel.classes import ClassTable, LabelClass
from owlabel.jobs.job import JobContext, Progress, run_to_end
from owlabel.jobs.kinds import embed
from owlabel.jobs.kinds.embed import EmbedJob
from owlabel.project.store import Project

CLASSES = ClassTable(
    (
        LabelClass(0, "road", (1, 1, 1)),
        LabelClass(1, "sky", (2, 2, 2)),
        LabelClass(5, "deer", (3, 3, 3), True),
    )
)
HEADS = (HeadInfo(None, 2, "basehead"), HeadInfo(5, 3, "deerhead"))
HEADER = CheckpointHeader(
    format=1,
    name="toy",
    architecture="resnet18",
    settings={},
    classes=CLASSES,
    prototype_length=3.0,
    kind="metric",
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    max_side=1024,
    heads=HEADS,
)


def _embed_image(_: object, image: np.ndarray) -> list[np.ndarray]:
    """Road everywhere but in a corner that is equally far from all classes."""
    grids = []
    for outputs in (2, 3):
        grid = np.zeros((outputs, image.shape[0] // 2, image.shape[1] // 2), np.float16)
        grid[0] = 3
        grid[:, :4, :4] = 3 / outputs
        grids.append(grid)
    return grids


@pytest.fixture(autouse=True)
def toy_model(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("owlabel.models.embed")
    module.image_features = lambda _segmenter, image: image  # type: ignore[attr-defined]
    module.embed_features = _embed_image  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "owlabel.models.embed", module)
    monkeypatch.setattr(embed, "read_header", lambda path: HEADER)
    monkeypatch.setattr(embed, "_load", lambda path: object())


def _run(project: Project, tmp_path: Path, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    seen: list[Progress] = []
    job = EmbedJob("models/toy.safetensors", **fields)
    result = run_to_end(job.run(JobContext(project.folder, tmp_path)), seen.append)
    return result, [p.message for p in seen[1:]]


def test_every_image_is_embedded_with_every_head(project: Project, tmp_path: Path) -> None:
    result, messages = _run(project, tmp_path)
    assert result == {"embedded": 3, "errors": 0}
    assert messages == ["image0.png", "image1.png", "image2.png"]
    for record in project.images():
        assert record.state == "proposed"
        for head, outputs in (("basehead", 2), ("deerhead", 3)):
            arrays = project.cache.read(head, record.content_hash)
            assert arrays is not None
            assert arrays["embedding"].shape == (outputs, 8, 12)
            (row,) = project.candidates.ranked(head, image_id=record.id)
            assert row.features is not None
            assert row.features.shape == (2 * outputs + 8,)


def test_nothing_is_computed_twice(project: Project, tmp_path: Path) -> None:
    _run(project, tmp_path, image_ids=[2])
    assert _run(project, tmp_path)[1] == ["image0.png", "image2.png"]
    assert _run(project, tmp_path) == ({"embedded": 0, "errors": 0}, [])


def test_the_image_in_focus_goes_first_then_its_neighbours(
    project: Project, tmp_path: Path
) -> None:
    project.set_focus(3)
    assert _run(project, tmp_path)[1] == ["image2.png", "image1.png", "image0.png"]


def test_the_focus_may_move_while_the_job_runs(project: Project, tmp_path: Path) -> None:
    steps = EmbedJob("models/toy.safetensors").run(JobContext(project.folder, tmp_path))
    next(steps)
    assert next(steps).message == "image0.png"
    project.set_focus(3)
    assert next(steps).message == "image2.png"
    steps.close()


def test_a_broken_image_is_noted_and_passed_over(project: Project, tmp_path: Path) -> None:
    project.image(2).path.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    result, _ = _run(project, tmp_path)
    assert result == {"embedded": 2, "errors": 1}
    assert "image1.png" in str(project.image(2).error)
    assert project.image(3).state == "proposed"


def test_a_checkpoint_outside_the_project_is_refused(project: Project, tmp_path: Path) -> None:
    steps = EmbedJob("../../elsewhere.safetensors").run(JobContext(project.folder, tmp_path))
    with pytest.raises(ValueError, match="leaves"):
        next(steps)


def test_channels_of_a_head_are_base_classes_then_the_heads_before() -> None:
    assert embed.channel_classes(HEADER, 0).tolist() == [0, 1]
    assert embed.channel_classes(HEADER, 1).tolist() == [0, 1, 5]
