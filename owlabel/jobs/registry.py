"""The kinds of jobs, each with its code, title, priority and follow-up.

A *kind* is a name in a project's database and one entry in `KINDS`.  The database holds only the
name and the payload, so a project from elsewhere cannot name code to import.  Projects store the
names of the built-in kinds, so these must not change.

A package adds a kind through an entry point of the group ``owlabel.jobs`` whose object is a
`JobKind`.  The window's process and the worker both read the table, so the module of that object
must not import torch; the module of its `target` may.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from owlabel.registry import Registry, instance_of

_log = logging.getLogger("owlabel.jobs")


@dataclass(frozen=True)
class JobKind:
    """One kind of job.

    Attributes
    ----------
    name : str
        Its name in the database.
    target : str
        ``module:dataclass`` of the job (see `owlabel.jobs.job.Job`), imported in the worker only.
        The fields of the dataclass are the payload.
    title : str
        The job's action, for lists and messages.
    priority : int
        Jobs of a higher priority run first and interrupt jobs of a lower one.
    first_priority : int or None
        The priority while the project has no result of this kind; None for `priority`.
    replaces : bool
        A new job of this kind cancels queued and running ones, because its result replaces theirs.
    fills_queue : bool
        The job adds rows to the review queue while it runs.
    on_done : str
        ``module:function``, called as ``function(session, row)`` in the session's process when a
        job of this kind is done.  Empty for none.
    """

    name: str
    target: str
    title: str
    priority: int = 0
    first_priority: int | None = None
    replaces: bool = False
    fills_queue: bool = False
    on_done: str = ""

    def priority_of(self, *, first: bool) -> int:
        """Return the priority of the first job of this kind in a project, or of a later one."""
        return self.first_priority if first and self.first_priority is not None else self.priority


_HERE, _TRAINING = "owlabel.jobs.kinds", "owlabel_training"
_ON_DONE = "owlabel.session.background.on_done"
_BUILTIN = (
    JobKind("relabel", f"{_HERE}.find_novel:RelabelJob", "Finding novel classes", 20,
            replaces=True, fills_queue=True, on_done=f"{_ON_DONE}:novel_classes_found"),
    JobKind("judge", f"{_HERE}.fit_meta_classifier:JudgeJob", "Fitting the meta classifier", 15,
            on_done=f"{_ON_DONE}:meta_classifier_fitted"),
    JobKind("cluster_proposals", f"{_HERE}.clusters:ClusterProposalsJob", "Proposing clusters", 12,
            replaces=True, fills_queue=True),
    JobKind("embed", f"{_HERE}.embed:EmbedJob", "Embedding images", 10,
            replaces=True, fills_queue=True, on_done=f"{_ON_DONE}:images_embedded"),
    JobKind("residual", f"{_HERE}.residual_energy:ResidualJob", "Residual energy", 9,
            on_done=f"{_ON_DONE}:scores_computed"),
    JobKind("calibrate", f"{_HERE}.calibrate:CalibrateJob", "Calibrating scores", 8,
            first_priority=15, replaces=True, on_done=f"{_ON_DONE}:scores_computed"),
    JobKind("export", f"{_HERE}.export:ExportJob", "Exporting", 5, on_done=f"{_ON_DONE}:exported"),
    JobKind("auxiliary_labels", f"{_HERE}.clusters:AuxiliaryLabelsJob", "Clustering", 2,
            replaces=True),
    JobKind("plm", f"{_TRAINING}.fewshot.job:PlmJob", "Training"),
    JobKind("ood", f"{_TRAINING}.ood.job:OodTrainingJob", "OoD training"),
    JobKind("pretrain", f"{_TRAINING}.pretraining.job:PretrainJob", "Pre-training"),
    JobKind("weak_shot", f"{_TRAINING}.weak_shot.job:WeakShotJob", "Masks from tags",
            fills_queue=True),
)  # fmt: skip
KINDS: Registry[JobKind] = Registry(
    "owlabel.jobs", "kind of job", {kind.name: kind for kind in _BUILTIN}, instance_of(JobKind)
)
"""The kinds of jobs by name, the most urgent first."""


def title_of(kind: str) -> str:
    """Return the title of a kind, or its name if it is not registered."""
    known = KINDS.get(kind)
    return kind if known is None else known.title


def run_on_done(session: Any, row: Any) -> None:
    """Call the `on_done` of a job's kind; an error becomes a message of the session.

    Parameters
    ----------
    session : Session
        The session that watches the queue.
    row : JobRow
        The job, in the state "done".
    """
    kind = KINDS.get(row.kind)
    if kind is None or not kind.on_done:
        return
    try:
        imported(kind.on_done)(session, row)
    except Exception as error:  # noqa: BLE001 - a package may raise anything
        _log.exception("on_done of job %d (%r) failed", row.id, row.kind)
        session.message.emit("error", f"{kind.title}: {type(error).__name__}: {error}")


def imported(target: str) -> Callable[..., Any]:
    """Import ``module:name`` and return the object."""
    module, _, name = target.partition(":")
    item: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return item
