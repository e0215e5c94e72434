"""What a project hands out: plain frozen records, and the error it raises."""

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
"""States of an image, in the order in which work goes on."""


class ProjectError(ValueError):
    """A project that cannot be opened, read or written; the message says which and why."""


@dataclass(frozen=True)
class ImageRecord:
    """One image of a project.

    Attributes
    ----------
    id : int
        Stable for the life of the project.
    path : Path
        Absolute path of the image file, which is never written.
    relative : str
        The same below the images' folder, with ``/``.
    content_hash : str
        Hash of the file's bytes (`owlabel.images.files.content_hash`); "" where it was unreadable.
    shape : tuple of int or None
        (H, W) in pixels, None where the file could not be read.
    error : str or None
        Why the image cannot be used.
    state : str
        One of `STATES`.
    revision_id : int or None
        The newest human label map, None where nobody has said anything.
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
        Order of the log; times only inform.
    kind : str
        What happened; "undo" and "redo" are reserved.
    payload : mapping
        Plain JSON values that say how, enough to do it again.
    label : str
        For people, e.g. "Paint car".
    target : int or None
        Undo and redo: the `seq` of the event that was flipped.
    created : float
        Seconds since 1970, UTC.
    changes : tuple of Change
        What an undo takes back, in the order in which it was done.
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

    `features` (n,) are those of `owlabel.ood.segment_features`, None where not computed yet.
    """

    id: int
    image_id: int
    candidate: Candidate
    claimed_by: int | None
    features: NDArray[np.float64] | None = field(default=None, compare=False)
