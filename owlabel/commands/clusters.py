"""``owlabel clusters``: group the pixels and unknown objects of a project, look, and name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from owlabel.commands.console import (
    JsonOption,
    ProjectArg,
    finished,
    out,
    print_rows,
    refuse_existing,
    sitting,
    work,
)
from owlabel.commands.options import MakeRequest, request_options
from owlabel.images import files as images
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.view.clusters.catalog import ClusterInfo

app = typer.Typer(help="Group pixels and unknown objects; name them.", no_args_is_help=True)
SIDE = 96
"""Pixels of the side of a patch in a gallery."""
ClusterArg = Annotated[str, typer.Argument(help="Name in `list`: 7 of pixels, c2 of candidates.")]


@app.callback()
def clusters(context: typer.Context, project: ProjectArg) -> None:
    """Group pixels and unknown objects; a named group becomes proposals, never labels."""
    context.obj = project


@app.command()
@request_options(ClusterRequest)
def build(context: typer.Context, make: MakeRequest[ClusterRequest]) -> None:
    """Group the pixels of all images (auxiliary labels), and the OoD candidates."""
    with sitting(context.obj) as session:
        job_id = session.clusters.build(make())
        told = finished(session, job_id, "the build").result
        out.print(
            f"{told['clusters']} clusters of pixels, {told['kinds']} of candidates", highlight=False
        )
        _tell_agreement(told)


@app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the clusters, the largest first, with their names."""
    with sitting(context.obj) as session:
        rows = [
            {
                "cluster": info.name,
                "of": "candidates" if info.of_candidates else "pixels",
                "share": round(info.share, 4),
                "count": info.count,
                "images": info.images,
                "name": session.classes.names.get(info.class_id, ""),
            }
            for info in _all(session)
        ]
        print_rows(rows, as_json)
        if not as_json:
            _tell_agreement(session.clusters.agreement() or {})


@app.command()
def name(
    context: typer.Context,
    cluster: ClusterArg,
    class_name: Annotated[str, typer.Argument(help='A class, known or new; "" removes the name.')],
) -> None:
    """Name a cluster; its masks in all images become proposals."""
    with sitting(context.obj) as session:
        session.clusters.name(cluster, class_name)
        work(session)
        found = session.proposals.open("cluster")
        named = session.classes.find(class_name) if class_name else None
        here = sum(named is not None and p.class_id == named.id for p in found)
        told = f"{len(found)} proposals are open"
        told += f", {here} of them of {named.name}: see `owlabel proposals`" if named else ""
        out.print(told, highlight=False)


@app.command()
def gallery(
    context: typer.Context,
    cluster: ClusterArg,
    file: Annotated[Path, typer.Argument(help="A PNG file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Save example patches of a cluster as one PNG."""
    with sitting(context.obj) as session:
        if file.suffix.lower() != ".png":
            raise ValueError(f"patches are written as PNG: {file.name!r} does not end in .png")
        refuse_existing(file, overwrite)
        found = next((info for info in _all(session) if info.name == cluster), None)
        if found is None or not found.examples:
            raise ValueError(f"there is no cluster {cluster!r} with a patch: see `list`")
        Image.fromarray(_sheet(session, found)).save(file)
        out.print(f"{len(found.examples)} patches in {file}", highlight=False)


def _all(session: Any) -> list[ClusterInfo]:
    found: list[ClusterInfo] = session.clusters.list_all()
    if not found:
        raise ValueError("there are no clusters yet: run `owlabel clusters PROJECT build`")
    return found


def _sheet(session: Any, info: ClusterInfo) -> np.ndarray:
    """Return the patches of a cluster side by side, uint8 (SIDE, n SIDE, 3)."""
    return np.concatenate(
        [
            images.thumbnail(images.read(session.record(e.image_id).path), e.box, SIDE)
            for e in info.examples
        ],
        axis=1,
    )


def _tell_agreement(told: Any) -> None:
    if "pmiou_hungarian" in told:
        out.print(
            f"PmIoU (Hungarian) {100 * told['pmiou_hungarian']:.1f} %, (max) "
            f"{100 * told['pmiou_max']:.1f} % on {told['pixels']:,} labelled pixels",
            highlight=False,
        )
