"""``owlabel weak-shot``: turn the tags of a project into proposed masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from owlabel.commands.console import (
    JsonOption,
    ProjectArg,
    err,
    finished,
    out,
    print_rows,
    sitting,
)
from owlabel.commands.options import MakeRequest, request_options
from owlabel.jobs.requests.weak_shot import WeakShotRequest


@request_options(WeakShotRequest)
def weak_shot(
    project: ProjectArg,
    make: MakeRequest[WeakShotRequest],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the result, or leave it queued.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Learn masks of the tagged novel classes (SimFormer); they become proposals for review."""
    with sitting(project) as session:
        request = make()
        for line in session.tags.missing():
            err.print(line, style="yellow", markup=False, highlight=False)
        job_id = session.training.weak_shot(request)
        if not wait:
            out.print(
                f"job {job_id} is queued: it runs when the project is next opened", highlight=False
            )
            return
        row = finished(session, job_id, "training")
        print_rows(_rows(row.result), as_json)
        if not as_json:
            count = row.result["proposals"]
            out.print(f"{count} proposals: see `owlabel proposals`", highlight=False)
            out.print(_compared(row.result["comparison"]), highlight=False)


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each class: how many masks, how sure, and its IoU before and after."""
    comparison: Mapping[str, Any] = result["comparison"]
    return [
        {
            "class": name,
            **counts,
            **{when: comparison.get(when, {}).get(name) for when in ("before", "after")},
        }
        for name, counts in result["classes"].items()
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
