"""``owlabel train``: train a head for a novel class of a project."""

from __future__ import annotations

from owlabel.commands.console import ProjectArg, finished, sitting
from owlabel.commands.options import MakeRequest, request_options
from owlabel.commands.training.result import AdoptOption, print_result
from owlabel.jobs.requests.plm import PlmRequest


@request_options(PlmRequest)
def train(project: ProjectArg, make: MakeRequest[PlmRequest], adopt: AdoptOption = False) -> None:
    """Train a head for a novel class on its shots (PLM) and compare it with the model before."""
    with sitting(project) as session:
        request = make()
        job_id = session.training.plm(request)
        finished(session, job_id, "training")
        print_result(session, session.training.result("plm"), adopt)
