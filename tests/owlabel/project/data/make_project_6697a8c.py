"""Make ``project_6697a8c.zip``, what it holds as JSON, and the recording of how it came about.

Run with the code of commit 6697a8c in OLD, which must come first on the path::

    PYTHONPATH=OLD:OLD/training:OLD/plugins:OLD/sample_data:OLD/tests python make_project_6697a8c.py

Today's code opens the project in ``tests/owlabel/project/test_project_6697a8c.py``.
"""

# ruff: noqa: I001 - half of these modules are not where they were
from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import tempfile
import zipfile
from pathlib import Path

import conftest as toy
import numpy as np
from owlabel.clustering import ClusterRequest
from owlabel.jobs.job import Progress
from owlabel.jobs.presence import worker_name
from owlabel.jobs.queue import JobQueue
from owlabel.jobs.runner import Runner
from owlabel.ood_training import OodRequest
from owlabel.pretraining import PretrainRequest
from owlabel.project.proposals import NewProposal
from owlabel.project.store import Project
from owlabel.replay import digests, recorded
from owlabel.session import Session
from owlabel.weak_shot import WeakShotRequest
from project_state import state, walk

HERE = Path(__file__).parent
NAME = "project_6697a8c"
MASK = np.zeros(toy.SHAPE, bool)
MASK[14:30, 20:40] = True
CENTRE = (24, 34)
CLUSTERS = ClusterRequest(
    extractor="handmade", classes=3, clusters_per_class=1.0, samples=500, superpixels=0, kinds=4
)


def run_jobs(session: Session) -> None:
    runner = Runner(session.project)
    while runner.step():
        pass
    session.poll()


def make(folder: Path) -> Session:
    images = folder / "street"
    images.mkdir()
    names = ["deer_1.png", "deer_2.png", "deer_10.png", "empty_1.png", "empty_2.png", "empty_3.png"]
    for index, name in enumerate(names):
        toy.picture(images / name, name.startswith("deer"), index)
    checkpoint = toy.write_checkpoint(folder / "toy.safetensors")
    project = Project.create(folder / "street.owlabel", images, checkpoint)
    toy.embed_all(project)
    return Session(project, start_worker=False)


def sit(session: Session) -> None:
    """Do one act of every kind."""
    ids = {r.relative: r.id for r in session.records}
    session.go_to(ids["deer_1.png"])
    session.click(*CENTRE)
    session.click(5, 5, add=False)
    deer = session.accept("deer").id
    painted = session.human().copy()
    painted[40:44, 3:9] = 1
    session.paint(painted)
    session.undo()
    session.redo()
    session.submit_relabelling()
    session.submit_calibration(always=True)
    run_jobs(session)
    session.review()
    session.go_to(ids["deer_2.png"])
    session.click(*CENTRE)
    session.cancel_region()
    session.mark_known(peak=CENTRE)
    session.go_to(ids["empty_1.png"])
    session.click(2, 2)
    session.mark_ignore()
    session.add_class("kangaroo")
    session.tag([ids[f"deer_{n}.png"] for n in (1, 2, 10)], deer, "present")
    session.tag([ids["empty_1.png"]], deer, "absent")
    session.tag_all({}, {"wombat": {ids["empty_2.png"]: "present"}})
    session.tag_none([ids["empty_3.png"]])
    for name in ("deer_10.png", "empty_2.png", "empty_3.png", "deer_2.png"):
        image_id = ids[name]
        named = session.classes.find("wombat").id if name == "empty_2.png" else deer
        if name == "empty_3.png":
            session.tag([image_id], deer, "present")
        item = NewProposal(named, MASK, 0.25 + image_id / 16)
        session.project.proposals.write(image_id, "weak_shot", "job 1", [item])
    by_image = {p.image_id: p.id for p in session.project.proposals.open()}
    session.accept_proposal(by_image[ids["deer_10.png"]])
    session.reject_proposal(by_image[ids["empty_3.png"]])
    session.correct_proposal(by_image[ids["empty_2.png"]])
    session.click(20, 24, add=False)
    touched = session.human().copy()
    touched[28:30, 24:30] = 0
    session.paint(touched)
    session.accept("wombat")
    session.set_lambda(2.0)
    session.set_threshold(0.25)
    session.set_cache_limit(3.5)
    session.set_hide_above(0.75)
    session.set_mixture(beta=12.0, gamma=0.5, mmsp_norm="minmax")
    session.rename_class(deer, "roe deer")
    session.recolor_class(deer, (1, 2, 3))
    session.build_clusters(CLUSTERS)
    run_jobs(session)
    session.go_to(ids["deer_1.png"])
    cluster = str(session.auxiliary_labels()[4, 40])
    session.name_cluster(cluster, "heaven")
    run_jobs(session)
    session.switch_model(session.model.id)
    session.retrain("roe deer", iterations=7)
    session.train_ood(OodRequest(method="entropy", epochs=1, steps_per_epoch=2))
    session.pretrain(PretrainRequest(clusters=CLUSTERS, iterations=3, tuning=2))
    session.go_to(ids["deer_2.png"])
    session.review()
    session.review(False)
    session.rename_class(deer, "stag")
    session.undo()


def queue_jobs(session: Session, folder: Path) -> None:
    """Leave jobs of many kinds in every state."""
    queue = JobQueue(session.project)
    session.export(folder / "export", "masks", which="all")
    runner = Runner(session.project)
    runner.step(above=4)  # exports, and what is more urgent
    shutil.rmtree(folder / "export")
    session.train_from_tags(WeakShotRequest(iterations=5, minutes=1.0, retrain=2, seed=3))
    trained = queue.claim("elsewhere:1:1")
    assert trained is not None
    assert trained.kind == "plm"
    steps = [Progress(3, 7, "training", {"loss": 0.5}), Progress(7, 7, "", {"loss": 0.25})]
    queue.report(trained.id, "elsewhere:1:1", steps)
    head = toy.write_checkpoint(folder / "trained.safetensors", (toy.HeadInfo(None, 2, "1" * 16),))
    version = session.project.add_model(head, "toy + roe deer", "plm", 1, {"iou": 0.5})
    head.unlink()
    result = {"model_id": version.id, "comparison": {"before": {"iou": 0.0}}}
    queue.finish(trained.id, "elsewhere:1:1", result)
    session.retrain("roe deer")
    failed = queue.claim("elsewhere:1:1")
    assert failed is not None
    queue.end(failed.id, "elsewhere:1:1", "failed", "the disk is full")
    session.cancel_job(session.retrain("wombat"))
    session.submit_calibration(always=True)
    running = queue.claim("elsewhere:1:1")
    assert running is not None
    session.submit_relabelling()
    session.set_lambda(1.25)
    session.undo()  # the project can redo one act


def main() -> None:
    platform.node = lambda: "elsewhere"  # the name of no machine goes into the file
    folder = Path(tempfile.gettempdir()) / NAME
    folder.mkdir()
    session = make(folder)
    sit(session)
    lines = "".join(json.dumps(line) + "\n" for line in recorded(session))
    (HERE / f"recording_{NAME.removeprefix('project_')}.jsonl").write_text(lines)
    queue_jobs(session, folder)
    before = {"state": state(session.project), "labels": digests(session)}
    session.close()
    database = folder / "street.owlabel" / "project.db"
    with sqlite3.connect(database) as connection:
        connection.execute("update meta set value = '\"/gone/street\"' where key = 'images_root'")
    connection.execute("vacuum")
    connection.close()
    with zipfile.ZipFile(HERE / f"{NAME}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(folder).as_posix())
    with Project.open(folder / "street.owlabel") as project:
        before["walk"] = walk(project)
    (HERE / f"{NAME}.json").write_text(json.dumps(before, indent=1, sort_keys=True) + "\n")
    kinds = {e[1] for e in before["state"]["events"]}
    print(f"{worker_name()} {os.path.getsize(HERE / f'{NAME}.zip')} bytes, {sorted(kinds)}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
