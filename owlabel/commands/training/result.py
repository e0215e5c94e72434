"""Print the result of a training and, if requested, adopt its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from owlabel.commands.console import out, print_rows, run_jobs

AdoptOption = Annotated[bool, typer.Option("--adopt", help="Use the new model at once.")]


def print_result(session: Any, result: Any, adopt: bool, as_json: bool = False) -> None:
    """Print the measures before and after a training; adopt its model if `adopt` is set.

    The table holds percentages, JSON holds fractions.
    """
    rows = _rows(result.comparison)
    if rows or as_json:
        print_rows(rows if as_json else [_in_percent(row) for row in rows], as_json)
    else:
        out.print("nothing was compared: people have labelled none of the held-out images")
    if adopt:
        session.models.adopt(result.model_id)
        run_jobs(session)
    if not as_json:
        number = result.model_id
        state = "in use" if adopt else f"trained; to use it, run `owlabel adopt PROJECT {number}`"
        out.print(f"model {number} is {state}")


def _rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    before, after = comparison.get("before", {}), comparison.get("after", {})
    return [
        {"measure": name, "before": before.get(name), "after": after.get(name)}
        for name in {**before, **after}
    ]


def _in_percent(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "measure": row["measure"],
        "before (%)": _percent(row["before"]),
        "after (%)": _percent(row["after"]),
    }


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
