"""Frames with masks of base classes and tags of novel ones; novel masks never get into memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import UNSET, VOID, ClassTable, LabelClass, distinct_color
from owlabel.view.data_requirements import ADVISED_IMAGES
from owlabel_training.core.data import Frames, read_classes, read_frames
from owlabel_training.weak_shot.recipe import WeakDataRecipe

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class WeakFrames:
    """Images, masks of base classes, and what is known of novel classes in each image.

    Attributes
    ----------
    names : tuple of str
    images : tuple of uint8 array, shape (H, W, 3)
    labels : tuple of uint8 array, shape (H, W)
        Base ids 0 .. n_base - 1, 255 what is none of them, UNSET what nobody knows.
    present : tuple of frozenset of int
        Novel ids n_base .. K - 1 that are tagged present in each image.
    unknown : tuple of frozenset of int
        Novel ids of which nobody has said whether they are there.
    classes : ClassTable
        Base classes 0 .. n_base - 1, then the novel ones (`LabelClass.novel`).
    """

    names: tuple[str, ...]
    images: tuple[Pixels, ...]
    labels: tuple[Pixels, ...]
    present: tuple[frozenset[int], ...]
    unknown: tuple[frozenset[int], ...]
    classes: ClassTable

    def __post_init__(self) -> None:
        for name, label in zip(self.names, self.labels, strict=True):
            if int(np.where(label >= UNSET, 0, label).max()) >= self.n_base:
                raise ValueError(f"{name}: labels must be base ids below {self.n_base}, or 255")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_base(self) -> int:
        """Number of classes with masks."""
        return len(self.classes.base)

    @property
    def novel_ids(self) -> tuple[int, ...]:
        """Ids of the classes with tags only."""
        return tuple(range(self.n_base, len(self.classes)))


def weak_frames(
    frames: Frames, novel: Sequence[str], tags: Mapping[str, frozenset[str]]
) -> WeakFrames:
    """Return frames with base masks together with tags.

    Parameters
    ----------
    frames : Frames
        Read with the novel classes left out.
    novel : sequence of str
    tags : mapping
        Name of a frame to the names of the novel classes in it; those not named are absent.
        Nothing is known of a frame that is not there.
    """
    n = len(frames.classes)
    added = tuple(
        LabelClass(n + i, name, distinct_color(n + i), novel=True) for i, name in enumerate(novel)
    )
    ids = {c.name: c.id for c in added}
    rows = [tags.get(name) for name in frames.names]
    return WeakFrames(
        frames.names,
        frames.images,
        frames.labels,
        tuple(frozenset(ids[c] for c in row or () if c in ids) for row in rows),
        tuple(frozenset(ids.values()) if row is None else frozenset() for row in rows),
        ClassTable((*frames.classes.classes, *added)),
    )


def read_tags(path: Path, known: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the classes in each frame from a JSON file.

    ``{"tags": {frame: [class, ...]}}``, or ``{"weak_tags": {"frames": {class: [frame, ...]}}}``.

    Raises
    ------
    ValueError
        If the file cannot be read, has another form, or names a class that is not `known`.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the tags {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    tags = _by_frame(table)
    if tags is None:
        raise ValueError(f'{path} has neither "tags" by frame nor "weak_tags" by class')
    unknown = sorted({c for row in tags.values() for c in row} - set(known))
    if unknown:
        raise ValueError(f"{path} names the classes {unknown}; there are {list(known)}")
    return tags


def _by_frame(table: Any) -> dict[str, frozenset[str]] | None:
    """Return frame to classes, or None where the form is unknown."""
    if not isinstance(table, dict):
        return None
    tags, weak = table.get("tags"), table.get("weak_tags")
    if isinstance(tags, dict) and all(isinstance(row, list) for row in tags.values()):
        return {str(name): frozenset(map(str, row)) for name, row in tags.items()}
    frames = weak.get("frames") if isinstance(weak, dict) else None
    if not isinstance(frames, dict) or not all(isinstance(r, list) for r in frames.values()):
        return None
    classes: dict[str, set[str]] = {}
    for name, row in frames.items():
        for frame in row:
            classes.setdefault(str(frame), set()).add(str(name))
    return {frame: frozenset(row) for frame, row in classes.items()}


def tagged(folder: Path, names: Sequence[str], recipe: WeakDataRecipe) -> WeakFrames:
    """Decode the named frames of a folder, with the tags of one of its files.

    The pixels of novel classes and of those left out are void from here on.

    Raises
    ------
    ValueError
        If a novel class is not one of the data's, or as `read_frames` and `read_tags`.
    """
    known = [c.name for c in read_classes(folder).classes]
    missing = [name for name in recipe.novel if name not in known]
    if missing:
        raise ValueError(f"novel classes {missing} are not in {folder / 'classes.json'}: {known}")
    frames = read_frames(folder, names, [*recipe.novel, *recipe.left_out])
    return weak_frames(frames, recipe.novel, _all_known(folder / recipe.tags, known, names))


def _all_known(
    path: Path, known: Sequence[str], names: Sequence[str]
) -> Mapping[str, frozenset[str]]:
    """Return the tags; a list by class tells of all frames, so what is not named is absent."""
    tags = read_tags(path, known)
    by_class = "weak_tags" in json.loads(path.read_text(encoding="utf-8"))
    return {**dict.fromkeys(names, frozenset()), **tags} if by_class else tags


def with_masks(frames: WeakFrames, labels: Sequence[Pixels]) -> WeakFrames:
    """Return frames in which every class has masks: for the oracle, and to train again.

    Parameters
    ----------
    frames : WeakFrames
    labels : sequence of uint8 array, shape (H, W)
        Ids of all K classes, or 255.
    """
    table = ClassTable(tuple(replace(c, novel=False) for c in frames.classes.classes))
    nothing: tuple[frozenset[int], ...] = (frozenset(),) * len(frames)
    return WeakFrames(frames.names, frames.images, tuple(labels), nothing, nothing, table)


def read_truth(folder: Path, names: Sequence[str], classes: ClassTable) -> Frames:
    """Decode frames with *all* their labels, in the ids of `classes`: to measure, and the oracle.

    Raises
    ------
    ValueError
        As `read_frames`.
    """
    frames = read_frames(folder, names)
    lookup = np.full(256, VOID, np.uint8)
    for c in frames.classes.classes:
        ours = classes.find(c.name)
        if ours is not None:
            lookup[c.id] = ours.id
    return replace(frames, labels=tuple(lookup[label] for label in frames.labels), classes=classes)


def lacking(frames: WeakFrames, fewest: int = ADVISED_IMAGES) -> list[str]:
    """Return which class lacks what, a line for each.

    Raises
    ------
    ValueError
        If nothing can be learnt: no novel class, a novel class without any tag, or no base mask.
    """
    masks = {c.name: 0 for c in frames.classes.base}
    names = frames.classes.names
    for label in frames.labels:
        for class_id in np.unique(label[label < UNSET]):
            masks[names[int(class_id)]] += 1
    tags = {names[i]: sum(i in row for row in frames.present) for i in frames.novel_ids}
    if not tags:
        raise ValueError("nothing to learn from tags: name at least one novel class")
    bare = [name for name, count in tags.items() if not count]
    if bare:
        raise ValueError(f"no image is tagged with {', '.join(bare)}: tag at least {fewest}")
    if not any(masks.values()):
        raise ValueError(f"no base class has a mask: label at least {fewest} images")
    return [
        f"{n}: {c} images with masks, at least {fewest} are advised"
        for n, c in masks.items()
        if c < fewest
    ] + [
        f"{n}: {c} tagged images, at least {fewest} are advised"
        for n, c in tags.items()
        if c < fewest
    ]
