"""``owlabel evaluate``: measure a model, or score maps on disk, against ground truth."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from owlabel import __version__
from owlabel.commands.console import err, one_line_errors, out, print_rows, progress_bar
from owlabel.evaluation.cases import DataSet, check
from owlabel.evaluation.layouts import read
from owlabel.evaluation.model import predictions_of
from owlabel.evaluation.predictions import Predictions, stored_predictions
from owlabel.evaluation.report import PAGE, write
from owlabel.evaluation.run import Options, Progress, ScoreResult
from owlabel.evaluation.run import evaluate as measure
from owlabel.formats.atomic_folder import refuse_existing
from owlabel.metrics import FprRule
from owlabel.ood.registry import SCORES
from owlabel.view.open_project import find_checkpoint

Names = list[str] | None
NO_OOD = (
    "no pixel of these masks is out of distribution, so AUROC, AP and FPR95 are not defined: name "
    "the classes that count as OoD with --held-out"
)


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder of the data set; it is never changed.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the report; it must not exist.")],
    layout: Annotated[
        str,
        typer.Option(
            help="Layout of the data set: plain, classes (or camvid), cityscapes, lost_and_found, "
            "fishyscapes, street_hazards, smiyc, road_anomaly."
        ),
    ] = "plain",
    split: Annotated[str | None, typer.Option(help="Split of the data set, e.g. val.")] = None,
    held_out: Annotated[
        Names, typer.Option(help="Class that counts as OoD, or a setting such as 10+1; repeatable.")
    ] = None,
    ignore: Annotated[Names, typer.Option(help="Class that counts as void; repeatable.")] = None,
    model: Annotated[str | None, typer.Option(help="Checkpoint to evaluate, or 'sample'.")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Score maps in place of a model: NAME.npy or NAME.png.")
    ] = None,
    class_maps: Annotated[
        Path | None, typer.Option(help="With --maps: class maps, ids in the data set's order.")
    ] = None,
    score: Annotated[
        Names, typer.Option(help=f"Score of the model; repeatable: {', '.join(SCORES.names())}.")
    ] = None,
    residual: Annotated[
        Path | None, typer.Option(help="Residual block (RPL) of the model, for rpl_energy.")
    ] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Threshold t for the table; repeatable.")
    ] = None,
    track: Annotated[
        str, typer.Option(help="Size filter of components: none, anomaly or obstacle.")
    ] = "none",
    fpr95: Annotated[
        str, typer.Option(help="FPR95 rule: first (as in benchmarks) or closest.")
    ] = "first",
    calibration: Annotated[
        Path | None,
        typer.Option(help="evaluation.json of another split, for the threshold of open-mIoU."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report.")] = False,
) -> None:
    """Measure anomaly scores against ground truth; write JSON, CSV and an HTML report."""
    with one_line_errors():
        if (model is None) == (maps is None):
            raise ValueError("choose either a model (--model) or a folder of score maps (--maps)")
        options = Options(tuple(threshold or ()), track, _fpr_rule(fpr95), None, workers)
        thresholds = None if calibration is None else _calibrated_thresholds(calibration)
        refuse_existing(folder, overwrite)
        labels = partial(read, layout, data, split)
        dataset = labels(held_out or (), ignore or ())
        shapes = check(dataset, need_images=maps is None)
        source: AbstractContextManager[list[Predictions]]
        with _progress() as progress:
            if maps is None:
                scores = score or ["entropy"]
                source = predictions_of(find_checkpoint(model), scores, dataset, progress, residual)
            else:
                every_class = (labels((), ()) if held_out or ignore else dataset).rule.names
                from_disk = stored_predictions(dataset, shapes, maps, class_maps, every_class)
                source = nullcontext([from_disk])
            with source as predictions:
                results = _measured(dataset, predictions, options, thresholds, progress)
                write(folder, dataset, results, _about(), overwrite)
        _print_results([result for result, _ in results])
        out.print(str(folder / PAGE))


def _fpr_rule(name: str) -> FprRule:
    if name not in get_args(FprRule):
        raise ValueError(f"--fpr95 must be first or closest, got {name!r}")
    return cast("FprRule", name)


def _calibrated_thresholds(file: Path) -> dict[str, float | None]:
    """Return the threshold of 95 % recall of each score, from the evaluation of another split."""
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["scores"]
        return {row["score"]: row["recall_95_threshold"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is not an evaluation.json ({type(error).__name__}: {error})"
        ) from error


def _measured(
    dataset: DataSet,
    predictions: Sequence[Predictions],
    options: Options,
    thresholds: Mapping[str, float | None] | None,
    progress: Progress,
) -> list[tuple[ScoreResult, Predictions]]:
    """Measure each score; `thresholds` are those for open-mIoU, from another split."""
    results = []
    for of_score in predictions:
        if thresholds is not None:
            threshold = thresholds.get(of_score.score)
            if threshold is None:
                raise ValueError(
                    f"--calibration has no threshold of 95 % recall for {of_score.score}: "
                    "evaluate the other split with the same score"
                )
            options = replace(options, open_threshold=float(threshold))
        results.append((measure(dataset, of_score, options, progress), of_score))
    return results


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a progress bar if stderr is a terminal."""
    with progress_bar() as bar:
        task = bar.add_task("", total=None)
        yield lambda name, done, total: bar.update(
            task, description=name, completed=done, total=total
        )


def _about() -> dict[str, Any]:
    """Return the command, without folders of this machine, and the version."""
    parts = [word.rpartition("=") for word in sys.argv[1:]]
    words = [
        f"{a}{b}DIR/{Path(c).name}" if Path(c).is_absolute() else a + b + c for a, b, c in parts
    ]
    return {"command": shlex.join(["owlabel", *words]), "version": __version__}


def _print_results(results: Sequence[ScoreResult]) -> None:
    print_rows([_row(result) for result in results], as_json=False)
    if all(result.pooled.positives == 0 for result in results):
        err.print(NO_OOD, style="yellow")


def _row(result: ScoreResult) -> dict[str, str]:
    values = {
        "AUROC": result.pooled.auroc,
        "AP": result.pooled.ap,
        "FPR95": result.pooled.fpr95,
        "mean F1*": result.components["mean_f1"],
        "mIoU": result.closed_miou,
        "open-mIoU": result.open_miou,
    }
    return {
        "score": result.score,
        **{k: "-" if math.isnan(v) else f"{100 * v:.2f}" for k, v in values.items()},
    }
