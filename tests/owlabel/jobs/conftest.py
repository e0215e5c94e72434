"""A project with three images, and a kind of job that only tests know."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owlabel.jobs.queue import JobQueue
from owlabel.project.store import Project


@pytest.fixture(scope="session")
def job_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("jobs")
    (parent / "images").mkdir()
    for number in range(3):
        pixels = np.full((16, 24, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(parent / "images" / f"image{number}.png")
    Project.create(parent / "jobs.owlabel", parent / "images").close()
    return parent


@pytest.fixture
def project(job_template: Path, tmp_path: Path) -> Iterator[Project]:
    copy = Path(shutil.copytree(job_template, tmp_path / "copy"))
    with Project.open(copy / "jobs.owlabel") as opened:
        yield opened


@pytest.fixture
def queue(project: Project) -> JobQueue:
    return JobQueue(project)


@pytest.fixture
def counting(install: Callable[..., None]) -> None:
    """Make the job kind "count" known to this process and to the workers it starts."""
    here = Path(__file__).parent
    kind = """
from owlabel.jobs.registry import JobKind

COUNT = JobKind("count", "counting_job:CountJob", "Counting")
"""
    files = {"counting_kind.py": kind, "counting_job.py": (here / "counting_job.py").read_text()}
    install(files, {"owlabel.jobs": {"count": "counting_kind:COUNT"}})
