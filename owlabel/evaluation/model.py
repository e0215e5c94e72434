"""A model's predictions on a data set, computed in a separate process that imports torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.evaluation.cases import DataSet
from owlabel.evaluation.predictions import Predictions, class_lookup, no_classes
from owlabel.evaluation.run import Progress
from owlabel.ood.registry import NEEDS, SCORES


def check_scores(
    model: Path, scores: Sequence[str], residual: Path | None = None
) -> CheckpointHeader:
    """Return the header of a model after checking that it can compute these scores.

    Raises
    ------
    ValueError
        If the model cannot be read, or a score is unknown or its requirements are not met.
    """
    header = read_header(model)
    available = {"statistics", *(["metric head"] if header.kind == "metric" else [])}
    available |= set() if residual is None else {"residual"}
    for score in SCORES.pick(scores):
        if lacking := [NEEDS[need] for need in score.needs if need not in available]:
            hint = "; name its file with --residual" if NEEDS["residual"] in lacking else ""
            needs = ", and ".join(lacking)
            raise ValueError(
                f"{model}: the score {score.name} cannot be computed: it needs {needs}{hint}"
            )
    return header


@contextmanager
def predictions_of(
    model: Path,
    scores: Sequence[str],
    dataset: DataSet,
    progress: Progress,
    residual: Path | None = None,
) -> Iterator[list[Predictions]]:
    """Run a model on a data set in its own process; the score maps are deleted on exit.

    Parameters
    ----------
    model : Path
    scores : sequence of str
        Keys of `owlabel.ood.registry.SCORES`.
    dataset : DataSet
    progress : callable
    residual : Path, optional
        Residual block (RPL) of this model.

    Yields
    ------
    list of Predictions
        One per score, in the order of `scores`.

    Raises
    ------
    ValueError
        If the model, a score or an image cannot be used.
    """
    header = check_scores(model, scores, residual)
    known = [c.name for c in header.classes.classes[: header.heads[0].outputs]]
    lookup = class_lookup(known, dataset.rule.names)
    with tempfile.TemporaryDirectory(prefix="owlabel-evaluate-") as place:
        folder = Path(place)
        pictures = [str(case.image) for case in dataset.cases]
        job = {"model": str(model), "scores": list(scores), "folder": place, "pictures": pictures,
               "residual": None if residual is None else str(residual)}  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _run(folder / "job.json", len(pictures), progress)
        names = {case.name: i for i, case in enumerate(dataset.cases)}
        classes = _files(folder / "classes", names, ".png") if lookup is not None else {}
        table = no_classes() if lookup is None else lookup
        yield [
            Predictions(s, _files(folder / s, names, ".npy"), classes, table, grid=True)
            for s in scores
        ]


def _files(folder: Path, names: Mapping[str, int], suffix: str) -> dict[str, Path]:
    return {name: folder / f"{i}{suffix}" for name, i in names.items()}


def _run(job: Path, total: int, progress: Progress) -> None:
    """Run the process and report the numbers that it prints as progress."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    # -P: a file named torch.py in the working folder must never be imported
    command = [sys.executable, "-P", "-m", "owlabel.models.predict", str(job)]
    with (
        (job.parent / "errors.txt").open("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.strip().isdigit():
                    progress("model", int(line), total)
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.kill()
        if process.wait():
            errors.seek(0)
            lines = [text for text in errors.read().splitlines() if text.strip()]
            reason = f"the process of the model ended with exit code {process.returncode}"
            raise ValueError(lines[-1] if lines else reason)
