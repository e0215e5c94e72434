"""The frozen records that a project returns, and the error that it raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from owlabel.ood.candidates import Candidate

STATES = ("new", "proposed", "edited", "reviewed")
"""States of an image, in the order of the work."""


class ProjectError(ValueError):
    """A project cannot be opened, read or written; the message names it and the reason."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a project.

    Attributes
    ----------
    id : int
        Never changes.
    path : Path
        Absolute path of the image file, which is never written.
    relative : str
        Path below the image folder, with ``/``.
    content_hash : str
        Hash of the file's bytes (`owlabel.images.files.content_hash`); "" if it was unreadable.
    shape : tuple of int or None
        (H, W) in pixels; None if the file could not be read.
    error : str or None
        Why the image cannot be used.
    state : str
        One of `STATES`.
    revision_id : int or None
        The newest human label map; None if nobody has labelled.
    """

    id: int
    path: Path
    relative: str
    content_hash: str
    shape: tuple[int, int] | None
    error: str | None
    state: str
    revision_id: int | None


@dataclass(frozen=True)
class ModelVersion:
    """One model of a project.

    Attributes
    ----------
    id : int
        Grows with every version.
    name : str
        Shown to the annotator.
    path : Path
        Absolute path of the checkpoint.
    kind : str
        "base" or the kind of job that made it, e.g. "plm".
    parent_id : int or None
        The version it was trained from.
    created : float
        Seconds since 1970, UTC.
    metrics : mapping
        Plain values, e.g. the comparison before and after.
    hash : str
        sha256 of the file, 64 hex digits.
    """

    id: int
    name: str
    path: Path
    kind: str
    parent_id: int | None
    created: float
    metrics: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""


@dataclass(frozen=True)
class Change:
    """One field that an action changed: `before` and `after` are plain JSON values."""

    table: str
    row: str
    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Event:
    """One row of the event log.

    Attributes
    ----------
    seq : int
        Position in the log; times are for information only.
    kind : str
        Kind of the action; "undo" and "redo" are reserved.
    payload : mapping
        Plain JSON values that are enough to repeat the action.
    label : str
        Text to display, e.g. "Paint car".
    target : int or None
        For undo and redo the `seq` of the event that was flipped.
    created : float
        Seconds since 1970, UTC.
    changes : tuple of Change
        The changes that an undo reverts, in the order in which they were made.
    """

    seq: int
    kind: str
    payload: Mapping[str, Any]
    label: str
    target: int | None
    created: float
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class CandidateRow:
    """A candidate in the queue; `claimed_by` is the novel class that explains it, or None.

    `features` (n,) are those of `owlabel.ood.segment_features`, None if not computed yet.
    """

    id: int
    image_id: int
    candidate: Candidate
    claimed_by: int | None
    features: NDArray[np.float64] | None = field(default=None, compare=False)
