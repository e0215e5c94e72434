from __future__ import annotations

from typing import Any

from owlabel.jobs.registry import JobKind

GREET = JobKind(
    "greet", "stranger.greeting:GreetJob", "Greeting", priority=7, on_done="stranger.kinds:greeted"
)


def greeted(session: Any, row: Any) -> None:
    session.message.emit("info", f"{row.result['words']} from job {row.id}")
