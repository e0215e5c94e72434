"""``owlabel proposals``: review the masks that a model proposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from owlabel.commands.console import JsonOption, ProjectArg, out, print_rows, sitting

app = typer.Typer(help="Review proposed masks.", no_args_is_help=True)
IdsArg = Annotated[list[int] | None, typer.Argument(help="Numbers of proposals, from `list`.")]
ClassOption = Annotated[str, typer.Option("--class", help="Only of this class.")]
LeastOption = Annotated[
    float, typer.Option("--at-least", min=0, max=1, help="Only from this confidence.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All that match the other options.")]


@app.callback()
def proposals(context: typer.Context, project: ProjectArg) -> None:
    """Review proposed masks; a mask becomes a label only when it is accepted."""
    context.obj = project


@app.command("list")
def list_(
    context: typer.Context,
    name: ClassOption = "",
    at_least: LeastOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the open proposals, the most confident first."""
    with sitting(context.obj) as session:
        rows = [
            {
                "id": p.id,
                "image": session.record(p.image_id).relative,
                "class": session.classes.names[p.class_id],
                "confidence": round(p.confidence, 4),
                "pixels": p.pixels,
                "box": list(p.box),
                "source": p.source,
                "origin": p.origin,
            }
            for p in _wanted(session, name, at_least)
        ]
    print_rows(rows, as_json)


@app.command()
def accept(
    context: typer.Context,
    ids: IdsArg = None,
    name: ClassOption = "",
    at_least: LeastOption = 0,
    all_: AllOption = False,
) -> None:
    """Accept masks as human labels where nobody has labelled; each is one act."""
    with sitting(context.obj) as session:
        chosen = _chosen(session, ids or [], name, at_least, all_)
        pixels = _each(session, session.proposals.accept, chosen)
        out.print(f"{len(pixels)} accepted, {sum(pixels)} pixels", highlight=False)


@app.command()
def reject(
    context: typer.Context,
    ids: IdsArg = None,
    name: ClassOption = "",
    at_least: LeastOption = 0,
    all_: AllOption = False,
) -> None:
    """Reject masks as wrong; they leave the queue."""
    with sitting(context.obj) as session:
        chosen = _chosen(session, ids or [], name, at_least, all_)
        out.print(
            f"{len(_each(session, session.proposals.reject, chosen))} rejected", highlight=False
        )


def _wanted(session: Any, name: str, at_least: float) -> list[Any]:
    named = session.classes.find(name) if name else None
    if name and named is None:
        raise ValueError(f"no class is named {name!r}")
    found: list[Any] = session.proposals.open(None, None if named is None else named.id, at_least)
    return found


def _chosen(session: Any, ids: list[int], name: str, at_least: float, all_: bool) -> list[int]:
    if all_ == bool(ids):
        raise ValueError("give the numbers of proposals, or --all (with --class, --at-least)")
    wanted = [p.id for p in _wanted(session, name, at_least)]
    for number in ids:  # before anything is done
        if number not in wanted:
            raise ValueError(f"no open proposal has the number {number}: see `list`")
    return list(dict.fromkeys(ids)) or wanted


def _each(session: Any, act: Callable[[int], Any], ids: list[int]) -> list[Any]:
    """Act on each proposal that is still to be reviewed: people may go on meanwhile."""
    done = []
    for number in ids:
        session.poll()
        if any(p.id == number for p in session.proposals.open()):
            done.append(act(number))
    return done
