"""What a project lacks to learn masks from tags, in plain words, class by class."""

from __future__ import annotations

from collections.abc import Mapping

from owlabel.classes import ClassTable
from owlabel.project.store import Project

FEWEST = 20
"""Images with a tag of a novel class, or a mask of a known one, below which it is said aloud."""
BARE = "without a mask of a known class, and masks there help most"


def too_few_tags(tags: Mapping[str, int], fewest: int = FEWEST) -> list[str]:
    """Return a line for each novel class that is tagged present in too few images.

    Parameters
    ----------
    tags : mapping
        Name of a novel class to the number of images in which it is present.
    fewest : int
    """
    return [
        f"{name}: present in {_images(count)}, at least {fewest} are advised"
        for name, count in tags.items()
        if count < fewest
    ]


def too_few_masks(masks: Mapping[str, int], fewest: int = FEWEST) -> list[str]:
    """Return one line with all known classes that have masks in too few images, or none.

    Parameters
    ----------
    masks : mapping
        Name of a known class to the number of images in which people labelled it.
    fewest : int
    """
    few = [f"{name} {count}" for name, count in masks.items() if count < fewest]
    if not few:
        return []
    if not any(masks.values()):
        return [
            f"No known class has a mask: label them in at least {fewest} images, tagged ones among "
            "them. The model's own labels do not replace that."
        ]
    return [f"Images with masks of known classes, at least {fewest} are advised: {', '.join(few)}"]


def tags_lacking(project: Project, classes: ClassTable, images: int) -> list[str]:
    """Return which novel class has too few tags; an object that people painted counts as one.

    Parameters
    ----------
    project : Project
    classes : ClassTable
    images : int
        How many images can be read.
    """
    if not classes.novel:
        return ["There is no novel class: name one, then tag images with it."]
    labelled = project.label_index.classes()
    told = too_few_tags({c.name: len(_held(project, labelled, c.id)) for c in classes.novel})
    return told + ([f"The project has only {_images(images)}."] if images < FEWEST else [])


def masks_lacking(project: Project, classes: ClassTable) -> list[str]:
    """Return which known class has masks in too few images, and how many tagged images have none.

    As far as `project.label_index` has looked.
    """
    base = {c.id: c.name for c in classes.base}
    labelled = project.label_index.classes()
    counts = dict.fromkeys(base, 0)
    for class_id in (c for ids in labelled.values() for c in ids if c in base):
        counts[class_id] += 1
    told = too_few_masks({base[c]: count for c, count in counts.items()})
    with_masks = {i for i, ids in labelled.items() if ids & base.keys()}
    for c in classes.novel if with_masks else ():
        held = _held(project, labelled, c.id)
        if bare := len(held - with_masks):
            told.append(f"{c.name}: {bare} of {_images(len(held))} with it {BARE}")
    return told


def _held(project: Project, labelled: Mapping[int, frozenset[int]], class_id: int) -> set[int]:
    """Return the images in which a class is tagged present or painted."""
    painted = {i for i, ids in labelled.items() if class_id in ids}
    return project.tags.present(class_id) | painted


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
