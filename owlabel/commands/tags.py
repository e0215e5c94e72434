"""``owlabel tags``: tag images with the classes that are present in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from owlabel.commands.console import (
    JsonOption,
    OverwriteOption,
    ProjectArg,
    image_id,
    open_session,
    out,
    print_rows,
    refuse_existing,
)
from owlabel.formats.tags.files import Reading

app = typer.Typer(help="Tag images with classes.", no_args_is_help=True)
ImagesArg = Annotated[list[str], typer.Argument(help="Names of images in `owlabel info`.")]


@app.callback()
def tags(context: typer.Context, project: ProjectArg) -> None:
    """Tag images: a class is present, absent or unknown in an image."""
    context.obj = project


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CSV, JSON or COCO file, or a folder of class folders.")
    ],
    create_classes: Annotated[
        bool, typer.Option("--create-classes", help="Create a novel class for each unknown name.")
    ] = False,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Skip unknown images and classes.")
    ] = False,
    others_absent: Annotated[
        bool,
        typer.Option("--others-absent", help="Classes that the file does not name are absent."),
    ] = False,
) -> None:
    """Import tags from a file: all of them, or none if one is malformed."""
    with open_session(context.obj) as session:
        how = Reading(create_classes, skip_unknown, others_absent)
        out.print(str(session.tags.import_file(file, how)))


@app.command("set")
def set_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the class.")],
    state: Annotated[str, typer.Argument(help="present, absent or unknown.")],
    images: ImagesArg,
    create: Annotated[
        bool, typer.Option("--create-classes", help="Create the class if it does not exist.")
    ] = False,
) -> None:
    """Tag images with one class."""
    with open_session(context.obj) as session:
        ids = [image_id(session, image) for image in images]
        named = session.classes.find(name)
        if named is None and not create:
            raise ValueError(f"no class is named {name!r}: create it with --create-classes")
        if named is None:
            count = session.tags.tag_all({}, {name: dict.fromkeys(ids, state)})
        else:
            count = session.tags.tag(ids, named.id, state)
        out.print(f"{count} new tags")


@app.command("none")
def none(context: typer.Context, images: ImagesArg) -> None:
    """Tag every novel class as absent in images, except classes that already have a tag."""
    with open_session(context.obj) as session:
        count = session.tags.tag_none([image_id(session, image) for image in images])
        out.print(f"{count} new tags")


@app.command("list")
def list_(
    context: typer.Context,
    name: Annotated[str, typer.Option("--class", help="Only tags of this class.")] = "",
    counts: Annotated[bool, typer.Option("--counts", help="Count the tags of each class.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the tags of each image."""
    with open_session(context.obj) as session:
        rows = _counts(session) if counts else _rows(session, name)
    print_rows(rows, as_json)


def _rows(session: Any, name: str) -> list[dict[str, Any]]:
    named = session.classes.find(name) if name else None
    if name and named is None:
        raise ValueError(f"no class is named {name!r}")
    all_tags, names = session.project.tags.all(), session.classes.names
    rows = []
    for record in session.records:
        of_image = all_tags.get(record.id, {})
        if named is not None:
            rows.append({"image": record.relative, named.name: of_image.get(named.id, "unknown")})
        elif of_image:
            by_state = {
                state: ", ".join(names[c] for c, s in of_image.items() if s == state)
                for state in ("present", "absent")
            }
            rows.append({"image": record.relative, **by_state})
    return rows


def _counts(session: Any) -> list[dict[str, Any]]:
    counts, total = session.project.tags.counts(), len(session.records)
    rows = []
    for c in session.classes.listed:
        tagged = counts.get(c.id, {"present": 0, "absent": 0})
        if c.novel or c.id in counts:
            rows.append({"class": c.name, **tagged, "unknown": total - sum(tagged.values())})
    return rows


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A .csv or .json file.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write all tags as CSV or JSON."""
    with open_session(context.obj) as session:
        refuse_existing(file, overwrite)
        out.print(f"{session.tags.export_file(file)} tags in {file}")
