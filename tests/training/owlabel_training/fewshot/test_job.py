from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from owlabel.checkpoints.header import read_header
from owlabel.classes import UNSET, ClassTable, LabelClass
from owlabel.jobs.job import JobContext, run_to_end
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel.project.store import Project
from owlabel_training.fewshot.job import PlmJob

CLASSES = ClassTable((LabelClass(0, "sky", (9, 9, 200)), LabelClass(1, "road", (9, 9, 9))))


@pytest.fixture
def project(segmenter: Segmenter, tmp_path: Path) -> Iterator[Project]:
    """A project of two pictures in which a human has named a deer on the first."""
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 80, (72, 96, 3)).astype(np.uint8)
        pixels[20:44, 30:60] = (230, 60, 40)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    save(segmenter, tmp_path / "base.safetensors", name="base", classes=CLASSES)
    with Project.create(
        tmp_path / "p.owlabel", tmp_path / "pictures", tmp_path / "base.safetensors"
    ) as made:
        with made.action("accept", {}, "a deer") as action:
            action.add_class("deer", (200, 120, 0))
            human = np.full((72, 96), UNSET, np.uint8)
            human[20:44, 30:60], human[60:] = 2, 1
            action.set_labels(made.images()[0].id, human)
        yield made


def payload(project: Project, **changes: Any) -> dict[str, Any]:
    record = project.images()[0]
    model = project.active_model()
    values = {
        "checkpoint": model.path.relative_to(project.folder).as_posix(),
        "class_id": 2,
        "class_name": "deer",
        "color": [200, 120, 0],
        "shots": [{"image_id": record.id, "revision_id": record.revision_id}],
        "iterations": 3,
        "lr": None,
        "seed": 0,
        "name": "with deer",
    }
    return json.loads(json.dumps(values | changes))  # as the queue stores it


def context(project: Project, name: str = "1") -> JobContext:
    work = project.folder / "work" / name
    work.mkdir(parents=True, exist_ok=True)
    return JobContext(project.folder, work)


def test_a_job_adds_a_model_and_leaves_its_parent_alone(project: Project) -> None:
    base = project.active_model()
    before = hashlib.sha256(base.path.read_bytes()).hexdigest()
    result = run_to_end(PlmJob(**payload(project)).run(context(project)))
    version = next(m for m in project.models() if m.id == result["model_id"])
    assert (version.name, version.kind, version.parent_id) == ("with deer", "plm", base.id)
    assert hashlib.sha256(base.path.read_bytes()).hexdigest() == before
    assert project.active_model().id == base.id
    old, new = read_header(base.path), read_header(project.folder / result["path"])
    assert new.heads[0] == old.heads[0]
    assert [h.class_id for h in new.heads] == [None, 2]
    assert new.classes.by_id(2).name == "deer"


def test_before_and_after_are_measured_on_human_pixels(project: Project) -> None:
    result = run_to_end(PlmJob(**payload(project)).run(context(project)))
    comparison = result["comparison"]
    assert comparison["pixels"] == {"road": 12 * 96, "deer": 24 * 30}
    for key in ("before", "after"):
        assert set(comparison[key]) == {"road", "deer"}
    json.dumps(result)


def test_it_reports_the_loss_of_every_step(project: Project) -> None:
    seen = [p for p in PlmJob(**payload(project)).run(context(project)) if "loss" in p.metrics]
    assert [p.done for p in seen] == [1, 2, 3]
    assert all(p.total == 3 for p in seen)


def test_a_job_that_was_killed_goes_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("owlabel_training.fewshot.head_training.SAVE_EVERY_S", 0.0)
    values = payload(project, iterations=5)
    whole = run_to_end(PlmJob(**values).run(context(project, "whole")))
    steps = PlmJob(**values).run(context(project, "killed"))
    for progress in steps:
        if progress.done == 3:
            break
    steps.close()
    seen: list[int] = []
    resumed = run_to_end(
        PlmJob(**values).run(context(project, "killed")), lambda p: seen.append(p.done)
    )
    assert 1 not in seen
    first, second = (load(project.folder / r["path"])[0].state_dict() for r in (whole, resumed))
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, msg=key)


def test_a_second_round_renews_the_head_of_its_class(project: Project) -> None:
    first = run_to_end(PlmJob(**payload(project)).run(context(project, "1")))
    again = payload(project, checkpoint=first["path"], seed=1)
    second = run_to_end(PlmJob(**again).run(context(project, "2")))
    headers = [read_header(project.folder / r["path"]) for r in (first, second)]
    assert [h.class_id for h in headers[1].heads] == [None, 2]
    assert headers[0].heads[1].hash != headers[1].heads[1].hash
    assert headers[0].heads[0] == headers[1].heads[0]


def test_a_shot_without_the_class_is_refused_by_the_images_name(project: Project) -> None:
    with pytest.raises(ValueError, match=r"a\.png holds no pixel"):
        run_to_end(PlmJob(**payload(project, class_id=3)).run(context(project)))


def test_a_picture_that_went_costs_its_comparison_and_not_the_model(project: Project) -> None:
    first, second = project.images()
    human = np.full((72, 96), UNSET, np.uint8)
    human[60:] = 1
    with project.action("paint") as action:
        action.set_labels(second.id, human)
    second.path.unlink()
    told = run_to_end(PlmJob(**payload(project)).run(context(project)))
    assert told["model_id"] in {m.id for m in project.models()}
    assert "there is no such file" in str(project.image(second.id).error)
    assert project.image(first.id).error is None
