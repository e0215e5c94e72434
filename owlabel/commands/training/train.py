"""``owlabel train``: train a head for a novel class (PLM)."""

from __future__ import annotations

from owlabel.commands.console import ProjectArg, open_session, run_job
from owlabel.commands.options import MakeRequest, request_options
from owlabel.commands.training.result import AdoptOption, print_result
from owlabel.jobs.requests.plm import PlmRequest


@request_options(PlmRequest)
def train(project: ProjectArg, make: MakeRequest[PlmRequest], adopt: AdoptOption = False) -> None:
    """Train a head for a novel class on its shots (PLM); compare before and after."""
    with open_session(project) as session:
        job_id = session.training.plm(make())
        run_job(session, job_id, "training")
        print_result(session, session.training.result("plm"), adopt)
