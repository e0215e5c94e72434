"""``owlabel pretrain``: learn from all images of a project without labels, then tune."""

from __future__ import annotations

from typing import Annotated

import typer

from owlabel.commands.clusters import (
    ClassesOption,
    ExtractorOption,
    NetworkOption,
    SuperpixelsOption,
    WeightsOption,
)
from owlabel.commands.console import JsonOption, ProjectArg, finished, sitting
from owlabel.commands.training.train_ood import tell_result
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.jobs.requests.pretraining import PretrainRequest


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
        job_id = session.training.pretrain(request)
        finished(session, job_id, "pre-training")
        tell_result(session, session.training.result("pretrain"), adopt, as_json)
