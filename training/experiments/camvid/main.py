"""The CamVid experiments: ``python -m experiments.camvid.main NAME`` writes docs/results/*.json.

Every file says with which command, on which commit and machine its numbers were made.  Novel
objects are in the base training images, unlabelled (protocol of the data set): said in every file.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.camvid import fewshot, measures
from experiments.camvid import table as camvid_table
from experiments.camvid.protocol import SEEDS, SETTINGS, Setting, read_list, read_setting
from experiments.results import write_result
from owlabel.models.weights import load
from owlabel_training.core.data import read_frames

app = typer.Typer(add_completion=False, help=__doc__)
NOTE = (
    "base training saw the novel objects unlabelled (void) in most frames, as the protocol says; "
    "supports: all pixels of the class in the frame; pixels pooled over the frames"
)
Data = Annotated[Path, typer.Option(envvar="OWLABEL_CAMVID", help="The CamVid folder.")]
Model = Annotated[Path, typer.Option(help="Checkpoint of the metric model.")]
Softmax = Annotated[Path | None, typer.Option(help="Checkpoint of the softmax model.")]
SettingName = Annotated[str, typer.Option("--setting", help="10+1, 8+3 or 9+2.")]
Out = Annotated[Path, typer.Option(help="Folder of the JSON files.")]
RESULTS = Path("docs/results")


@app.command()
def closed(
    data: Data, model: Model, setting: SettingName, softmax: Softmax = None, out: Out = RESULTS
) -> None:
    """Measure mIoU of the known classes on test, drives apart and together."""

    def measure() -> dict[str, Any]:
        chosen, test = read_setting(data, setting), read_list(data, "test")
        return {
            kind: measures.closed_set(measures.run_model(load(path)[0], test), chosen)
            for kind, path in (("metric", model), ("softmax", softmax))
            if path is not None
        }

    write_result(out / f"camvid_{setting}_closed_set.json", measure, NOTE)


@app.command()
def anomaly(
    data: Data, model: Model, setting: SettingName, softmax: Softmax = None, out: Out = RESULTS
) -> None:
    """Measure AUROC, AP and FPR95 of the novel pixels on test for every score."""

    def measure() -> dict[str, Any]:
        chosen, test = read_setting(data, setting), read_list(data, "test")
        result = {}
        for kind, path in (("metric", model), ("softmax", softmax)):
            if path is not None:
                segmenter, header = load(path)
                names = None if kind == "metric" else measures.SOFTMAX_SCORES
                outputs = measures.run_model(segmenter, test)
                length = header.prototype_length
                result[kind] = measures.anomaly(outputs, chosen, length, names)
        return result

    write_result(out / f"camvid_{setting}_anomaly.json", measure, NOTE)


@app.command()
def npm(data: Data, model: Model, setting: SettingName, out: Out = RESULTS) -> None:
    """Measure NPM with 1 and 5 shots, three seeds, and the ablation of lambda_novel."""

    def measure() -> dict[str, Any]:
        chosen = read_setting(data, setting)
        segmenter, header = load(model)
        support = _support(data, chosen, segmenter)
        tables = {}
        for split in ("val_subset", "test"):
            outputs = measures.run_model(segmenter, read_list(data, split))
            tables[split] = _npm_table(outputs, support, chosen, header.prototype_length)
        return {"lambda": tables, **_chosen_lambda(tables)}

    write_result(out / f"camvid_{setting}_npm.json", measure, NOTE)


@app.command()
def plm(
    data: Data,
    model: Model,
    setting: SettingName,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds; all three by default.")] = None,
    shots: Annotated[list[int] | None, typer.Option(help="1, 5 or both.")] = None,
    out: Out = RESULTS,
) -> None:
    """Train PLM heads for 1 and 5 shots and three seeds; measure all stages on test."""

    def measure() -> dict[str, Any]:
        chosen = read_setting(data, setting)
        segmenter = load(model)[0]
        test = measures.run_model(segmenter, read_list(data, "test"), keep_features=True)
        support = read_frames(data, fewshot.support_names(chosen))
        result: dict[str, Any] = {}
        last = f"{chosen.n}+{len(chosen.novel)}"
        for count in shots or (5, 1):
            runs = {}
            for one in seed or SEEDS:
                runs[str(one)] = fewshot.plm_run(segmenter, test, support, chosen, one, count)
                typer.echo(f"{count} shots, seed {one}: {runs[str(one)]['stages'][last]}")
            rows = [run["stages"][last]["together"] for run in runs.values()]
            result[f"{count}_shot"] = {"seeds": runs, "mean": measures.mean_and_spread(rows)}
        return result

    write_result(out / f"camvid_{setting}_plm.json", measure, NOTE)


@app.command()
def fine_tuning(data: Data, model: Model, setting: SettingName, out: Out = RESULTS) -> None:
    """Train the whole network on the 5 shots of seed 0 alone: the baseline that forgets."""

    def measure() -> dict[str, Any]:
        chosen, test = read_setting(data, setting), read_list(data, "test")
        support = read_frames(data, fewshot.support_names(chosen))
        row = fewshot.fine_tuning(load(model)[0], test, support, chosen, 0, 5)
        return {"5_shot": {"seed 0": row}, "steps": fewshot.FINE_TUNING_STEPS}

    write_result(out / f"camvid_{setting}_fine_tuning.json", measure, NOTE)


@app.command()
def upper_bound(data: Data, model: Model, out: Out = RESULTS) -> None:
    """Measure the model of all classes in the terms of every setting."""

    def measure() -> dict[str, Any]:
        segmenter, header = load(model)
        ids = {c.name: c.id for c in header.classes.classes}
        settings = [read_setting(data, name) for name in SETTINGS]
        return fewshot.upper_bound(segmenter, read_list(data, "test"), settings, ids.__getitem__)

    write_result(out / "camvid_upper_bound.json", measure, NOTE)


@app.command()
def table(out: Out = RESULTS) -> None:
    """Write camvid.md, the tables, from the JSON files in the folder."""
    (out / "camvid.md").write_text(camvid_table.page(out), encoding="utf-8")
    typer.echo(f"wrote {out / 'camvid.md'}")


def _support(data: Path, setting: Setting, segmenter: Any) -> measures.Outputs:
    """Return the model's outputs of all support frames."""
    return measures.run_model(segmenter, read_frames(data, fewshot.support_names(setting)))


def _npm_table(
    outputs: measures.Outputs, support: measures.Outputs, setting: Setting, length: float
) -> dict[str, Any]:
    """Return lambda -> shots -> seeds, their mean, all measured on the same frames."""
    table: dict[str, Any] = {}
    for value in measures.LAMBDAS:
        row: dict[str, Any] = {}
        for count in (5, 1):
            seeds = {}
            for seed in SEEDS:
                found = measures.prototypes(support, setting, seed, count)
                maps = measures.npm_maps(outputs, found, value, length)
                seeds[str(seed)] = measures.incremental(outputs, maps, setting)
            rows = [run["together"] for run in seeds.values()]
            row[f"{count}_shot"] = {"seeds": seeds, "mean": measures.mean_and_spread(rows)}
        table[str(value)] = row
    return table


def _chosen_lambda(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the lambda that is best on val, and what it and the default reach on test."""
    result: dict[str, Any] = {}
    for count in ("5_shot", "1_shot"):
        scores = {
            value: row[count]["mean"]["harmonic"]["mean"] or 0.0
            for value, row in tables["val_subset"].items()
        }
        best = max(scores, key=scores.__getitem__)
        result[f"chosen_on_val_{count}"] = {
            "lambda": best,
            "test": tables["test"][best][count]["mean"],
            "test_at_default_1.5": tables["test"]["1.5"][count]["mean"],
        }
    return result


if __name__ == "__main__":
    app()
