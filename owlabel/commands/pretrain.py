"""``owlabel pretrain``: learn from all images of a project without labels, then tune."""

from __future__ import annotations

from typing import Annotated

import typer

from owlabel.clustering import ClusterRequest
from owlabel.commands.clusters import (
    ClassesOption,
    ExtractorOption,
    NetworkOption,
    SuperpixelsOption,
    WeightsOption,
)
from owlabel.commands.console import JsonOption, ProjectArg, out, print_rows, sitting, work
from owlabel.commands.train_ood import comparison_rows
from owlabel.pretraining import PretrainRequest


def pretrain(
    project: ProjectArg,
    extractor: ExtractorOption = "model",
    weights: WeightsOption = "",
    network: NetworkOption = "resnet50",
    classes: ClassesOption = 0,
    superpixels: SuperpixelsOption = 200,
    iterations: Annotated[int, typer.Option(min=1, help="Steps of the contrast.")] = 300,
    tuning: Annotated[int, typer.Option(min=1, help="Steps on labels afterwards.")] = 200,
    start: Annotated[str, typer.Option(help="model or random.")] = "model",
    adopt: Annotated[bool, typer.Option("--adopt", help="Use the result at once.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Pre-train backbone and decoder by contrast between all images; compare before and after."""
    clusters = ClusterRequest(extractor, weights, network, classes, superpixels=superpixels)
    request = PretrainRequest(clusters, iterations, tuning, start)
    with sitting(project) as session:
        job_id = session.pretrain(request)
        work(session)
        row = next(r for r in session.jobs() if r.id == job_id)
        if row.state != "done":
            raise ValueError(f"pre-training ended as {row.state}: {row.error or row.message}")
        result = session.pretrain_result()
        print_rows(comparison_rows(result.comparison), as_json)
        if adopt:
            session.adopt(result.model_id)
            work(session)
        if not as_json:
            out.print(f"model {result.model_id} is {'in use' if adopt else 'trained'}")
