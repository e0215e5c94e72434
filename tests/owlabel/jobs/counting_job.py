"""A job that counts, keeps its place, and writes down what it did."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from owlabel.jobs.job import JobContext, Progress


@dataclass(frozen=True)
class CountJob:
    """Count to `steps`; raise at `fail_at`, kill the process at `die_at`."""

    name: str = "count"
    steps: int = 5
    pause: float = 0.0
    fail_at: int = -1
    die_at: int = -1

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        mark = context.work / "place"
        begin = int(mark.read_text()) if mark.exists() else 0
        for step in range(begin, self.steps):
            if step == self.fail_at:
                raise RuntimeError("cannot count\nany further")
            if step == self.die_at:
                os._exit(9)
            time.sleep(self.pause)
            mark.write_text(str(step + 1))
            with (context.project / "diary").open("a") as diary:
                diary.write(f"{self.name} {step}\n")
            yield Progress(step + 1, self.steps, f"step {step}", {"loss": 1 / (step + 1)})
        return {"began": begin}
