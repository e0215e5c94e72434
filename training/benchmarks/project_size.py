"""What a project costs by its number of images: python -m benchmarks.project_size.

Pictures of 32 x 24 pixels, each with a made-up embedding and two candidates of the sample model;
no worker, no drawing.  What opens is read in full; each act is done `ACTS` times, its median and
worst are told.  A thousand pictures more or less must not matter to a click.
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
from PIL import Image

from experiments.results import write_result
from owlabel.checkpoints.header import read_header
from owlabel.jobs.kinds.embed import candidates_of, channel_classes
from owlabel.jobs.pending_images import nearest_first
from owlabel.ood.segment_features import feature_names
from owlabel.project.store import Project
from owlabel.session.session import Session
from owlabel.view.open_project import open_project

ACTS = 15
HEIGHT, WIDTH = 24, 32
NOTE = "no worker, no drawing; pictures of 32 x 24 pixels with made-up embeddings and candidates"


def make_pictures(folder: Path, count: int, seed: int = 0) -> None:
    """Write so many pictures of noise, each of other content."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"picture{number}.png", compress_level=0)


def embed_all(project: Project, seed: int = 0) -> None:
    """Put an embedding and two candidates of each image into the project, as a worker does."""
    header = read_header(project.active_model().path)
    head, classes = header.heads[0], channel_classes(header, 0)
    columns = len(feature_names(head.outputs))
    rng = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH)
    for record in project.images():
        grid = np.zeros((head.outputs, HEIGHT // 4, WIDTH // 4), np.float16)
        grid[0] = 3
        grid[:, :3, :3] = grid[:, 3:, 5:] = rng.uniform(0, 0.3)
        candidates, segments = candidates_of(grid, shape, classes, header, 0.3)
        project.cache.write(head.hash, record.content_hash, {"embedding": grid})
        features = rng.normal(size=(len(candidates), columns))
        project.candidates.replace(record.id, head.hash, candidates, segments, features)


def spent(act: Callable[[], Any]) -> float:
    """Return the milliseconds of an act."""
    began = time.perf_counter()
    act()
    return round(1e3 * (time.perf_counter() - began), 2)


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Make a project of so many pictures and time what a user does in it; milliseconds."""
    make_pictures(folder / "pictures", count)
    opened: list[Project] = []
    result: dict[str, Any] = {
        "made_ms": spent(lambda: opened.append(open_project(folder / "pictures")))
    }
    embed_all(opened[0])
    opened[0].close()
    result["opened_again_ms"] = spent(lambda: opened.append(open_project(folder / "pictures")))
    sessions: list[Session] = []
    result["sitting_ms"] = spent(lambda: sessions.append(Session(opened[1], start_worker=False)))
    session, project = sessions[0], opened[1]
    names = iter(f"thing {n % 3}" for n in range(ACTS))

    def click_and_name() -> None:
        session.labels.click(2, 2)
        session.labels.accept(next(names))

    waiting = nearest_first(project.images(), project)
    acts: dict[str, Callable[[], Any]] = {
        "next_image": session.next_image,
        "next_candidate": session.queue.next,
        "click_and_name": click_and_name,
        "undo": session.undo,
        "queue": session.queue.items,
        "fit_what_is_false": session.meta_classifier.fit,
        "poll": session.poll,
        "nearest_of_all": lambda: next(waiting),
    }
    for name, act in acts.items():
        times = []
        for _ in range(ACTS):
            if name == "click_and_name":
                session.next_image()
            times.append(spent(act))
        result[f"{name}_ms"] = {"median": float(np.median(times)), "worst": max(times)}
    session.close()
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 16_000])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)

    def run() -> dict[str, Any]:
        table = {}
        for count in given.images:
            with tempfile.TemporaryDirectory() as folder:
                table[str(count)] = measure(Path(folder), count)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        return {"images": table, "memory_mib": memory, "load_after": round(os.getloadavg()[0], 1)}

    if given.out:
        write_result(given.out, run, NOTE)
    else:
        sys.stdout.write(json.dumps(run(), indent=1) + "\n")


if __name__ == "__main__":
    main()
