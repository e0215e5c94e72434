"""``owlabel weak-shot``: turn the tags of a project into proposed masks."""

from __future__ import annotations

from typing import Annotated

import typer

from owlabel.commands.console import JsonOption, ProjectArg, err, out, print_rows, sitting, work
from owlabel.weak_shot import WeakShotRequest


def weak_shot(
    project: ProjectArg,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of the training.")] = 600,
    minutes: Annotated[float, typer.Option(min=0, help="Wall time at most; 0: no limit.")] = 0.0,
    retrain: Annotated[
        int, typer.Option(min=0, help="Steps of re-training on its own pseudo labels.")
    ] = 0,
    seed: int = 0,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, or leave it queued.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Learn masks of the tagged novel classes (SimFormer); they become proposals for review."""
    request = WeakShotRequest(iterations, minutes, retrain, seed)
    with sitting(project) as session:
        for line in session.lacking():
            err.print(line, style="yellow", markup=False, highlight=False)
        job_id = session.train_from_tags(request)
        if not wait:
            out.print(f"job {job_id} is queued: it runs when the project is open", highlight=False)
            return
        work(session)
        row = next(r for r in session.jobs() if r.id == job_id)
        if row.state != "done":
            raise ValueError(f"training ended as {row.state}: {row.error or row.message}")
        rows = [{"class": name, **told} for name, told in row.result["classes"].items()]
        print_rows(rows, as_json)
        if not as_json:
            count = row.result["proposals"]
            out.print(f"{count} proposals: see `owlabel proposals`", highlight=False)
