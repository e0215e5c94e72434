"""``owlabel pretrain``: pre-train on all images of a project without labels, then tune."""

from __future__ import annotations

from owlabel.commands.console import JsonOption, ProjectArg, open_session, run_job
from owlabel.commands.options import MakeRequest, request_options
from owlabel.commands.training.result import AdoptOption, print_result
from owlabel.jobs.requests.pretraining import PretrainRequest


@request_options(PretrainRequest)
def pretrain(
    project: ProjectArg,
    make: MakeRequest[PretrainRequest],
    adopt: AdoptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pre-train backbone and decoder contrastively on all images; compare before and after."""
    with open_session(project) as session:
        job_id = session.training.pretrain(make())
        run_job(session, job_id, "pre-training")
        print_result(session, session.training.result("pretrain"), adopt, as_json)
