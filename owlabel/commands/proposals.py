"""``owlabel proposals``: list, accept and reject proposed masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from owlabel.commands.console import JsonOption, ProjectArg, open_session, out, print_rows

app = typer.Typer(help="Review proposed masks.", no_args_is_help=True)
IdsArg = Annotated[list[int] | None, typer.Argument(help="Numbers of proposals in `list`.")]
ClassOption = Annotated[str, typer.Option("--class", help="Only proposals of this class.")]
LeastOption = Annotated[
    float, typer.Option("--at-least", min=0, max=1, help="Smallest confidence.")
]
AllOption = Annotated[
    bool, typer.Option("--all", help="All proposals that match the other options.")
]


@app.callback()
def proposals(context: typer.Context, project: ProjectArg) -> None:
    """Review proposed masks; a mask becomes a label only when you accept it."""
    context.obj = project


@app.command("list")
def list_(
    context: typer.Context,
    name: ClassOption = "",
    at_least: LeastOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List the open proposals, the most confident first."""
    with open_session(context.obj) as session:
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
    """Label the unlabelled pixels of masks; each mask is one act."""
    with open_session(context.obj) as session:
        chosen = _chosen(session, ids or [], name, at_least, all_)
        pixels = _each(session, session.proposals.accept, chosen)
        out.print(f"{len(pixels)} accepted, {sum(pixels)} pixels")


@app.command()
def reject(
    context: typer.Context,
    ids: IdsArg = None,
    name: ClassOption = "",
    at_least: LeastOption = 0,
    all_: AllOption = False,
) -> None:
    """Reject masks; they are not shown again."""
    with open_session(context.obj) as session:
        chosen = _chosen(session, ids or [], name, at_least, all_)
        out.print(f"{len(_each(session, session.proposals.reject, chosen))} rejected")


def _wanted(session: Any, name: str, at_least: float) -> list[Any]:
    named = session.classes.find(name) if name else None
    if name and named is None:
        raise ValueError(f"no class is named {name!r}")
    class_id = None if named is None else named.id
    proposals: list[Any] = session.proposals.open(None, class_id, at_least)
    return proposals


def _chosen(session: Any, ids: list[int], name: str, at_least: float, all_: bool) -> list[int]:
    if all_ == bool(ids):
        raise ValueError("give the numbers of proposals, or use --all (with --class or --at-least)")
    wanted = [p.id for p in _wanted(session, name, at_least)]
    for number in ids:  # check all before the first act
        if number not in wanted:
            raise ValueError(f"no open proposal has the number {number}: see `list`")
    return list(dict.fromkeys(ids)) or wanted


def _each(session: Any, act: Callable[[int], Any], ids: list[int]) -> list[Any]:
    """Act on each proposal that is still open; others may review at the same time."""
    results = []
    for number in ids:
        session.poll()
        if any(p.id == number for p in session.proposals.open()):
            results.append(act(number))
    return results
