"""What the slow steps of a sitting cost, and the plain way beside the one that has one.

python -m benchmarks.steps --images DIR --model FILE --out docs/results/steps.json

Makes a project of the folder, opens it cold and warm with a worker, relabels all pictures (NPM),
trains a head (PLM) on five shots, and exports.  The first candidates of the queue serve as shots.
Nothing is written into the folder of pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.click_arithmetic import plain_claim
from owlabel.arrays import embedding_grid
from owlabel.jobs.drain import drain
from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.export import ExportJob
from owlabel.jobs.kinds.find_novel import RelabelJob
from owlabel.models.weights import load
from owlabel.project.store import Project
from owlabel.session.session import Session
from owlabel.view.open_project import open_project
from owlabel_training.core.metric_losses import dce_loss
from owlabel_training.fewshot.head_training import PlmRecipe
from owlabel_training.fewshot.job import PlmJob, PlmShot, read_shot
from owlabel_training.fewshot.shots import build_cache

SHOTS = 5
LIVE_STEPS = 5
PLAIN_IMAGES = 5
WAIT_SECONDS = 900.0


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds an act takes, and what it returns."""
    start = time.perf_counter()
    result = act()
    return time.perf_counter() - start, result


def open_until_overlay(images: Path, model: Path, project: Path) -> float:
    """Return the seconds from opening until the first picture has its embedding."""

    def act() -> Session:
        session = Session(open_project(images, model, project))
        while session.view.embedding() is None:
            time.sleep(0.01)
            session.poll()
            if time.perf_counter() - start > WAIT_SECONDS:
                raise TimeoutError("the first overlay did not come")
        return session

    start = time.perf_counter()
    seconds, session = timed(act)
    session.close()
    return seconds


def name_shots(project: Path) -> Session:
    """Name the first candidate of five different pictures."""
    session = Session(Project.open(project), start_worker=False)
    used: set[int] = set()
    for item in session.queue.items(1000):
        if item.record.id not in used and len(used) < SHOTS:
            used.add(item.record.id)
            session.go_to(item.record.id)
            session.labels.click(*item.peak)
            session.labels.accept("thing")
    return session


def relabelling(session: Session, context: JobContext) -> dict[str, Any]:
    """Time NPM over all pictures; the plain way, distance by distance, on some of them."""
    rule = session.shots.rule
    rows = [(p.class_id, p.vector.tolist()) for p in rule.prototypes]
    job = RelabelJob(session.models.header.heads[0].hash, rows, rule.lambda_novel)
    ours, _ = timed(lambda: run_to_end(job.run(context)))
    outputs = [session.view.output(r.id) for r in session.records[:PLAIN_IMAGES]]
    vector = rule.prototypes[0].vector

    def plainly() -> None:
        for output in filter(None, outputs):
            base = (
                embedding_grid.upsample(output.embedding, output.shape)
                .argmax(axis=0)
                .astype(np.uint8)
            )
            plain_claim(output.embedding, output.shape, base, vector)

    plain, _ = timed(plainly)
    images = len(session.records)
    return {
        "images": images,
        "all_s": round(ours, 2),
        "ms_an_image": round(1000 * ours / images, 1),
        "plain_ms_an_image": round(1000 * plain / len(outputs), 1),
    }


def training(session: Session, context: JobContext) -> dict[str, Any]:
    """Time 500 steps of PLM on cached features; the plain way runs the backbone in each step."""
    deer = session.classes.novel[0]
    shots = [
        {"image_id": r.id, "revision_id": r.revision_id} for r in session.records if r.revision_id
    ]
    checkpoint = session.models.active.path.relative_to(session.project.folder).as_posix()
    job = PlmJob(checkpoint, deer.id, deer.name, deer.color, shots)
    seconds, _ = timed(lambda: run_to_end(job.run(context)))
    plain = live_step(session, deer.id, shots)
    return {
        "shots": len(shots),
        "iterations": job.iterations,
        "all_s": round(seconds, 1),
        "plain_500_steps_s": round(500 * plain, 1),
        "plain_is": f"backbone run in each step, from {LIVE_STEPS} steps",
    }


def live_step(session: Session, class_id: int, shots: list[dict[str, Any]]) -> float:
    """Return the seconds of one step in which backbone and head run."""
    import torch

    segmenter, _ = load(session.models.active.path)
    recipe = PlmRecipe.for_shots(len(shots))
    read = [read_shot(session.project, PlmShot(**row), class_id) for row in shots]
    head = segmenter.renew_head(class_id)
    cache = build_cache(segmenter, read, class_id, recipe.plan, 0)
    side = min(recipe.plan.side, *(min(shot.mask.shape) for shot in read))
    images = torch.rand(recipe.batch_size, 3, side, side)
    _, target = cache.batch(np.arange(recipe.batch_size))
    optimiser = torch.optim.SGD(head.parameters(), 1e-3)
    head.train()

    def steps(count: int) -> None:
        for _ in range(count):
            with torch.no_grad():
                features = segmenter.features(images)
            loss = dce_loss(head(features), target, segmenter.prototype_length)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    steps(1)
    return timed(lambda: steps(LIVE_STEPS))[0] / LIVE_STEPS


def exporting(folder: Path, context: JobContext) -> dict[str, float]:
    """Time the export of all pictures in each format."""
    return {
        name: round(timed(lambda n=name: _export(folder / f"out-{n}", n, context))[0], 2)  # type: ignore[misc]
        for name in ("masks", "coco", "panoptic")
    }


def _export(target: Path, name: str, context: JobContext) -> None:
    run_to_end(ExportJob(str(target), name, "all").run(context))


def run(images: Path, model: Path, folder: Path) -> dict[str, Any]:
    """Measure all steps in a folder of their own."""
    project = folder / "project.owlabel"
    result: dict[str, Any] = {"open_cold_to_overlay_s": open_until_overlay(images, model, project)}
    with Project.open(project) as opened:
        session = Session(opened, start_worker=False)
        session.submit_embedding()
        seconds, _ = timed(lambda: list(drain(opened)))
        result["embedding_the_rest_s"] = seconds
    result["open_warm_to_overlay_s"] = open_until_overlay(images, model, project)
    result = {name: round(value, 2) for name, value in result.items()}
    session = name_shots(project)
    context = JobContext(project, folder)
    result["relabelling"] = relabelling(session, context)
    result["plm"] = training(session, context)
    result["export_s"] = exporting(folder, context)
    session.close()
    peaks = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    result["peak_mib_this_process_and_worker"] = [
        resource.getrusage(who).ru_maxrss // 1024 for who in peaks
    ]
    return result


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    about = {
        "machine": f"{os.cpu_count()} CPU cores, no GPU",
        "load_before": round(os.getloadavg()[0], 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        results = about | run(given.images, given.model, Path(folder))
    text = json.dumps(results, indent=1)
    sys.stdout.write(text + "\n")
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
