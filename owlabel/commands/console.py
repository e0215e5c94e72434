"""What the commands share: consoles, opening a session, running jobs, printing tables."""

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

# no markup: names may hold square brackets; soft_wrap: a long path stays on one line
out = Console(markup=False, highlight=False, soft_wrap=True)
err = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
REPORT_SECONDS = 30.0
"""Time between two lines of progress if stderr is not a terminal."""

UNLIMITED = 100_000
"""Width of a table in a file or a pipe, in characters; it takes only what it needs."""

ProjectArg = Annotated[Path, typer.Argument(help="A project, or its folder of images.")]
ImageArg = Annotated[str, typer.Argument(help="Name of the image in `owlabel info`.")]
ModelOption = Annotated[str, typer.Option("--model", help="A checkpoint file, or 'sample'.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """On bad input, print one line and end the command with status 1."""
    try:
        yield
    except (ValueError, OSError) as error:
        err.print(f"owlabel: {error}", style="red")
        raise typer.Exit(1) from None


@contextmanager
def open_session(folder: Path) -> Iterator[Any]:
    """Open a session without a worker; on bad input, print one line and end with status 1."""
    from owlabel.session.session import Session

    with one_line_errors():
        existed = is_project(folder)
        project = open_project(folder)
        if not existed:
            err.print(f"created a project: {project.folder}")
        session = Session(project, start_worker=False)
        for name in session.project.replaced:
            err.print(f"{name}{REPLACED}", style="yellow")
        try:
            yield session
        finally:
            session.close()


def image_id(session: Any, image: str) -> int:
    """Return the id of an image by its path below the image folder, or by its file name."""
    named = [r for r in session.records if image == r.relative]
    named = named or [r for r in session.records if image == Path(r.relative).name]
    for record in () if named else session.broken:
        if image in (record.relative, Path(record.relative).name):
            raise ValueError(f"{record.relative} cannot be read: {record.error}")
    if not named:
        raise ValueError(f"no image is named {image!r}: see `owlabel info`")
    if len(named) > 1:
        paths = ", ".join(r.relative for r in named[:3])
        raise ValueError(f"{len(named)} images are named {image!r}: give the path, as in {paths}")
    return int(named[0].id)


def go_to_image(session: Any, image: str) -> None:
    """Make an image current, by its name."""
    session.go_to(image_id(session, image))


def run_jobs(session: Any) -> None:
    """Run all queued jobs in a worker process and show their progress.

    A terminal gets a bar; a file or a pipe gets a line every `REPORT_SECONDS`.
    """
    from owlabel.jobs.drain import drain

    with progress_bar() as bar:
        job_id, task, reported = -1, bar.add_task("", total=None), time.monotonic()
        for row in drain(session.project):
            if row.state != "running":
                continue
            text = f"{title_of(row.kind)}: {row.message}" if row.message else title_of(row.kind)
            if row.id != job_id:
                job_id = row.id
                bar.reset(task)  # estimate the time left for each job separately
            bar.update(task, description=text, completed=row.done, total=row.total or None)
            if bar.disable and time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                err.print(f"{text} ({row.done}/{row.total or '?'})")
    session.poll()


def progress_bar() -> Progress:
    """Return a progress bar on stderr; it is shown only if stderr is a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def run_job(session: Any, job_id: int, what: str) -> Any:
    """Run all queued jobs and return the row of one job; raises ValueError unless it is done."""
    run_jobs(session)
    row = next(r for r in session.worker.jobs() if r.id == job_id)
    if row.state != "done":
        raise ValueError(f"{what} was not completed ({row.state}): {row.error or row.message}")
    return row


def refuse_existing(file: Path, overwrite: bool) -> None:
    """Raise ValueError if the folder of a file is missing, or the file exists already."""
    if not file.parent.is_dir():
        raise ValueError(f"there is no folder {file.parent}: create it first")
    if file.exists() and not overwrite:
        raise ValueError(f"{file} already exists: choose another name, or use --overwrite")


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows with equal keys as a table, or as JSON.

    Names are never cut. A terminal breaks long values over lines; a file or a pipe gets each row
    on one line.
    """
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table()
    for name in rows[0] if rows else ["nothing to list"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = out if out.is_terminal else Console(markup=False, width=UNLIMITED)
    console.print(table, soft_wrap=False)
