"""Warnings about a project with too few tags or masks to learn masks from tags."""

from __future__ import annotations

from collections.abc import Mapping

from owlabel.classes import ClassTable
from owlabel.project.store import Project

ADVISED_IMAGES = 20
"""Advised number of images: tagged with each novel class, and with masks of each known class."""


def missing_tags(project: Project, classes: ClassTable, images: int) -> list[str]:
    """Return a warning for each novel class that is present in too few images.

    An image counts if people tagged the class as present or painted an object of it.

    Parameters
    ----------
    project : Project
    classes : ClassTable
    images : int
        The number of readable images.
    """
    if not classes.novel:
        return ["There is no novel class: name one, then tag images with it."]
    labelled = project.label_index.classes()
    warnings = []
    for c in classes.novel:
        count = len(_images_with(project, labelled, c.id))
        if count < ADVISED_IMAGES:
            warnings.append(
                f"{c.name}: present in {_images(count)}, at least {ADVISED_IMAGES} are advised"
            )
    if images < ADVISED_IMAGES:
        warnings.append(f"The project has only {_images(images)}.")
    return warnings


def missing_masks(project: Project, classes: ClassTable) -> list[str]:
    """Return warnings about known classes with too few masks and tagged images without any.

    Only the label maps that `project.label_index` has scanned so far count.

    Parameters
    ----------
    project : Project
    classes : ClassTable
    """
    base = {c.id: c.name for c in classes.base}
    labelled = project.label_index.classes()
    counts = {
        name: sum(class_id in ids for ids in labelled.values()) for class_id, name in base.items()
    }
    warnings = _few_masks(counts)
    with_masks = {i for i, ids in labelled.items() if ids & base.keys()}
    for c in classes.novel if with_masks else ():
        images = _images_with(project, labelled, c.id)
        if without := len(images - with_masks):
            warnings.append(
                f"{c.name}: {without} of {_images(len(images))} with this class have no mask of a "
                "known class; masks there help most"
            )
    return warnings


def _few_masks(counts: Mapping[str, int]) -> list[str]:
    """Return at most one warning about all known classes that have masks in too few images."""
    few = [f"{name} {count}" for name, count in counts.items() if count < ADVISED_IMAGES]
    if not few:
        return []
    if not any(counts.values()):
        return [
            f"No known class has a mask: label known classes in at least {ADVISED_IMAGES} images, "
            "some of them tagged. The model's own labels do not count."
        ]
    return [
        f"Images with masks of known classes, at least {ADVISED_IMAGES} are advised: "
        f"{', '.join(few)}"
    ]


def _images_with(
    project: Project, labelled: Mapping[int, frozenset[int]], class_id: int
) -> set[int]:
    """Return the images in which a class is tagged as present or painted."""
    painted = {i for i, ids in labelled.items() if class_id in ids}
    return project.tags.present(class_id) | painted


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
