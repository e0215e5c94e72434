"""Every anomaly score on held-out classes, on real anomalies and on pasted objects, in one table.

``python -m experiments.methods.ood_scores --model 10+1=FILE --softmax 10+1=FILE ...`` writes
docs/results/ood_scores.json and ood_scores.md.  Nothing is trained; pasting has three seeds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from experiments.camvid.protocol import SEEDS, Setting, read_list, read_setting
from experiments.results import write_result
from owlabel.arrays import embedding_grid
from owlabel.classes import VOID
from owlabel.evaluation.cases import check, truth_of
from owlabel.evaluation.layouts import plain_folder
from owlabel.images import files as images
from owlabel.metrics import OodResult, PixelOod
from owlabel.models.embed import embed_image
from owlabel.models.segmenter import Segmenter
from owlabel.models.weights import load
from owlabel.ood.registry import SCORES, all_scores, available
from owlabel.ood.standardized_logits import ClassStatistics
from owlabel_training.core.data import Frames, read_names
from owlabel_training.ood.data import pasted_frames
from owlabel_training.ood.proxies import Cutout, cutouts, read_folder
from owlabel_training.ood.recipe import ProxyRecipe

app = typer.Typer(add_completion=False, help=__doc__)
Pixels = NDArray[np.uint8]
Pair = tuple[Pixels, Pixels]
"""A picture (H, W, 3), and its truth (H, W): 0 in-distribution, 1 OoD, 255 void."""
SPLIT = "ood_proxy_split.json"
ROAD = ("road_anomaly21", "road_obstacle21")
EACH_STATISTICS = 4
"""Every so many training frames give the statistics of SML."""
NOTE = (
    "pixels pooled over all frames, scores on the embedding grid, then enlarged; fpr95 by the "
    "first rule; pasted: one object of pictures that no training of ours uses in each test frame, "
    "novel classes void, mean and standard deviation over three seeds of pasting; sml: "
    "statistics of every fourth training frame; base training saw the novel objects unlabelled"
)


@app.command()
def scores(
    camvid: Annotated[Path, typer.Option(envvar="OWLABEL_CAMVID", help="The CamVid folder.")],
    road: Annotated[Path, typer.Option(help="Folder with road_anomaly21 and road_obstacle21.")],
    proxy: Annotated[Path, typer.Option(help="Folder with the pictures of the proxy objects.")],
    model: Annotated[list[str], typer.Option(help="SETTING=FILE of a metric model.")],
    softmax: Annotated[
        list[str] | None, typer.Option(help="SETTING=FILE of a plain softmax model.")
    ] = None,
    split: Annotated[Path, typer.Option(help="Names of proxies to train on and to test.")] = Path(
        "training/recipes", SPLIT
    ),
    every: Annotated[int, typer.Option(min=1, help="Take every n-th test frame: a trial.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Measure all scores of all models on all data; write JSON and tables."""

    def measure() -> dict[str, Any]:
        chosen = [(kind, *_named(text)) for kind, texts in (("metric", model),
                  ("softmax", softmax or [])) for text in texts]  # fmt: skip
        objects = unseen_objects(proxy, split)
        test, train = read_list(camvid, "test").every(every), read_list(camvid, "train")
        roads = {name: read_road(road / name) for name in ROAD}
        results: dict[str, Any] = {}
        for kind, name, path in chosen:
            setting = read_setting(camvid, name)
            run = Run(path, train.every(EACH_STATISTICS))
            row = {"held_out": run.measure(held_out(test, setting))}
            row |= {part: run.measure(pairs) for part, pairs in roads.items()}
            seeds = [run.measure(pasted(test, setting, objects, seed)) for seed in SEEDS]
            row["pasted"] = spread(seeds)
            results.setdefault(name, {})[kind] = row
            typer.echo(f"{name}, {kind}: done")
        frames = {"test": len(test), **{part: len(pairs) for part, pairs in roads.items()}}
        return {"frames": frames, "pasted_objects": len(objects), "scores": results}

    path = out / "ood_scores.json"
    write_result(path, measure, NOTE)
    (out / "ood_scores.md").write_text(page(json.loads(path.read_text())), encoding="utf-8")


class Run:
    """A model and what its scores need.

    Parameters
    ----------
    path : Path
        Checkpoint.
    usual : Frames
        Frames from which the statistics of SML come.
    """

    def __init__(self, path: Path, usual: Frames) -> None:
        self.segmenter, header = load(path)
        self.length = header.prototype_length
        there = {"statistics", *(["metric head"] if header.kind == "metric" else [])}
        self.names = available(there)
        statistics = ClassStatistics(header.heads[0].outputs)
        for image in usual.images:
            statistics.update(2 * self.length * _embedding(self.segmenter, image))
        self.usual = statistics.mean_and_std()

    def maps(self, image: Pixels) -> dict[str, NDArray[np.float32]]:
        """Return every score of a picture on the grid, (h, w)."""
        embedding = _embedding(self.segmenter, image)
        return all_scores(embedding, self.length, self.names, statistics=self.usual)

    def measure(self, pairs: Iterable[Pair]) -> dict[str, dict[str, float | None]]:
        """Return AUROC, AP and FPR95 of every score, pixels pooled."""
        counted: dict[str, PixelOod] = {}
        for part in _several(pairs):
            truth = np.concatenate([truth.ravel() for _, truth in part])
            values: dict[str, list[NDArray[np.float32]]] = {}
            for image, one in part:
                shape = (one.shape[0], one.shape[1])
                for name, grid_map in self.maps(image).items():
                    values.setdefault(name, []).append(
                        embedding_grid.upsample(grid_map, shape).ravel()
                    )
            for name, maps in values.items():
                counted.setdefault(name, PixelOod()).update(np.concatenate(maps), truth)
        return {name: _row(stream.result()) for name, stream in counted.items()}


def _several(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Yield pictures of at least two megapixels together: counting a few is as dear as many."""
    waiting: list[Pair] = []
    for pair in pairs:
        waiting.append(pair)
        if sum(truth.size for _, truth in waiting) >= 2_000_000:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


@torch.inference_mode()
def _embedding(segmenter: Segmenter, image: Pixels) -> NDArray[np.float32]:
    """Return the base embedding (N, h, w), in 16 bits as the tool keeps it."""
    return embed_image(segmenter, image)[0].astype(np.float32)


def held_out(frames: Frames, setting: Setting) -> Iterator[Pair]:
    """Yield frames whose novel classes are OoD."""
    for image, label in zip(frames.images, frames.labels, strict=True):
        compact = setting.truth(label)
        novel = np.where(compact < setting.n, np.uint8(0), np.uint8(1))
        yield image, np.where(compact == VOID, np.uint8(VOID), novel)


def pasted(
    frames: Frames, setting: Setting, objects: Sequence[Cutout], seed: int
) -> Iterator[Pair]:
    """Yield frames with one pasted object each; novel classes are void."""
    labels = tuple(setting.truth(label, 0) for label in frames.labels)
    known = Frames(frames.names, frames.images, labels, frames.classes)
    for frame in pasted_frames(known, objects, seed, ProxyRecipe().scales):
        yield frame.image, frame.truth


def unseen_objects(folder: Path, split: Path) -> list[Cutout]:
    """Return the objects that training never sees.

    Raises
    ------
    ValueError
        If the committed split cannot be read, or the folder's own list of training pictures holds
        one of its test pictures.
    """
    try:
        parts = json.loads(split.read_text(encoding="utf-8"))
        names = [str(name) for name in parts["test"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the split {split}: {error!r}") from error
    listed = folder / "train.txt"
    shared = sorted(set(names) & set(read_names(listed))) if listed.is_file() else []
    if shared or set(names) & set(parts.get("training", ())):
        raise ValueError(f"pictures to test on are in the training list too: {shared[:5]}")
    recipe = ProxyRecipe(path=str(folder))
    return cutouts(list(read_folder(recipe, names)), recipe.min_area, recipe.pieces)


def read_road(folder: Path) -> list[Pair]:
    """Return the pictures and masks of a plain folder; raises ValueError naming what is wrong."""
    dataset = plain_folder(folder)
    check(dataset, need_images=True)
    return [
        (images.read(case.image), truth_of(case, dataset.rule)[0])
        for case in dataset.cases
        if case.image is not None
    ]


def spread(seeds: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of every number."""
    table: dict[str, Any] = {}
    for name, row in seeds[0].items():
        table[name] = {}
        for key in row:
            values = np.array([one[name][key] for one in seeds], np.float64)
            table[name][key] = round(float(values.mean()), 4)
            table[name][f"{key}_std"] = round(float(values.std()), 4)
    return table


def _row(result: OodResult) -> dict[str, float | None]:
    values = {"auroc": result.auroc, "ap": result.ap, "fpr95": result.fpr95}
    return {key: None if np.isnan(v) else round(v, 4) for key, v in values.items()}


def _named(text: str) -> tuple[str, Path]:
    name, mark, path = text.partition("=")
    if not mark or not path:
        raise ValueError(f"a model must be given as SETTING=FILE, got {text!r}")
    return name, Path(path)


PARTS = {
    "held_out": "held-out classes",
    "road_anomaly21": "RoadAnomaly21",
    "road_obstacle21": "RoadObstacle21",
    "pasted": "pasted objects",
}


def page(content: Mapping[str, Any]) -> str:
    """Return the tables as Markdown: one a setting and kind of model; the best of a column bold."""
    results, frames = content["results"], content["results"]["frames"]
    lines = [
        "# Anomaly scores", "",
        f"`{content['command']}`", "",
        f"AUROC / AP / FPR95 in percent. {frames['test']} CamVid test frames, "
        f"{frames['road_anomaly21']} and {frames['road_obstacle21']} road pictures (another camera "
        f"and country: many false alarms), {results['pasted_objects']} objects to paste. "
        f"{content['note'][0].upper()}{content['note'][1:]}.", "",
    ]  # fmt: skip
    for setting, kinds in results["scores"].items():
        for kind, row in kinds.items():
            lines += [f"## {setting}, {kind} model", "", *_table(row), ""]
    return "\n".join(lines)


def _table(row: Mapping[str, Any]) -> list[str]:
    best = {
        (part, key): (min if key == "fpr95" else max)(
            r[key] for r in row[part].values() if r[key] is not None
        )
        for part in PARTS
        for key in ("auroc", "ap", "fpr95")
    }
    lines = ["| score | " + " | ".join(PARTS.values()) + " |", "|---" * (len(PARTS) + 1) + "|"]
    for name in (n for n in SCORES if n in row["held_out"]):
        cells = [
            " / ".join(_cell(row[part][name], key, best[part, key]) for key in
                       ("auroc", "ap", "fpr95"))
            for part in PARTS
        ]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: Mapping[str, Any], key: str, best: float) -> str:
    value = values[key]
    if value is None:
        return "–"
    text = f"{100 * value:.1f}"
    if f"{key}_std" in values:
        text += f" ± {100 * values[f'{key}_std']:.1f}"
    return f"**{text}**" if value == best else text


if __name__ == "__main__":
    app()
