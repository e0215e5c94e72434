"""``owlabel clusters``: cluster pixels and OoD candidates, list the clusters, name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from owlabel.commands.console import (
    JsonOption,
    OverwriteOption,
    ProjectArg,
    open_session,
    out,
    print_rows,
    refuse_existing,
    run_job,
    run_jobs,
)
from owlabel.commands.options import MakeRequest, request_options
from owlabel.images import files as images
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.view.clusters.catalog import ClusterInfo

app = typer.Typer(help="Cluster pixels and OoD candidates, and name them.", no_args_is_help=True)
SIDE = 96
"""Side of a patch in a gallery, in pixels."""
ClusterArg = Annotated[
    str, typer.Argument(help="Name in `list`: 7, or c2 for a cluster of candidates.")
]


@app.callback()
def clusters(context: typer.Context, project: ProjectArg) -> None:
    """Cluster pixels and OoD candidates, and name them; masks become labels only when accepted."""
    context.obj = project


@app.command()
@request_options(ClusterRequest)
def build(context: typer.Context, make: MakeRequest[ClusterRequest]) -> None:
    """Compute auxiliary labels of all images and cluster the OoD candidates."""
    with open_session(context.obj) as session:
        job_id = session.clusters.build(make())
        result = run_job(session, job_id, "the build").result
        out.print(
            f"{result['clusters']} clusters of pixels, {result['kinds']} of candidates",
        )
        _print_agreement(result)


@app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the clusters with their names, the largest first."""
    with open_session(context.obj) as session:
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
            _print_agreement(session.clusters.agreement() or {})


@app.command()
def name(
    context: typer.Context,
    cluster: ClusterArg,
    class_name: Annotated[
        str, typer.Argument(help='A class, existing or new; "" removes the name.')
    ],
) -> None:
    """Name a cluster; its masks in all images become proposals for review."""
    with open_session(context.obj) as session:
        session.clusters.name(cluster, class_name)
        run_jobs(session)
        proposals = session.proposals.open("cluster")
        named = session.classes.find(class_name) if class_name else None
        text = f"{len(proposals)} proposals are open"
        if named is not None:
            count = sum(p.class_id == named.id for p in proposals)
            text += f", {count} of them of {named.name}: see `owlabel proposals`"
        out.print(text)


@app.command()
def gallery(
    context: typer.Context,
    cluster: ClusterArg,
    file: Annotated[Path, typer.Argument(help="PNG file to write.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write a PNG with image patches of a cluster."""
    with open_session(context.obj) as session:
        if file.suffix.lower() != ".png":
            raise ValueError(f"the gallery is a PNG: {file.name!r} must end in .png")
        refuse_existing(file, overwrite)
        info = next((info for info in _all(session) if info.name == cluster), None)
        if info is None or not info.examples:
            raise ValueError(f"there is no cluster {cluster!r} with a patch: see `list`")
        Image.fromarray(_sheet(session, info)).save(file)
        out.print(f"{len(info.examples)} patches in {file}")


def _all(session: Any) -> list[ClusterInfo]:
    clusters: list[ClusterInfo] = session.clusters.list_all()
    if not clusters:
        raise ValueError("this project has no clusters yet: run `owlabel clusters PROJECT build`")
    return clusters


def _sheet(session: Any, info: ClusterInfo) -> np.ndarray:
    """Return the patches of a cluster side by side, uint8 (SIDE, n SIDE, 3)."""
    return np.concatenate(
        [
            images.thumbnail(images.read(session.record(e.image_id).path), e.box, SIDE)
            for e in info.examples
        ],
        axis=1,
    )


def _print_agreement(agreement: Mapping[str, Any]) -> None:
    if "pmiou_hungarian" in agreement:
        out.print(
            f"PmIoU (Hungarian) {100 * agreement['pmiou_hungarian']:.1f} %, (max) "
            f"{100 * agreement['pmiou_max']:.1f} % on {agreement['pixels']:,} labelled pixels",
        )
