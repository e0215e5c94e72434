"""Tags to masks on the sample scenes: ``python -m experiments.methods.weak_shot_sample``.

Makes a project of scenes with objects that the model has never seen, tags two of their kinds, runs
the job, and measures what it proposes.  The scenes, 20 with each kind and 20 with two kinds that
nobody tags, and others to measure on:

    python -m owlabel_samples.make --strange DIR --count 60 --seed 700000 --kinds KINDS
    python -m owlabel_samples.make --strange TEST --count 30 --seed 800000 --kinds KINDS

with KINDS "deer,hay bale,sofa,deer,hay bale,shopping trolley".
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: idle threads sleep

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from experiments.methods.weak_shot_lists import MIN_SHARE, tags_of
from experiments.results import write_result
from owlabel.classes import UNSET
from owlabel.jobs.job import JobContext, Progress, run_to_end
from owlabel.metrics import ConfusionMatrix
from owlabel.models.mask.mask_former import MaskFormer
from owlabel.models.mask.weights import load_mask_former
from owlabel.project.store import Project
from owlabel.session.session import Session
from owlabel_training.core.data import Frames, read_classes, read_frames
from owlabel_training.weak_shot.data import read_truth
from owlabel_training.weak_shot.job import WeakShotJob
from owlabel_training.weak_shot.pseudo_labels import class_maps, measure, scores_of

NOTE = (
    "the start is the shipped sample model, which has seen neither these scenes nor any strange "
    "kind; tags of two kinds, the two others are in the pictures and nobody says so; `complement` "
    "is what is known without any learning: all pixels that people left out, as the tagged kind"
)
LABELLED = ("all", "half", "untagged")


@dataclass(frozen=True)
class Setup:
    """What is tagged and labelled by the people that are played here.

    Attributes
    ----------
    data : Path
        Folder with ``images/``, ``labels/`` and ``classes.json``.
    checkpoint : Path
    novel : tuple of str
        Kinds with tags only.
    labelled : {"all", "half", "untagged"}
        Pictures in which people have labelled the known classes: all, those without a tag and every
        other one of each kind, or those without a tag.
    """

    data: Path
    checkpoint: Path
    novel: tuple[str, ...]
    labelled: str


def main(
    data: Annotated[Path, typer.Option(help="The scenes to tag.")],
    start: Annotated[Path, typer.Option(help="Checkpoint of the sample model.")],
    test: Annotated[Path | None, typer.Option(help="Scenes to measure on.")] = None,
    novel: Annotated[str, typer.Option(help="Kinds to tag.")] = "deer,hay bale",
    labelled: Annotated[str, typer.Option(help="Pictures: all, half or untagged.")] = "all",
    iterations: Annotated[int, typer.Option(min=1)] = 600,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="JSON file.")] = Path("weak_shot_sample.json"),
    keep: Annotated[
        Path | None, typer.Option(help="Folder for the project; the same line again goes on there.")
    ] = None,
) -> None:
    """Tag, train, propose and measure."""

    def run() -> dict[str, Any]:
        if labelled not in LABELLED:
            raise ValueError(f"--labelled must be one of {', '.join(LABELLED)}, got {labelled!r}")
        names = tuple(name.strip() for name in novel.split(","))
        setup = Setup(data, start, names, labelled)
        with tempfile.TemporaryDirectory() as passing:
            work = keep or Path(passing)
            return sample(setup, test, {"iterations": iterations, "seed": seed}, work)

    write_result(out, run, NOTE)


def sample(setup: Setup, test: Path | None, course: dict[str, Any], work: Path) -> dict[str, Any]:
    """Return what the job proposes and how good it is."""
    names = sorted(path.stem for path in (setup.data / "labels").glob("*.png"))
    truth = read_frames(setup.data, names)
    with _project(setup, truth, work) as project:
        model = next(iter(project.models()))
        job = WeakShotJob(model.path.relative_to(project.folder).as_posix(), course)
        result = run_to_end(job.run(JobContext(project.folder, work / "1")), _tell)
        found = _proposed(project, setup, truth)
        trained = load_mask_former(project.folder / result["path"])
        tags = {project.classes().names[c]: n["present"] for c, n in project.tags.counts().items()}
    report = {
        "labelled": setup.labelled, "tags": tags, "course": course,
        "training_minutes": result["minutes"],
        "lacking": result["lacking"], "proposals": result["classes"], **found,
    }  # fmt: skip
    network, table = trained[0], trained[1].classes
    report["alone"] = alone(network, read_truth(setup.data, names, table), len(table.base))
    if test is not None:
        unseen = sorted(path.stem for path in (test / "labels").glob("*.png"))
        frames = read_truth(test, unseen, table)
        report["unseen_tagged"] = alone(network, frames, len(table.base))
        report["unseen"] = measure(class_maps(network, frames), frames, len(table.base))
    return report


def alone(model: MaskFormer, truth: Frames, n_base: int) -> dict[str, float]:
    """Return the IoU of each tagged kind, told by network and tags alone, without any label."""
    novel = [c for c in truth.classes.classes if c.id >= n_base]
    matrices = {c.name: ConfusionMatrix(2) for c in novel}
    for image, label in zip(truth.images, truth.labels, strict=True):
        held = [c for c in novel if (label == c.id).mean() >= MIN_SHARE]
        if held:
            absent = [c.id for c in novel if c not in held]
            found = scores_of(model, image, absent).argmax(axis=0)
            for c in held:
                true, told = (one == c.id for one in (label, found))
                matrices[c.name].update(true.astype(np.uint8), told.astype(np.uint8))
    return {name: round(float(m.iou()[1]), 4) for name, m in matrices.items() if m.counts.any()}


def _project(setup: Setup, truth: Frames, work: Path) -> Project:
    """Return the project, labelled and tagged as people would; an earlier one is taken up."""
    folder = work / "p.owlabel"
    if folder.exists():
        return Project.open(folder)
    project = Project.create(folder, setup.data / "images", setup.checkpoint)
    _play(Session(project, start_worker=False), setup, truth)
    return project


def _play(session: Session, setup: Setup, truth: Frames) -> None:
    """Label and tag as people would."""
    base = [c.id for c in session.classes.base]
    present: dict[str, list[int]] = {name: [] for name in setup.novel}
    tags = tags_of(setup.data, list(truth.names))
    for record, label in _pairs(session.project, truth):
        held = [n for n in setup.novel if n in tags[Path(session.record(record).relative).stem]]
        for name in held:
            present[name].append(record)
        odd = any(len(present[name]) % 2 for name in held)
        if not held or setup.labelled == "all" or (setup.labelled == "half" and odd):
            human = np.where(np.isin(label, base), label, np.uint8(UNSET)).astype(np.uint8)
            with session.project.action("paint", {}, "label") as action:
                action.set_labels(record, human)
    everything = {r.id for r in session.project.images()}
    for name, records in present.items():
        class_id = session.labels.add_class(name).id
        session.tags.tag(records, class_id, "present")
        session.tags.tag(sorted(everything - set(records)), class_id, "absent")


def _pairs(project: Project, truth: Frames) -> list[tuple[int, NDArray[np.uint8]]]:
    """Return image id and true labels of every picture."""
    labels = dict(zip(truth.names, truth.labels, strict=True))
    return [(r.id, labels[Path(r.relative).stem]) for r in project.images()]


def _proposed(project: Project, setup: Setup, truth: Frames) -> dict[str, Any]:
    """Return the IoU of the proposed masks in the tagged pictures, by kind and in the mean.

    ``unlabelled`` counts the pictures alone in which people labelled nothing.
    """
    names = project.classes().names
    result: dict[str, Any] = {"iou": {}, "unlabelled": {}, "complement": {}}
    for class_id in (i for i, name in names.items() if name in setup.novel):
        matrices = {key: ConfusionMatrix(2) for key in result}
        for true, mask, left in _masks(project, setup, truth, class_id):
            matrices["iou"].update(true, mask)
            matrices["complement"].update(true, left)
            if left.all():
                matrices["unlabelled"].update(true, mask)
        for key, matrix in matrices.items():
            if matrix.counts.any():
                result[key][names[class_id]] = round(float(matrix.iou()[1]), 4)
    for key in ("iou", "unlabelled"):
        values = list(result[key].values())
        result[f"mean_{key}"] = round(float(np.mean(values)), 4) if values else None
    return result


def _masks(
    project: Project, setup: Setup, truth: Frames, class_id: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield truth, proposal and what people left, 0 or 1, of each picture tagged with a class."""
    theirs = {c.name: c.id for c in read_classes(setup.data).classes}
    number = theirs[project.classes().names[class_id]]
    found = project.proposals.open("weak_shot")
    masks = {p.image_id: p.id for p in found if p.class_id == class_id}
    tags = project.tags.by_class(class_id)
    for record, label in _pairs(project, truth):
        if tags.get(record) != "present":
            continue
        nothing = np.zeros(label.shape, np.uint8)
        mask = project.proposals.mask(masks[record]) if record in masks else nothing
        left = project.human_labels(record) == UNSET
        yield (label == number).astype(np.uint8), mask.astype(np.uint8), left.astype(np.uint8)


def _tell(progress: Progress) -> None:
    if progress.metrics and progress.done % 100 == 0:
        numbers = "  ".join(f"{k} {v:.3f}" for k, v in progress.metrics.items())
        typer.echo(f"step {progress.done}: {numbers}")


if __name__ == "__main__":
    typer.run(main)
