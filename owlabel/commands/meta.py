"""``owlabel meta``: fit the classifier of false candidates and measure it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from owlabel.commands.console import JsonOption, ProjectArg, open_session, out, print_rows
from owlabel.jobs.job import JobContext, run_to_end
from owlabel.jobs.kinds.fit_meta_classifier import JudgeJob
from owlabel.ood.meta_classifier import MetaClassifier, leave_groups_out, leave_one_out, quality
from owlabel.view.review_decisions import MIN_DECISIONS, Rows, collect_rows

LARGEST = 5
"""Number of coefficients listed for each sign."""


def meta(project: ProjectArg, as_json: JsonOption = False) -> None:
    """Fit the classifier of false candidates to all decisions; measure it on held-out ones."""
    with open_session(project) as session:
        *_, rows = (None, *collect_rows(session.project, session.models.header))
        if rows is None or not rows.candidates:
            raise ValueError("this project has no candidates: run `owlabel embed` first")
        checkpoint = session.models.active.path.relative_to(session.project.folder).as_posix()
        folder = session.project.folder
        run_to_end(JudgeJob(checkpoint).run(JobContext(folder, folder)))
        result = report(rows, session.classes.names)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    out.print(
        f"{result['candidates']} candidates, decided: {result['real']} real, "
        f"{result['false']} false",
    )
    if result["keeps_all"]:
        out.print(f"too few decisions: no candidate is hidden before {MIN_DECISIONS} of each kind")
        return
    print_rows([{"left out": k, **v} for k, v in result["held_out"].items()], as_json=False)
    print_rows(result["coefficients"], as_json=False)


def report(rows: Rows, names: dict[int, str]) -> dict[str, Any]:
    """Return the counts, the quality on held-out candidates, and the largest coefficients."""
    values, false, images = rows.values, rows.false, rows.images.tolist()
    classifier = rows.fit()
    result: dict[str, Any] = {
        "candidates": rows.candidates,
        "real": int((~false).sum()),
        "false": int(false.sum()),
        "keeps_all": classifier.keeps_all,
    }
    if not classifier.keeps_all:
        held_out = {
            "one candidate": leave_one_out(values, false),
            "one image": leave_groups_out(values, false, images),
        }
        result["held_out"] = {k: _rounded(quality(p, false)) for k, p in held_out.items()}
        result["coefficients"] = _coefficients(classifier, names)
    return result


def _rounded(values: dict[str, float]) -> dict[str, float | int | None]:
    plain = {k: None if math.isnan(v) else round(v, 4) for k, v in values.items()}
    counts = ("segments", "false", "false_dropped", "true_dropped")
    return {k: int(values[k]) if k in counts else v for k, v in plain.items()}


def _coefficients(classifier: MetaClassifier, names: dict[int, str]) -> list[dict[str, Any]]:
    """Return the features with the largest coefficients, for "false" and for "real"."""
    order = np.argsort(classifier.coefficients)
    chosen = [*order[::-1][:LARGEST], *order[:LARGEST]]
    return [
        {
            "feature": classifier.columns[i],
            "class": _class_of(classifier.columns[i], names),
            "coefficient": round(float(classifier.coefficients[i]), 3),
        }
        for i in chosen
    ]


def _class_of(column: str, names: dict[int, str]) -> str:
    kind, number = column[:1], column[1:]
    return names.get(int(number), "") if kind in "pN" and number.isdigit() else ""
