r"""Meta classification on CamVid's held-out classes: errors over thresholds, and how well it tells.

python -m experiments.methods.meta --data DIR --setting 10+1 --model plain=FILE \
    --model ood_trained=FILE --out docs/results/meta_10+1.json

Segments are where the normalised entropy of the enlarged logits is at least t, 8-connected, without
void pixels and without a filter for small ones.  FP: segments without a pixel of a held-out class;
FN: components of the held-out classes without a predicted pixel; epsilon: known pixels predicted.
Dropped is what a fit to *other images* calls false with more than 0.5 (leave one image out; above
`EXACT` segments twenty folds of images).  "drive" leaves out a whole drive: neighbouring frames of
a drive look alike, so that is the harder and more honest figure.  "segment" leaves out one segment
only, as the paper does; above `SEGMENTS` segments it is not computed.

Nothing is drawn at random here, so there is no seed; models trained with several are given as NAME,
NAME_seed_1, NAME_seed_2 get mean and standard deviation, too.  The best threshold of
each way is chosen as in the paper, over the measured frames themselves; a threshold chosen without
them comes from an earlier run on other frames: ``--split val --out val.json``, then ``--split test
--chosen val.json``.
`--only-model` measures one of the models and keeps its table in a file of its own beside `--out`;
tables that are there are not measured again, and once all are there, they are put together.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.camvid.measures import run_model
from experiments.camvid.protocol import DRIVES, SETTINGS, Setting, read_list, read_setting
from experiments.results import provenance
from owlabel.arrays import embedding_grid
from owlabel.checkpoints.header import read_header
from owlabel.classes import VOID
from owlabel.evaluation.segments import (
    SegmentErrors,
    false_segments,
    predicted_segments,
    segment_errors,
)
from owlabel.models.weights import load
from owlabel.ood.meta_classifier import leave_groups_out, leave_one_out, quality
from owlabel.ood.segment_features import feature_names, probability_entropy, segment_features
from owlabel.view.review_decisions import probabilities
from owlabel_training.core.data import Frames

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
EXACT, SEGMENTS, FOLDS = 3000, 1200, 20
LIMIT = 5.0
"""Epsilon in percent: where more of the road is flagged, few errors are of no use."""
Doubles = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One frame: entropy (H, W), truth (H, W) as 0, 1, 255, and its drive."""

    entropy: NDArray[np.float32]
    truth: Pixels
    drive: str


@dataclass
class Rows:
    """The segments of all frames above one threshold.

    Attributes
    ----------
    values : list of ndarray (k, n)
        Features, one array a frame.
    false : list of ndarray of bool (k,)
    """

    values: list[Doubles] = field(default_factory=list)
    false: list[NDArray[np.bool_]] = field(default_factory=list)

    def groups(self, keys: Sequence[Any]) -> list[Any]:
        """Return the key of each segment's frame."""
        return [key for key, false in zip(keys, self.false, strict=True) for _ in false]


def ood_truth(label: Pixels, setting: Setting) -> Pixels:
    """Return 0 for known, 1 for held-out and 255 for void pixels."""
    compact = setting.truth(label)
    truth = (compact >= setting.n).astype(np.uint8)
    truth[compact == VOID] = VOID
    return truth


def collect(
    path: Path, frames: Frames, setting: Setting
) -> tuple[list[Frame], dict[float, Rows], int]:
    """Return entropy and truth of all frames, their segments by threshold, and the classes."""
    segmenter, header = load(path)
    length = header.prototype_length  # embeddings of softmax heads are divided by 2T
    outputs = run_model(segmenter, frames)
    kept: list[Frame] = []
    rows = {t: Rows() for t in THRESHOLDS}
    for index, (grid_map, label) in enumerate(zip(outputs.grids, frames.labels, strict=True)):
        enlarged = embedding_grid.upsample(grid_map.astype(np.float32), outputs.shape(index))
        p = probabilities(enlarged, length)
        name = frames.names[index]
        drive = next((d for d in DRIVES if name.startswith(d)), name)
        frame = Frame(probability_entropy(p), ood_truth(label, setting), drive)
        kept.append(frame)
        for t, row in rows.items():
            segments, _ = predicted_segments(frame.entropy, frame.truth, t)
            row.values.append(segment_features(p, segments, entropy=frame.entropy).values)
            row.false.append(false_segments(segments, frame.truth))
    return kept, rows, len(outputs.grids[0])


def held_out(rows: Rows, frames: Sequence[Frame]) -> dict[str, Doubles | None]:
    """Return the probability of "false" of every segment by what was left out of the fit."""
    values, false = np.concatenate(rows.values), np.concatenate(rows.false)
    images = rows.groups(list(range(len(frames))))
    folds = None if len(false) <= EXACT else FOLDS
    return {
        "segment": leave_one_out(values, false) if len(false) <= SEGMENTS else None,
        "image": leave_groups_out(values, false, images, folds),
        "drive": leave_groups_out(values, false, rows.groups([f.drive for f in frames])),
    }


def errors(frames: Sequence[Frame], t: float, dropped: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Return FP, FN, their sum and epsilon, with some segments dropped."""
    total, first = SegmentErrors(), 0
    for frame in frames:
        segments, count = predicted_segments(frame.entropy, frame.truth, t)
        if dropped is not None:
            keep = np.append(True, ~dropped[first : first + count])
            segments = np.where(keep[segments], segments, 0).astype(np.int32)
            first += count
        total += segment_errors(segments, frame.truth)
    return {
        "fp": total.false,
        "fn": total.missed,
        "sum": total.false + total.missed,
        "epsilon_percent": round(100 * total.epsilon, 3),
        "objects": total.objects,
    }


def at_threshold(rows: Rows, frames: Sequence[Frame], t: float, classes: int) -> dict[str, Any]:
    """Return one line of both tables."""
    false = np.concatenate(rows.false)
    variation = np.concatenate(rows.values)[:, feature_names(classes).index("V")]
    result: dict[str, Any] = {
        "segments": len(false),
        "plain": errors(frames, t, None),
        "msp": _rounded(quality(1 - variation, false)),
    }
    for name, probability in held_out(rows, frames).items():
        if probability is not None:
            result[f"meta_{name}"] = _rounded(quality(probability, false))
            result[f"meta_{name}"] |= errors(frames, t, probability > 0.5)
    return result


def _rounded(values: dict[str, float]) -> dict[str, float | None]:
    return {k: None if math.isnan(v) else round(v, 4) for k, v in values.items()}


def summary(models: dict[str, Any], most_epsilon: float = math.inf) -> dict[str, Any]:
    """Return the fewest errors of each way over the thresholds, against the best plain one.

    Parameters
    ----------
    models : dict
        Table by model.
    most_epsilon : float
        Only thresholds whose epsilon, in percent, is at most this: where nearly the whole image is
        one segment that touches an object, FP and FN alone look good.
    """
    best: dict[str, Any] = {}
    for model, table in models.items():
        for way in ("plain", "meta_image", "meta_drive"):
            lines = [(row[way]["sum"], float(t), row[way]["epsilon_percent"]) for t, row in
                     table.items() if row[way]["epsilon_percent"] <= most_epsilon]  # fmt: skip
            best[f"{model} {way}"] = None
            if lines:
                best[f"{model} {way}"] = dict(
                    zip(("sum", "t", "epsilon_percent"), min(lines), strict=True)
                )
    return _against_plain(best)


def _against_plain(best: dict[str, Any]) -> dict[str, Any]:
    """Add to each row how many errors more it has than the best plain one, in percent."""
    plain = [row["sum"] for key, row in best.items() if row and key.endswith(" plain")]
    for row in filter(None, best.values()):
        more = round(100 * (row["sum"] / max(min(plain), 1) - 1), 1) if plain else None
        row["against_the_best_plain_percent"] = more
    return best


def chosen_elsewhere(
    models: dict[str, Any], other: dict[str, Any], most_epsilon: float = math.inf
) -> dict[str, Any]:
    """Return the errors of each way at the threshold that had the fewest on other frames.

    Parameters
    ----------
    models, other : dict
        Table by model, of these frames and of those that choose.
    most_epsilon : float
        Only thresholds whose epsilon on the other frames, in percent, is at most this.

    Raises
    ------
    ValueError
        If a model was not measured on the other frames.
    """
    if missing := sorted(set(models) - set(other)):
        raise ValueError(f"the file of --chosen has no model {missing}; it has {sorted(other)}")
    best: dict[str, Any] = {}
    for model, table in models.items():
        for way in ("plain", "meta_image"):
            rows = {t: row[way] for t, row in other[model].items()}
            fit = [t for t, row in rows.items() if row["epsilon_percent"] <= most_epsilon]
            if not fit:
                continue
            t = min(fit, key=lambda t: (rows[t]["sum"], float(t)))
            errors_at = {key: table[t][way][key] for key in ("sum", "epsilon_percent")}
            best[f"{model} {way}"] = {"t": float(t), **errors_at}
    return _against_plain(best)


def over_seeds(best: dict[str, Any]) -> dict[str, Any]:
    """Return mean and standard deviation over models NAME, NAME_seed_1, NAME_seed_2 ...

    Parameters
    ----------
    best : dict
        What `summary` or `chosen_elsewhere` returns.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, row in best.items():
        if row is not None:
            groups.setdefault(re.sub(r"_seed_\d+(?= )", "", key), []).append(row)
    spreads: dict[str, Any] = {}
    for key, rows in groups.items():
        if len(rows) > 1:
            of = {name: [row[name] for row in rows] for name in ("sum", "epsilon_percent", "t")}
            spreads[key] = of | {
                "mean": round(float(np.mean(of["sum"])), 1),
                "std": round(float(np.std(of["sum"])), 1),
            }
    return spreads


def markdown(models: dict[str, Any]) -> str:
    """Return both tables."""
    lines = []
    for name, table in models.items():
        lines += [f"**{name}**", "", "| t | FP / FN / sum / ε % | + meta (images left out) | "
                  "+ meta (drive left out) | MSP AUROC / AUPRC | meta, images | meta, drive |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
        lines += [_line(t, row) for t, row in table.items()]
        lines.append("")
    return "\n".join(lines)


def _line(t: str, row: dict[str, Any]) -> str:
    def counts(r: dict[str, Any]) -> str:
        return f"{r['fp']} / {r['fn']} / {r['sum']} / {r['epsilon_percent']}"

    def areas(r: dict[str, Any]) -> str:
        return f"{r['auroc']} / {r['auprc']}"

    cells = [t, *(counts(row[w]) for w in ("plain", "meta_image", "meta_drive"))]
    cells += [areas(row[w]) for w in ("msp", "meta_image", "meta_drive")]
    return "| " + " | ".join(cells) + " |"


def measure(path: Path, frames: Frames, setting: Setting) -> dict[str, Any]:
    """Return the table of one model, by threshold."""
    measured, rows, classes = collect(path, frames, setting)
    table = {}
    for t in THRESHOLDS:
        table[str(t)] = at_threshold(rows[t], measured, t, classes)
        sys.stderr.write(f"{path.name} {t}: {table[str(t)]}\n")
    return table


def run(given: argparse.Namespace) -> dict[str, Any] | None:
    """Measure all models on the same frames; None while some of them are left for another call."""
    setting = read_setting(given.data, given.setting)
    other = None if given.chosen is None else json.loads(given.chosen.read_text(encoding="utf-8"))
    frames = read_list(given.data, given.split).every(given.every)
    tables = {name: _table(given, name, path, frames, setting) for name, path in given.model}
    done = {name: table for name, table in tables.items() if table is not None}
    if len(done) < len(tables):
        return None
    about = {
        "setting": given.setting,
        "held_out": list(setting.novel),
        "split": given.split,
        "frames": len(frames.names),
    }
    return {**provenance(), **about, **_compared(done), **_elsewhere(done, other)}


def _table(
    given: argparse.Namespace, name: str, path: Path, frames: Frames, setting: Setting
) -> dict[str, Any] | None:
    """Return the table of a model, measured now or in an earlier call; None where it is left."""
    about = {"split": given.split, "every": given.every, "model": read_header(path).heads[0].hash}
    file = None if given.out is None else given.out.with_suffix(f".{name}.part.json")
    if file is not None and file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["about"] != about:
            raise ValueError(f"{file} is of other frames or another model: remove it")
        return dict(stored["table"])
    if given.only_model not in (None, name):
        return None
    table = measure(path, frames, setting)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"about": about, "table": table}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
    return table


def _compared(tables: dict[str, Any]) -> dict[str, Any]:
    limited = summary(tables, LIMIT)
    return {
        "errors_where_nothing_is_predicted": _objects(tables),
        "best": summary(tables),
        "best_with_epsilon_up_to_5_percent": limited,
        "the_latter_over_seeds_of_training": over_seeds(limited),
        "models": tables,
    }


def _elsewhere(tables: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Return the errors at thresholds that another run chose, where one is named."""
    if other is None:
        return {}
    limited = chosen_elsewhere(tables, other["models"], LIMIT)
    return {
        "at_the_threshold_chosen_elsewhere": chosen_elsewhere(tables, other["models"]),
        "the_same_with_epsilon_up_to_5_percent_there": limited,
        "the_latter_over_seeds": over_seeds(limited),
    }


def _objects(tables: dict[str, Any]) -> int:
    return max(int(row["plain"]["objects"]) for table in tables.values() for row in table.values())


def named_file(text: str) -> tuple[str, Path]:
    """Return name and file of ``NAME=FILE``; raises ArgumentTypeError for anything else."""
    name, sign, path = text.partition("=")
    if not (name and sign and Path(path).is_file()):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE with a file that exists, got {text}")
    return name, Path(path)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--model", type=named_file, action="append", required=True)
    parser.add_argument("--only-model", help="measure this one of the models in this call")
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1, help="take every n-th frame")
    parser.add_argument("--chosen", type=Path, help="result on other frames, for the threshold")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        result = run(given)
    except (ValueError, OSError) as error:
        sys.exit(f"experiments.methods.meta: {error}")
    if result is None:
        sys.exit("some models are left: the same line with another --only-model goes on")
    text = json.dumps(result, indent=1)
    sys.stdout.write(markdown(result["models"]) + "\n")
    if given.out:
        given.out.write_text(text + "\n")
        title = f"# Meta classification: {given.out.stem}\n\n"
        given.out.with_suffix(".md").write_text(title + markdown(result["models"]) + "\n")


if __name__ == "__main__":
    main()
