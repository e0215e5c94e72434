"""``owlabel weak-shot``: turn the tags of a project into proposed masks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from owlabel.commands.console import JsonOption, ProjectArg, err, out, print_rows, sitting, work
from owlabel.jobs.requests.weak_shot import WeakShotRequest


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
        for line in session.tags.missing():
            err.print(line, style="yellow", markup=False, highlight=False)
        job_id = session.training.weak_shot(request)
        if not wait:
            out.print(f"job {job_id} is queued: it runs when the project is open", highlight=False)
            return
        work(session)
        row = next(r for r in session.worker.jobs() if r.id == job_id)
        if row.state != "done":
            raise ValueError(f"training ended as {row.state}: {row.error or row.message}")
        print_rows(_rows(row.result), as_json)
        if not as_json:
            count = row.result["proposals"]
            out.print(f"{count} proposals: see `owlabel proposals`", highlight=False)
            out.print(_compared(row.result["comparison"]), highlight=False)


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each class: how many masks, how sure, and its IoU before and after."""
    found = result["comparison"]
    return [
        {"class": name, **told, **{w: found.get(w, {}).get(name) for w in ("before", "after")}}
        for name, told in result["classes"].items()
    ]


def _compared(comparison: dict[str, Any]) -> str:
    """Return what before and after rest on."""
    if not comparison:
        return "nobody has painted a tagged class in a tagged image: nothing is compared"
    pixels = sum(comparison["pixels"].values())
    return (
        f"before (the model in use) and after (the masks): IoU on {pixels} pixels of tagged "
        f"classes that people labelled in {comparison['images']} images"
    )
