"""``owlabel evaluate``: measure a model, or score maps on disk, against ground truth."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from owlabel import __version__
from owlabel.commands.console import err, one_line_errors, out, print_rows
from owlabel.evaluation.cases import DataSet, check
from owlabel.evaluation.layouts import read
from owlabel.evaluation.model import predictions_of
from owlabel.evaluation.predictions import Predictions, class_lookup, find_maps, no_classes
from owlabel.evaluation.report import PAGE, write
from owlabel.evaluation.run import Options, ScoreResult
from owlabel.evaluation.run import evaluate as measure
from owlabel.formats.atomic_folder import refuse_existing
from owlabel.metrics import FprRule
from owlabel.view.open_project import find_checkpoint

Names = list[str] | None
NO_OOD = (
    "no pixel of these masks is out of distribution, so AUROC, AP and FPR95 are not defined: name "
    "the classes that count as OoD with --held-out"
)


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder of the data set; it is never changed.")],
    folder: Annotated[
        Path, typer.Argument(help="Folder of the report to create; it must not exist.")
    ],
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
        Path | None,
        typer.Option(help="Folder of score maps in place of a model: NAME.npy or NAME.png."),
    ] = None,
    class_maps: Annotated[
        Path | None,
        typer.Option(help="With --maps: folder of class maps; ids in the data set's order."),
    ] = None,
    score: Annotated[
        Names, typer.Option(help="Score to compute from the model; repeatable.")
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing report.")
    ] = False,
) -> None:
    """Measure anomaly scores against ground truth; write JSON, CSV and an HTML report."""
    with one_line_errors():
        if (model is None) == (maps is None):
            raise ValueError(
                "choose either a model with --model or a folder of score maps with --maps"
            )
        rule: FprRule = "closest" if fpr95 == "closest" else "first"
        if fpr95 != rule:
            raise ValueError(f"--fpr95 must be first or closest, got {fpr95!r}")
        options = Options(tuple(threshold or ()), track, rule, None, workers)
        refuse_existing(folder, overwrite)
        dataset = read(layout, data, split, held_out or (), ignore or ())
        shapes = check(dataset, need_images=model is not None)
        if maps is not None:
            every = read(layout, data, split, (), ()) if held_out or ignore else dataset
            source = _from_disk(dataset, shapes, maps, class_maps, every.rule.names)
        else:
            source = predictions_of(
                find_checkpoint(model), score or ["entropy"], dataset, _progress
            )
        results = []
        with source as all_predictions:
            for predictions in all_predictions:
                chosen = replace(options, open_threshold=_threshold(calibration, predictions.score))
                results.append((measure(dataset, predictions, chosen, _progress), predictions))
            write(folder, dataset, results, _about(), overwrite)
        print_rows([_row(result) for result, _ in results], as_json=False)
        if all(result.pooled.positives == 0 for result, _ in results):
            err.print(NO_OOD, style="yellow")
        out.print(str(folder / PAGE))


@contextmanager
def _from_disk(
    dataset: DataSet,
    shapes: Mapping[str, tuple[int, int]],
    maps: Path,
    class_maps: Path | None,
    names: Sequence[str],
) -> Iterator[list[Predictions]]:
    """Yield the score maps of a folder as predictions of one score, after checking all files.

    Class maps hold indices into `names`, the classes of the data set in its order.
    """
    lookup = class_lookup(names, dataset.rule.names)
    classes = {} if class_maps is None or lookup is None else find_maps(class_maps, dataset, shapes)
    score_maps = find_maps(maps, dataset, shapes)
    yield [Predictions(maps.name, score_maps, classes, no_classes() if lookup is None else lookup)]


def _threshold(calibration: Path | None, score: str) -> float | None:
    """Return the threshold of 95 % recall from an evaluation of another split."""
    if calibration is None:
        return None
    try:
        rows = json.loads(calibration.read_text(encoding="utf-8"))["scores"]
        values = [row["recall_95_threshold"] for row in rows if row["score"] == score]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{calibration} is not an evaluation.json: {error!r}") from error
    if not values or values[0] is None:
        raise ValueError(
            f"{calibration} has no threshold of 95 % recall for the score {score}: evaluate that "
            "score on the other split first"
        )
    return float(values[0])


def _progress(what: str, done: int, total: int) -> None:
    """Show the progress on one line if stderr is a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{what}: {done}/{total}   ", end=end, file=sys.stderr, flush=True)


def _about() -> dict[str, Any]:
    """Return the command, without folders of this machine, and the version."""
    parts = [word.rpartition("=") for word in sys.argv[1:]]
    words = [
        f"{a}{b}DIR/{Path(c).name}" if Path(c).is_absolute() else a + b + c for a, b, c in parts
    ]
    return {"command": shlex.join(["owlabel", *words]), "version": __version__}


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
