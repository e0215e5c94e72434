"""``owlabel train-ood``: make a project's model know what it does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from owlabel.commands.console import (
    JsonOption,
    ProjectArg,
    finished,
    out,
    print_rows,
    sitting,
    work,
)
from owlabel.jobs.requests.ood import METHODS, OodRequest
from owlabel.session.training.results import basis


def train_ood(
    project: ProjectArg,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "rpl",
    proxy: Annotated[
        Path | None,
        typer.Option(help="Folder with images/ and masks/, or a COCO JSON file; without it the "
                     "project's own annotated objects."),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Do not paste: whole pictures.")] = False,
    ratio: Annotated[float, typer.Option(help="Proxy images for each of the project's.")] = 0.1,
    lambda_ood: Annotated[
        float, typer.Option("--lambda", help="Entropy maximisation: weight of OoD pixels.")
    ] = 0.9,
    averaging: Annotated[str, typer.Option(help="joint or separate.")] = "joint",
    epochs: Annotated[int, typer.Option(min=1)] = 5,
    steps: Annotated[int, typer.Option(min=1, help="In each epoch.")] = 40,
    adopt: Annotated[bool, typer.Option("--adopt", help="Use the result at once.")] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Train on OoD objects (entropy maximisation, RPL, RPL + CoroCL); compare before and after."""
    request = OodRequest(
        method, _source(proxy), "" if proxy is None else str(proxy),
        "whole" if whole else "pasted", ratio, lambda_ood, averaging, epochs, steps,
    )  # fmt: skip
    with sitting(project) as session:
        job_id = session.training.ood(request)
        finished(session, job_id, "training")
        result = session.training.result("ood")
        tell_result(session, result, adopt, as_json)
        if not as_json and result is not None:
            out.print(basis(result), highlight=False)


def tell_result(session: Any, result: Any, adopt: bool, as_json: bool) -> None:
    """Print what a training changed, and use its model at once where that is wanted."""
    rows = _rows(result.comparison)
    if rows or as_json:
        print_rows(rows, as_json)
    else:
        out.print("nothing was compared: of the images kept aside, people have labelled none")
    if adopt:
        session.models.adopt(result.model_id)
        work(session)
    if not as_json:
        told = "in use" if adopt else f"trained; to use it: owlabel adopt PROJECT {result.model_id}"
        out.print(f"model {result.model_id} is {told}", highlight=False)


def _source(proxy: Path | None) -> str:
    if proxy is None:
        return "project"
    return "coco" if proxy.suffix.lower() == ".json" else "folder"


def _rows(comparison: Any) -> list[dict[str, Any]]:
    before, after = comparison.get("before", {}), comparison.get("after", {})
    return [
        {"measure": name, "before": before.get(name), "after": after.get(name)}
        for name in {**before, **after}
    ]
