"""Pre-training as a job of a project: clusters, contrast, tuning, comparison, adoption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from owlabel.classes import UNSET, ClassTable, LabelClass
from owlabel.jobs.job import JobContext
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.jobs.requests.pretraining import PretrainRequest
from owlabel.jobs.runner import Runner
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load, save
from owlabel.project.store import Project
from owlabel.session.session import Session
from owlabel_training.core.base_run import start_from
from owlabel_training.pretraining import job as pretraining_jobs
from owlabel_training.pretraining.job import PretrainJob

CLASSES = ClassTable((LabelClass(0, "sky", (9, 9, 200)), LabelClass(1, "road", (9, 9, 9))))
CLUSTERS = ClusterRequest(extractor="model", samples=1000, superpixels=20, kinds=0)
REQUEST = PretrainRequest(clusters=CLUSTERS, iterations=2, tuning=2)


def write_pictures(folder: Path, count: int, size: tuple[int, int] = (72, 96)) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdefgh"[:count]:
        pixels = rng.integers(0, 60, (*size, 3)).astype(np.uint8)
        pixels[: size[0] // 2] += 120
        Image.fromarray(pixels).save(folder / f"{name}.png")


def opened(segmenter: Segmenter, folder: Path, count: int) -> Session:
    torch.set_num_threads(1)
    write_pictures(folder / "pictures", count)
    save(segmenter, folder / "base.safetensors", name="base", classes=CLASSES)
    project = Project.create(folder / "p.owlabel", folder / "pictures", folder / "base.safetensors")
    return Session(project, start_worker=False)


@pytest.fixture
def session(
    segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Session]:
    """A sitting on five pictures, two of them labelled."""
    monkeypatch.setitem(pretraining_jobs.SMALL, "crop", (64, 64))
    monkeypatch.setitem(pretraining_jobs.SMALL, "anchors", 64)
    monkeypatch.setitem(pretraining_jobs.TUNING, "crop", (64, 64))
    made = opened(segmenter, tmp_path, 5)
    human = np.full((72, 96), UNSET, np.uint8)
    human[:30], human[40:] = 0, 1
    for record in made.records[:2]:  # the first one validates
        made.go_to(record.id)
        made.labels.paint(human)
    yield made
    made.close()


def work(session: Session) -> None:
    runner = Runner(session.project)
    while runner.step():
        pass
    session.poll()


def test_a_model_is_pretrained_tuned_compared_and_adopted(session: Session) -> None:
    before = session.models.active.path.read_bytes()
    session.training.pretrain(REQUEST)
    work(session)
    assert session.worker.jobs()[0].state == "done", session.worker.jobs()[0].error
    result = session.training.result("pretrain")
    assert result is not None
    assert set(result.comparison) == {"before", "after"}
    assert "closed-set mIoU" in result.comparison["after"]
    assert result.details["val_human_pixels"] == 30 * 96 + 32 * 96, "what the human said, no more"
    assert session.clusters.current() is not None
    base = session.models.active
    assert base.path.read_bytes() == before
    session.models.adopt(result.model_id)
    assert session.models.active.kind == "pretrain"
    assert session.training.result("pretrain") is None
    session.undo()
    assert session.models.active.id == base.id


def test_without_labels_there_is_nothing_to_compare(session: Session) -> None:
    human = session.labels.human().copy()
    session.undo()
    session.undo()
    session.training.pretrain(REQUEST)
    work(session)
    assert "nothing to tune on: no pixel is labelled" in (session.worker.jobs()[0].error or "")
    assert session.clusters.current() is None, "said before minutes are spent on clusters"
    assert list((session.project.folder / "models").glob("pretrain*")) == []
    session.go_to(session.records[1].id)
    session.labels.paint(human)
    session.training.pretrain(REQUEST)
    work(session)
    result = session.training.result("pretrain")
    assert result is not None, session.worker.jobs()[0].error
    assert result.comparison == {"before": {}, "after": {}}
    assert result.details["val_human_pixels"] == 0


def test_the_pretrained_backbone_is_there_for_base_training(
    session: Session, segmenter: Segmenter
) -> None:
    session.training.pretrain(
        PretrainRequest(clusters=CLUSTERS, iterations=2, tuning=2, start="random")
    )
    work(session)
    (path,) = (session.project.folder / "models").glob("pretrained-*.safetensors")
    fresh = Segmenter(segmenter.architecture, segmenter.settings, 3)
    start_from(fresh, path)
    pretrained = load(path)[0]
    key = "encoder.model.conv_stem.weight"
    torch.testing.assert_close(
        fresh.backbone.state_dict()[key], pretrained.backbone.state_dict()[key]
    )


def test_an_interrupted_job_goes_on(session: Session, tmp_path: Path) -> None:
    made = PretrainJob(session.clusters.payload(CLUSTERS), iterations=2, tuning=2)
    context = JobContext(session.project.folder, tmp_path / "work")
    context.work.mkdir()
    for progress in (steps := made.run(context)):
        if progress.message.startswith("training"):
            break
    steps.close()
    told = [p.message for p in made.run(context)]
    assert "contrastive pre-training" not in told
    assert "clustering" not in told


def test_one_image_and_bad_requests_are_refused(
    session: Session, segmenter: Segmenter, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    lone = opened(segmenter, tmp_path / "one", 1)
    with pytest.raises(ValueError, match="needs at least two images, got 1"):
        lone.training.pretrain(REQUEST)
    lone.close()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"iterations": 0}, "at least 1"),
        ({"tuning": 0}, "at least 1"),
        ({"start": "magic"}, "got 'magic'"),
        ({"clusters": {"superpixels": -1}}, "superpixels"),
    ]
    for change, reason in changes:
        with pytest.raises(ValueError, match=reason):
            session.training.pretrain(PretrainRequest(**change))
    assert session.worker.jobs() == []


def test_cancelling_leaves_nothing_running(session: Session) -> None:
    job = session.training.pretrain(REQUEST)
    session.worker.cancel(job)
    work(session)
    assert session.worker.jobs()[0].state == "cancelled"
    assert session.training.result("pretrain") is None
