"""The command line: ``owlabel new / embed / candidates / click / ...``, without a window."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
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
    go_to_image,
    one_line_errors,
    open_session,
    out,
    print_rows,
    run_job,
    run_jobs,
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
from owlabel.project.store import ImageRecord
from owlabel.view.open_project import open_project

app = typer.Typer(
    name="owlabel",
    help="Open-world labelling: find objects that a model does not know and name them.",
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
    """Open the window if no command is given."""
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        _window(lambda main_module: main_module.open_window(None))


def _window(use: Callable[[Any], None], name: str = "owlabel_napari.entry.windows") -> None:
    """Import a module of the window and use it; print what to install if it is missing."""
    try:
        module = import_module(name)
    except ImportError as error:
        err.print(f"owlabel: the window needs napari ({error}).", style="red")
        err.print('Install it with: pip install "owlabel[pyqt5]"')
        raise typer.Exit(1) from None
    with one_line_errors():
        use(module)


@app.command("open")
def open_(
    folder: Annotated[Path, typer.Argument(help="A folder of images, or a project.")],
    model: ModelOption = "sample",
    project: Annotated[Path | None, typer.Option(help="Folder of a new project.")] = None,
) -> None:
    """Open a folder of images, or a project, in the window."""
    _window(lambda module: module.open_window(folder, model, project))


@app.command()
def demo(
    walk: Annotated[
        Path | None,
        typer.Option(help="Run all steps without a user and write the results to this folder."),
    ] = None,
) -> None:
    """Open the window with the sample street scenes, or run all steps on them."""
    _window(lambda module: module.demo(walk), "owlabel_napari.entry.demo")


@app.command()
def new(
    images: Annotated[Path, typer.Argument(help="Folder of images; it is never changed.")],
    model: ModelOption = "sample",
    project: Annotated[Path | None, typer.Option(help="Folder of the new project.")] = None,
) -> None:
    """Create a project for a folder of images and print the project's folder."""
    with one_line_errors(), open_project(images, model, project) as opened:
        print(opened.folder)
        _print_broken([r for r in opened.images() if r.error is not None])


def _print_broken(records: Sequence[ImageRecord]) -> None:
    for record in records:
        err.print(f"skipped: {record.error}", style="yellow")


@app.command()
def embed(project: ProjectArg) -> None:
    """Embed all images that are not in the cache yet."""
    with open_session(project) as session:
        session.submit_embedding()
        run_jobs(session)
        done, total = session.progress
        out.print(f"{done} of {total} images are embedded")
        _print_broken(session.broken)


@app.command()
def candidates(
    project: ProjectArg,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of items.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the open items of the review queue, best first."""
    with open_session(project) as session:
        rows = [
            {
                "kind": item.kind,
                "id": item.id,
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
        err.print(f"{done} of {total} images are embedded: run `owlabel embed` to embed the others")
    print_rows(rows, as_json)


@app.command()
def click(
    project: ProjectArg,
    image: ImageArg,
    row: Annotated[int, typer.Argument(help="Row of the pixel, from 0.")],
    col: Annotated[int, typer.Argument(help="Column of the pixel, from 0.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove from the region.")] = False,
) -> None:
    """Click a pixel: add to the pending region of the image, or remove from it."""
    with open_session(project) as session:
        go_to_image(session, image)
        session.labels.click(row, col, add=not remove)
        area = 0 if session.labels.region is None else session.labels.region.area
        clicks = len(session.labels.clicks)
        plural = "" if clicks == 1 else "s"
        out.print(f"region of {area} pixels, {clicks} click{plural}")


@app.command()
def learn(
    project: ProjectArg,
    image: ImageArg,
    name: Annotated[str, typer.Argument(help="Name of a class, existing or new.")],
) -> None:
    """Give the pending region a class; search all images for it if the class is novel."""
    with open_session(project) as session:
        go_to_image(session, image)
        named = session.labels.accept(name)
        session.search.submit()
        run_jobs(session)
        images = session.shots.occurrences.get(named.id, 0)
        out.print(f"{named.name}: found in {images} of {len(session.records)} images")


@app.command()
def review(
    project: ProjectArg,
    image: ImageArg,
    reopen: Annotated[bool, typer.Option("--reopen", help="Reopen a reviewed image.")] = False,
) -> None:
    """Mark an image as reviewed and freeze its labels."""
    with open_session(project) as session:
        go_to_image(session, image)
        session.labels.review(not reopen)
        out.print(f"{session.record().relative}: {session.record().state}")


app.command()(train)


@app.command()
def models(project: ProjectArg, as_json: JsonOption = False) -> None:
    """List the model versions of a project, oldest first."""
    with open_session(project) as session:
        rows = [
            {
                "model": v.id, "name": v.name, "kind": v.kind, "from": v.parent_id or "",
                "in use": "yes" if v.id == session.models.active.id else "",
            }
            for v in session.project.models()
        ]  # fmt: skip
    print_rows(rows, as_json)


@app.command()
def adopt(
    project: ProjectArg,
    model_id: Annotated[int, typer.Argument(help="Number of the model in `owlabel models`.")],
) -> None:
    """Use a trained model from now on, or return to a model that was in use before."""
    with open_session(project) as session:
        version = next((v for v in session.project.models() if v.id == model_id), None)
        adopted = session.project.setting(f"settled_{model_id}") == "adopted"
        if version and version.kind != MODEL_KIND and (adopted or version.parent_id is None):
            session.models.switch(model_id)
        else:
            session.models.adopt(model_id)
        run_jobs(session)
        out.print(f"in use: {session.models.active.name}")


@app.command()
def undo(project: ProjectArg) -> None:
    """Undo the last act of any kind."""
    with open_session(project) as session:
        out.print(f"undone: {session.can_undo or 'nothing'}")
        session.undo()
        run_jobs(session)


@app.command()
def redo(project: ProjectArg) -> None:
    """Redo the act that was undone last."""
    with open_session(project) as session:
        out.print(f"redone: {session.can_redo or 'nothing'}")
        session.redo()
        run_jobs(session)


@app.command()
def export(
    project: ProjectArg,
    folder: Annotated[Path, typer.Argument(help="Folder to create; it must not exist.")],
    format_name: Annotated[
        str, typer.Option("--format", help=f"One of {', '.join(FORMATS.names())}.")
    ] = "masks",
    which: Annotated[str, typer.Option(help="Images to export: reviewed or all.")] = "reviewed",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing folder.")
    ] = False,
    abstain: Annotated[
        float | None,
        typer.Option(help="Absolute EDS from which model labels are exported as void (255)."),
    ] = None,
) -> None:
    """Export labels, with the source of each label."""
    with open_session(project) as session:
        job_id = session.export(folder.resolve(), format_name, which, overwrite, abstain)
        row = run_job(session, job_id, "the export")
        out.print(f"{row.result['images']} images in {folder}")


@app.command()
def info(project: ProjectArg, as_json: JsonOption = False) -> None:
    """List the images of a project and their states."""
    with open_session(project) as session:
        rows = [
            {"image": r.relative, "shape": r.shape, "state": r.state, "problem": r.error or ""}
            for r in session.project.images()
        ]
    print_rows(rows, as_json)


@app.command()
def log(project: ProjectArg) -> None:
    """Print the session as a recording for `owlabel replay`, one event a line."""
    from owlabel.session.recording import recording_lines

    with open_session(project) as session:
        for line in recording_lines(session):
            print(json.dumps(line, ensure_ascii=False, sort_keys=True))


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="The output of `owlabel log`.")],
    images: Annotated[Path, typer.Argument(help="Folder of the images.")],
    project: Annotated[Path, typer.Option(help="Folder of the new project.")],
    model: ModelOption = "sample",
) -> None:
    """Replay a recording on a new project; fail unless all labels are the same."""
    from owlabel.session.recording import read_recording
    from owlabel.session.recording import replay as replay_recording

    project = project.expanduser().resolve()
    if project.exists():
        err.print(f"owlabel: {project} already exists: choose another folder", style="red")
        raise typer.Exit(1)
    with one_line_errors():
        read_recording(recording)  # refuse it before anything is created
        if (images / DATABASE).is_file():
            raise ValueError(f"{images} is a project: choose the folder of its images")
        open_project(images, model, project).close()
    try:
        with open_session(project) as session:
            differing = replay_recording(session, recording, lambda: run_jobs(session))
            count = len(session.records)
    except typer.Exit:
        shutil.rmtree(project, ignore_errors=True)  # created by this command, and empty
        raise
    with one_line_errors():
        if differing:
            raise ValueError(
                f"the labels differ in {len(differing)} images: {', '.join(differing)}"
            )
    out.print(f"the labels of all {count} images are identical")


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
