from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from owlabel.jobs.job import JobContext, Progress


@dataclass(frozen=True)
class GreetJob:
    name: str

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        yield Progress(1, 1, "waving")
        return {"words": f"hello {self.name}"}
