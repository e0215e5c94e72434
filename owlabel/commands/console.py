"""What the commands share: where they print, how they open a project, how they wait for jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from owlabel.jobs.registry import title_of
from owlabel.project.tables.catalog import REPLACED
from owlabel.view.open_project import is_project, open_project

out = Console(markup=False)  # names of images and classes may hold square brackets
err = Console(stderr=True, markup=False)
REPORT_SECONDS = 30.0
"""Time between two lines of progress where stderr is no terminal."""

ProjectArg = Annotated[Path, typer.Argument(help="A project, or its folder of images.")]
ImageArg = Annotated[str, typer.Argument(help="Name of the image, as `owlabel info` lists it.")]
ModelOption = Annotated[str, typer.Option("--model", help="A checkpoint file, or 'sample'.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with one line and status 1 on bad input."""
    try:
        yield
    except (ValueError, OSError) as error:
        err.print(f"owlabel: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


@contextmanager
def sitting(folder: Path) -> Iterator[Any]:
    """Open a project's session without a worker; ends with one line and status 1 on bad input."""
    from owlabel.session.session import Session

    with one_line_errors():
        known = is_project(folder)
        project = open_project(folder)
        if not known:
            err.print(f"created the project {project.folder}", markup=False, highlight=False)
        session = Session(project, start_worker=False)
        for name in session.project.replaced:
            err.print(f"{name}{REPLACED}", style="yellow", markup=False, highlight=False)
        try:
            yield session
        finally:
            session.close()


def image_id(session: Any, image: str) -> int:
    """Return the id of the image of this name (its path below the folder, or its file name)."""
    named = [r for r in session.records if image == r.relative]
    named = named or [r for r in session.records if image == Path(r.relative).name]
    for record in () if named else session.broken:
        if image in (record.relative, Path(record.relative).name):
            raise ValueError(f"{record.relative} cannot be read: {record.error}")
    if not named:
        raise ValueError(f"no image is named {image!r}: `owlabel info` lists the names")
    if len(named) > 1:
        paths = ", ".join(r.relative for r in named[:3])
        raise ValueError(f"{len(named)} images are named {image!r}: give the path, as in {paths}")
    return int(named[0].id)


def show(session: Any, image: str) -> None:
    """Go to the image of this name."""
    session.go_to(image_id(session, image))


def work(session: Any) -> None:
    """Run all queued jobs in a worker process and show their progress.

    A terminal gets a bar; a file or a pipe gets a line every `REPORT_SECONDS`.
    """
    from owlabel.jobs.drain import drain

    with _progress_bar() as bar:
        job_id, task, reported = -1, bar.add_task("", total=None), time.monotonic()
        for row in drain(session.project):
            if row.state != "running":
                continue
            text = f"{title_of(row.kind)}: {row.message}" if row.message else title_of(row.kind)
            if row.id != job_id:
                job_id = row.id
                bar.reset(task)  # the time left is measured for each job anew
            bar.update(task, description=text, completed=row.done, total=row.total or None)
            if bar.disable and time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                err.print(f"{text} ({row.done}/{row.total or '?'})", highlight=False)
    session.poll()


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def finished(session: Any, job_id: int, what: str) -> Any:
    """Run all queued jobs and return the row of one; raises ValueError unless it is done."""
    work(session)
    row = next(r for r in session.worker.jobs() if r.id == job_id)
    if row.state != "done":
        raise ValueError(f"{what} ended as {row.state}: {row.error or row.message}")
    return row


def refuse_existing(file: Path, overwrite: bool) -> None:
    """Raise ValueError where a file cannot be written, or would be replaced without being asked."""
    if not file.parent.is_dir():
        raise ValueError(f"there is no folder {file.parent}: create it first")
    if file.exists() and not overwrite:
        raise ValueError(f"{file} exists: choose another name, or add --overwrite")


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows of equal keys as a table, or as JSON."""
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table(*(rows[0] if rows else ["nothing to list"]))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)
