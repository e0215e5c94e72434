"""What a job is: a frozen dataclass of plain values whose `run` is a generator of progress."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    done, total : int
        Steps done and in all; `total` is 0 where it is not known yet.
    message : str
        One short line for the annotator.
    metrics : mapping
        Numbers worth plotting at this step, e.g. ``{"loss": 0.3}``; empty for most steps.
    """

    done: int
    total: int
    message: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobContext:
    """Where a job may read and write.

    Attributes
    ----------
    project : Path
        The project's folder.  A job opens its own `Project` on it.
    work : Path
        A folder of this job alone, kept until the job is done: checkpoints for resuming.
    """

    project: Path
    work: Path


class Job(Protocol):
    """Long work.  A yield reports progress and is a place to stop, to pause or to be overtaken.

    A job that is started again with the same `context.work` goes on where it stopped.
    """

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Do the work; return a result of plain JSON values."""
        ...


JOBS: dict[str, str] = {
    "embed": "owlabel.jobs.kinds.embed:EmbedJob",
    "relabel": "owlabel.jobs.kinds.find_novel:RelabelJob",
    "judge": "owlabel.jobs.kinds.fit_meta_classifier:JudgeJob",
    "calibrate": "owlabel.jobs.kinds.calibrate:CalibrateJob",
    "export": "owlabel.jobs.kinds.export:ExportJob",
    "plm": "owlabel_training.fewshot.job:PlmJob",
    "ood": "owlabel_training.ood.job:OodTrainingJob",
    "residual": "owlabel.jobs.kinds.residual_energy:ResidualJob",
    "weak_shot": "owlabel_training.weak_shot.job:WeakShotJob",
    "auxiliary_labels": "owlabel.jobs.kinds.clusters:AuxiliaryLabelsJob",
    "cluster_proposals": "owlabel.jobs.kinds.clusters:ClusterProposalsJob",
    "pretrain": "owlabel_training.pretraining.job:PretrainJob",
}
"""Kind of job to ``module:dataclass``; imported in the worker, never in the window."""
JOB_WORDS = {
    "embed": "Looking at the images",
    "relabel": "Finding novel classes",
    "calibrate": "Finding the usual scores",
    "judge": "Learning what is false",
    "plm": "Training",
    "ood": "OoD training",
    "residual": "Residual energy",
    "auxiliary_labels": "Clustering",
    "cluster_proposals": "Proposing clusters",
    "pretrain": "Pre-training",
    "export": "Exporting",
    "weak_shot": "Masks from tags",
}
"""Kind of job in words, for messages and lists."""


def run_to_end(
    steps: Generator[Progress, None, R], watch: Callable[[Progress], None] | None = None
) -> R:
    """Drive a job's generator in this thread and return its result."""
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if watch is not None:
            watch(progress)
