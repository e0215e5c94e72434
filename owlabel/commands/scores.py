"""``owlabel scores``: list the anomaly scores of a project, their scale and requirements."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

from owlabel.commands.console import (
    JsonOption,
    ProjectArg,
    go_to_image,
    open_session,
    out,
    print_rows,
    run_jobs,
)
from owlabel.ood.registry import SCORES


def scores(
    project: ProjectArg,
    image: Annotated[str | None, typer.Option(help="Also list the scores of this image.")] = None,
    only: Annotated[str | None, typer.Option("--score", help="List only this score.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Calibrate even if it is not due.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the scores of a project, their calibrated scale, and what each needs.

    Calibrates first if enough has changed. "usual" and "strange" are the values shown transparent
    and in full colour. "alarms" is the number of false-alarm pixels of an image at the project's
    threshold.
    """
    with open_session(project) as session:
        if image is not None:
            go_to_image(session, image)
        session.calibration.submit(always=again)
        run_jobs(session)
        session.scores.forget()
        if only is not None and (reason := session.scores.unavailable(only)):
            raise ValueError(f"{only} {reason}")
        names = list(SCORES) if only is None else [only]
        rows = [{**_row(session, name), **_of_image(session, name, image)} for name in names]
        calibrations = session.scores.calibrations
        print_rows(rows if as_json else [_short(row) for row in rows], as_json)
        if calibrations is not None and not as_json:
            points = f"{calibrations.points:,} grid points"
            if calibrations.source == "reviewed":
                points = f"{calibrations.points:,} reviewed in-distribution grid points"
            out.print(
                f"scale from {points} of {calibrations.images} images; "
                f"threshold {session.settings.threshold:g}",
            )


def _row(session: Any, name: str) -> dict[str, Any]:
    """Return the JSON row of one score of a project."""
    score, scale = SCORES[name], session.scores.calibration(name)
    alarms = session.scores.false_alarms_shown(name) if session.records else None
    return {
        "score": name,
        "title": score.title,
        "formula": score.formula,
        "needs": score.need,
        "missing": session.scores.unavailable(name) or "",
        "usual": None if scale is None else _rounded(scale.low),
        "strange": None if scale is None else _rounded(scale.high),
        "alarms": None if alarms is None else round(alarms),
    }


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for the table: a dash for a missing value, and the reason or the formula."""
    left_out = ("title", "formula", "needs", "missing")
    shown = {k: "-" if v is None else v for k, v in row.items() if k not in left_out}
    return {**shown, "about": row["missing"] or f"{row['title']}: {row['formula']}"}


def _of_image(session: Any, name: str, image: str | None) -> dict[str, Any]:
    """Return median and highest score of the current image, and its pixels above the threshold."""
    if image is None:
        return {}
    available = session.scores.unavailable(name) is None
    values = session.scores.current(name) if available else None
    if values is None:
        return {"median": None, "highest": None, "above": None}
    above = float(np.mean(values > session.scores.cut(name, session.settings.threshold, values)))
    height, width = session.record().shape
    return {
        "median": _rounded(float(np.median(values))),
        "highest": _rounded(float(np.max(values))),
        "above": round(above * height * width),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
