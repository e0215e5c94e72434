"""``owlabel train-ood``: train a project's model to detect unknown objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from owlabel.commands.console import JsonOption, ProjectArg, open_session, out, run_job
from owlabel.commands.options import MakeRequest, request_options
from owlabel.commands.training.result import AdoptOption, print_result
from owlabel.jobs.requests.ood import OodRequest
from owlabel.session.training.results import ood_summary


@request_options(OodRequest, leave=("source", "path", "use"))
def train_ood(
    project: ProjectArg,
    make: MakeRequest[OodRequest],
    proxy: Annotated[
        Path | None,
        typer.Option(
            help="OoD objects: a folder with images/ and masks/, or a COCO JSON file. Default: the "
            "objects annotated in this project."
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Train on whole images; do not paste objects.")
    ] = False,
    adopt: AdoptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on OoD objects (entropy maximisation, RPL, RPL + CoroCL); compare before and after."""
    with open_session(project) as session:
        use = "whole" if whole else "pasted"
        job_id = session.training.ood(make(source=_source(proxy), path=str(proxy or ""), use=use))
        run_job(session, job_id, "training")
        result = session.training.result("ood")
        print_result(session, result, adopt, as_json)
        if not as_json:
            out.print(ood_summary(result))


def _source(proxy: Path | None) -> str:
    if proxy is None:
        return "project"
    return "coco" if proxy.suffix.lower() == ".json" else "folder"
