"""The annotator's steps without a window: ``owlabel new / embed / candidates / click / ...``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from owlabel import __version__
from owlabel.checkpoints.residual_header import MODEL_KIND
from owlabel.commands.cache import cache
from owlabel.commands.clusters import app as clusters
from owlabel.commands.console import (
    ImageArg,
    JsonOption,
    ModelOption,
    ProjectArg,
    err,
    one_line_errors,
    out,
    print_rows,
    show,
    sitting,
    work,
)
from owlabel.commands.doctor import doctor
from owlabel.commands.evaluate import evaluate
from owlabel.commands.large import large
from owlabel.commands.meta import meta
from owlabel.commands.proposals import app as proposals
from owlabel.commands.scores import scores
from owlabel.commands.tags import app as tags
from owlabel.commands.training.pretrain import pretrain
from owlabel.commands.training.train import train
from owlabel.commands.training.train_ood import train_ood
from owlabel.commands.training.weak_shot import weak_shot
from owlabel.formats.labels.registry import FORMATS
from owlabel.project.creation import DATABASE
from owlabel.view.open_project import open_project

app = typer.Typer(
    name="owlabel",
    help="Open-world labelling: see what a model has never seen, name it with a click.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(cache)
app.command()(doctor)
app.command()(large)
app.command()(scores)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Find what a model has never seen, and name it.  Without a command, open the window."""
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        _window(lambda main_module: main_module.open_window(None))


def _window(use: Callable[[Any], None], name: str = "owlabel_napari.entry.windows") -> None:
    """Import the napari panel and use it; says what to install where it is not there."""
    try:
        module = import_module(name)
    except ImportError as error:
        err.print(f"owlabel: the window needs napari ({error}).", style="red", markup=False)
        err.print('Install it with: pip install "owlabel[pyqt5]"', markup=False)
        raise typer.Exit(1) from None
    with one_line_errors():
        use(module)


@app.command("open")
def open_(
    folder: Annotated[Path, typer.Argument(help="A folder of images, or a project.")],
    model: ModelOption = "sample",
    project: Annotated[Path | None, typer.Option(help="Folder for a new project.")] = None,
) -> None:
    """Open a folder of images, or a project, in the window."""
    _window(lambda module: module.open_window(folder, model, project))


@app.command()
def demo(
    walk: Annotated[
        Path | None, typer.Option(help="Run all steps without a user; write screenshots here.")
    ] = None,
) -> None:
    """Open the window on the sample street scenes, or walk through all steps there."""
    _window(lambda module: module.demo(walk), "owlabel_napari.entry.demo")


@app.command()
def new(
    images: Annotated[Path, typer.Argument(help="Folder of images; it is never changed.")],
    model: ModelOption = "sample",
    project: Annotated[Path | None, typer.Option(help="Folder for the project.")] = None,
) -> None:
    """Create a project for a folder of images and print its path."""
    with one_line_errors(), open_project(images, model, project) as made:
        broken = [r for r in made.images() if r.error is not None]
        print(made.folder)
        for record in broken:
            err.print(f"left out: {record.error}", style="yellow", markup=False)


@app.command()
def embed(project: ProjectArg) -> None:
    """Embed every image that is not in the cache yet."""
    with sitting(project) as session:
        session.submit_embedding()
        work(session)
        done, total = session.progress
        out.print(f"{done} of {total} images are embedded", highlight=False)
        for record in session.broken:
            err.print(f"left out: {record.error}", style="yellow", markup=False)


@app.command()
def candidates(
    project: ProjectArg,
    limit: Annotated[int, typer.Option(min=1)] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the open out-of-distribution candidates of the data set, best first."""
    with sitting(project) as session:
        rows = [
            {
                **dict(zip(("kind", "id"), item.key.split(), strict=True)),
                "image": item.record.relative,
                "row": item.peak[0],
                "col": item.peak[1],
                "score": round(item.score, 4),
                "area": item.area,
                "looks_like": session.classes.names.get(item.likely_class, ""),
                "claimed_by": item.class_name,
                "false": None if item.false is None else round(item.false, 3),
            }
            for item in session.queue.items(limit)
        ]
        done, total = session.progress
    if done < total:
        err.print(f"{done} of {total} images are embedded: run `owlabel embed` for the others")
    print_rows(rows, as_json)


@app.command()
def click(
    project: ProjectArg,
    image: ImageArg,
    row: int,
    col: int,
    remove: Annotated[bool, typer.Option("--remove", help="Take away from the region.")] = False,
) -> None:
    """Click a pixel: add to the pending region of the image, or take away from it."""
    with sitting(project) as session:
        show(session, image)
        session.labels.click(row, col, add=not remove)
        area = 0 if session.labels.region is None else session.labels.region.area
        clicks = len(session.labels.clicks)
        told = f"region of {area} pixels, {clicks} click{'s' * (clicks != 1)}"
        out.print(told, highlight=False)


@app.command()
def learn(project: ProjectArg, image: ImageArg, name: str) -> None:
    """Name the pending region; a new name creates a novel class and searches all images for it."""
    with sitting(project) as session:
        show(session, image)
        named = session.labels.accept(name)
        session.search.submit()
        work(session)
        found = session.shots.occurrences.get(named.id, 0)
        out.print(f"{named.name}: found in {found} of {len(session.records)} images")


@app.command()
def review(
    project: ProjectArg,
    image: ImageArg,
    reopen: Annotated[bool, typer.Option("--reopen", help="Reopen the image instead.")] = False,
) -> None:
    """Mark an image as reviewed, which freezes its labels."""
    with sitting(project) as session:
        show(session, image)
        session.labels.review(not reopen)
        out.print(f"{session.record().relative}: {session.record().state}", highlight=False)


app.command()(train)


@app.command()
def models(project: ProjectArg, as_json: JsonOption = False) -> None:
    """List the versions of the model, the oldest first."""
    with sitting(project) as session:
        rows = [
            {
                "model": v.id, "name": v.name, "kind": v.kind, "from": v.parent_id or "",
                "in use": "yes" if v.id == session.models.active.id else "",
            }
            for v in session.project.models()
        ]  # fmt: skip
    print_rows(rows, as_json)


@app.command()
def adopt(project: ProjectArg, model_id: int) -> None:
    """Use a trained model version from now on, or switch back to an earlier one."""
    with sitting(project) as session:
        found = next((v for v in session.project.models() if v.id == model_id), None)
        settled = session.project.setting(f"settled_{model_id}") == "adopted"
        if found and found.kind != MODEL_KIND and (settled or found.parent_id is None):
            session.models.switch(model_id)
        else:
            session.models.adopt(model_id)
        work(session)
        out.print(f"in use: {session.models.active.name}", highlight=False)


@app.command()
def undo(project: ProjectArg) -> None:
    """Undo the last act, of any kind."""
    with sitting(project) as session:
        out.print(f"undone: {session.can_undo or 'nothing'}", highlight=False)
        session.undo()
        work(session)


@app.command()
def redo(project: ProjectArg) -> None:
    """Redo the act that was undone last."""
    with sitting(project) as session:
        out.print(f"redone: {session.can_redo or 'nothing'}", highlight=False)
        session.redo()
        work(session)


@app.command()
def export(
    project: ProjectArg,
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    format_name: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(FORMATS.names())}.")
    ] = "masks",
    which: Annotated[str, typer.Option(help="Which images: reviewed or all.")] = "reviewed",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder.")] = False,
    abstain: Annotated[
        float | None, typer.Option(help="EDS absolute from which base labels become 255 (void).")
    ] = None,
) -> None:
    """Export labels, with the source of every pixel."""
    with sitting(project) as session:
        job_id = session.export(folder.resolve(), format_name, which, overwrite, abstain)
        work(session)
        row = next(r for r in session.worker.jobs() if r.id == job_id)
        if row.state != "done":
            raise ValueError(f"the export ended as {row.state}: {row.error or row.message}")
        out.print(f"{row.result['images']} images in {folder}", highlight=False)


@app.command()
def info(project: ProjectArg, as_json: JsonOption = False) -> None:
    """List the images of a project and the state of each."""
    with sitting(project) as session:
        rows = [
            {"image": r.relative, "shape": r.shape, "state": r.state, "problem": r.error or ""}
            for r in session.project.images()
        ]
    print_rows(rows, as_json)


@app.command()
def log(project: ProjectArg) -> None:
    """Print the recording of a project, one event per line, for `owlabel replay`."""
    from owlabel.session.recording import recording_lines

    with sitting(project) as session:
        for line in recording_lines(session):
            print(json.dumps(line, ensure_ascii=False, sort_keys=True))


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="What `owlabel log` printed.")],
    images: Annotated[Path, typer.Argument(help="The folder of images.")],
    project: Annotated[Path, typer.Option(help="Folder for the new project; must not exist.")],
    model: ModelOption = "sample",
) -> None:
    """Replay a recording on a new project; fails unless all labels are the same."""
    from owlabel.session.recording import read_recording
    from owlabel.session.recording import replay as again

    project = project.expanduser().resolve()
    if project.exists():
        err.print(f"owlabel: {project} exists: choose another folder", style="red", markup=False)
        raise typer.Exit(1)
    with one_line_errors():
        read_recording(recording)  # refused before anything is made
        if (images / DATABASE).is_file():
            raise ValueError(f"{images} is a project: name the folder of its images")
        open_project(images, model, project).close()
    try:
        with sitting(project) as session:
            differing = again(session, recording, lambda: work(session))
            count = len(session.records)
    except typer.Exit:
        shutil.rmtree(project, ignore_errors=True)  # made by this command: nobody has worked in it
        raise
    with one_line_errors():
        if differing:
            raise ValueError(f"labels differ in {len(differing)} images: {', '.join(differing)}")
    out.print(f"byte-identical labels in {count} images", highlight=False)


app.command()(evaluate)
app.command()(meta)
app.command("train-ood")(train_ood)
app.command("weak-shot")(weak_shot)
app.command()(pretrain)
app.add_typer(tags, name="tags")
app.add_typer(proposals, name="proposals")
app.add_typer(clusters, name="clusters")


if __name__ == "__main__":
    app()
