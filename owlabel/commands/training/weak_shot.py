"""``owlabel weak-shot``: learn masks from tags and propose them for review."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from owlabel.commands.console import (
    JsonOption,
    ProjectArg,
    err,
    open_session,
    out,
    print_rows,
    run_job,
)
from owlabel.commands.options import MakeRequest, request_options
from owlabel.jobs.requests.weak_shot import WeakShotRequest


@request_options(WeakShotRequest)
def weak_shot(
    project: ProjectArg,
    make: MakeRequest[WeakShotRequest],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, or leave the job queued.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Learn masks of the tagged novel classes (SimFormer); they become proposals for review."""
    with open_session(project) as session:
        request = make()
        for warning in session.tags.missing():
            err.print(warning, style="yellow")
        job_id = session.training.weak_shot(request)
        if not wait:
            out.print(f"job {job_id} is queued: it runs when the project is open")
            return
        row = run_job(session, job_id, "training")
        print_rows(_rows(row.result), as_json)
        if not as_json:
            count = row.result["proposals"]
            out.print(f"{count} proposals: see `owlabel proposals`")
            out.print(_about_comparison(row.result["comparison"]))


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each class: the counts of its masks, and its IoU before and after."""
    comparison: Mapping[str, Any] = result["comparison"]
    return [
        {
            "class": name,
            **counts,
            **{when: comparison.get(when, {}).get(name) for when in ("before", "after")},
        }
        for name, counts in result["classes"].items()
    ]


def _about_comparison(comparison: dict[str, Any]) -> str:
    """Describe the pixels on which before and after were measured."""
    if not comparison:
        return "nothing was compared: people have not labelled a tagged class in a tagged image"
    pixels = sum(comparison["pixels"].values())
    return (
        f"IoU before (the model in use) and after (the masks), on {pixels} pixels of tagged "
        f"classes that people labelled in {comparison['images']} images"
    )
