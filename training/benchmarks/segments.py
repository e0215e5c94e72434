"""Measure the cost of segment features, compared with two other methods.

python -m benchmarks.segments --out docs/results/segments.json

The data are softmax maps of smooth noise with 19 classes.  Segments are 8-connected and have a
normalised entropy of at least 0.3.  "plain" follows the formulas of `owlabel.ood.segment_features`
segment by segment: maps of the whole image with a sort for the two largest probabilities, then a
mask, an erosion and a dilation within the box of each segment.  "search" is our compiled
re-implementation of the authors' search over pixels (`segment_search`).  It is compared with ours
from probabilities to the 2q + 37 columns.

`--published FOLDER` also measures the authors' module.  FOLDER holds `metrics`, compiled from
src/metaseg/metrics.pyx of github.com/robin-chan/meta-ood with its metrics_setup.py (-O3).  It runs
from probabilities to the authors' columns with IoU, with the mask of their meta_classification.py.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from benchmarks.segment_search import compiler, search_features
from owlabel.evaluation.segments import false_segments
from owlabel.ood.segment_features import (
    SegmentTable,
    feature_names,
    probability_entropy,
    segment_features,
)

THRESHOLD = 0.3
ROUNDS, PUBLISHED_ROUNDS = 5, 2
CASES = {
    "about 50": (80.0, 8.0),
    "about 500": (24.0, 8.0),
    "about 5000": (8.0, 8.0),
    "about 5000, more of the image": (4.2, 6.0),
}
"""Smoothness of the noise in pixels at 2048x1024, and its size in logits (smaller: less sure)."""
EIGHT = np.ones((3, 3), bool)
Doubles = NDArray[np.float64]


def noise(
    shape: tuple[int, int], classes: int, sigma: float, size: float = 8.0
) -> NDArray[np.float32]:
    """Return softmax probabilities (q, h, w) of smooth logits."""
    rng = np.random.default_rng(0)
    p = np.empty((classes, *shape), np.float32)
    for j in range(classes):
        field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
        p[j] = size * field / field.std()
    p -= p.max(axis=0)
    np.exp(p, out=p)
    p /= p.sum(axis=0)
    return p


def plain_features(p: NDArray[Any], segments: NDArray[Any], extended: bool = False) -> Doubles:
    """Return the table of `segment_features`, computed segment by segment in float64."""
    q = len(p)
    wide = p.astype(np.float64)
    logs = np.log(np.where(wide > 0, wide, 1))
    order = np.sort(wide, axis=0)
    entropy = -(wide * logs).sum(axis=0) / np.log(q)
    maps = {"E": entropy, "V": 1 - order[-1], "M": 1 - order[-1] + order[-2]}
    likely = wide.argmax(axis=0)
    rows = []
    for index, box in enumerate(ndimage.find_objects(segments), start=1):
        grown = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        mask = segments[grown] == index
        inside = ndimage.binary_erosion(mask, EIGHT)
        around = ndimage.binary_dilation(mask, EIGHT) & ~mask
        row = _row(mask, inside, {n: m[grown] for n, m in maps.items()})
        row |= {f"p{j}": wide[j][grown][mask].mean() for j in range(q)}
        votes = np.bincount(likely[grown][around], minlength=q)
        row |= {f"N{j}": votes[j] / max(votes.sum(), 1) for j in range(q)}
        place = np.argwhere(mask).mean(axis=0)
        row |= {f"C_{n}": place[i] + grown[i].start for i, n in enumerate("hw")}
        rows.append([row[name] for name in feature_names(q, extended)])
    return np.array(rows, np.float64).reshape(-1, len(feature_names(q, extended)))


def _row(mask: NDArray[Any], inside: NDArray[Any], maps: dict[str, Doubles]) -> dict[str, float]:
    """Return size, shape, means and variances of one segment by column name."""
    size, core = int(mask.sum()), int(inside.sum())
    edge = mask & ~inside
    row: dict[str, float] = {"S": size, "S_in": core, "S_bd": size - core}
    row |= {"S_rel": size / (size - core), "S_rel_in": core / (size - core)}
    for name, values in maps.items():
        for kind, measure in (("", np.mean), ("_var", np.var)):
            of = {k: float(measure(values[m])) if m.any() else 0.0
                  for k, m in (("", mask), ("_in", inside), ("_bd", edge))}  # fmt: skip
            row |= {f"{name}{kind}{k}": v for k, v in of.items()}
            row[f"{name}{kind}_rel"] = of[""] * row["S_rel"]
            row[f"{name}{kind}_rel_in"] = of["_in"] * row["S_rel_in"]
    return row


def label(entropy: NDArray[Any]) -> NDArray[np.int32]:
    """Return the 8-connected segments, computed by SciPy."""
    return np.asarray(ndimage.label(entropy >= THRESHOLD, EIGHT)[0], np.int32)


def from_probabilities(p: NDArray[Any], extended: bool = False) -> SegmentTable:
    """Return the segment table from probabilities, including entropy and labelling."""
    entropy = probability_entropy(p)
    return segment_features(p, label(entropy), extended, entropy)


def published_features(module: ModuleType, p: NDArray[Any]) -> dict[str, list[float]]:
    """Return the table of the authors' module from p, without out-of-distribution pixels."""
    mask = (stats.entropy(p) / np.log(len(p)) >= THRESHOLD).astype(np.uint8)
    truth = np.zeros(mask.shape, np.uint8)
    results = module.compute_metrics_components(p, truth, ood_mask=mask, ood_index=[254])
    return cast(dict[str, list[float]], results[0])


def with_truth(p: NDArray[Any]) -> tuple[SegmentTable, NDArray[np.bool_]]:
    """Return all columns and the false segments, as the authors' module does."""
    entropy = probability_entropy(p)
    segments = label(entropy)
    table = segment_features(p, segments, extended=True, entropy=entropy)
    return table, false_segments(segments, np.zeros(segments.shape, np.uint8))


def beside(module: ModuleType, p: NDArray[Any]) -> dict[str, Any]:
    """Time the authors' module and ours in turn on p, and compare the means."""
    theirs, ours = [], []
    for _ in range(PUBLISHED_ROUNDS):
        theirs.append(_timed(lambda: published_features(module, p))[1])
        ours += [_timed(lambda: with_truth(p))[1] for _ in range(ROUNDS)]
    published, (table, _) = published_features(module, p), with_truth(p)
    result: dict[str, Any] = {
        "published_ms": round(float(np.median(theirs)), 1),
        "ours_with_truth_ms": round(float(np.median(ours)), 1),
        "published_over_ours_cpu": round(float(np.median(theirs) / np.median(ours)), 1),
        "published_segments": len(published["S"]),
    }
    if len(published["S"]) == len(table):
        pairs = {"S": "S", "E": "E", "V": "V", "M": "D", "C_h": "mean_x", "C_w": "mean_y"}
        apart = max(
            float((np.abs(table[k] - published[v]) / np.maximum(np.abs(published[v]), 1)).max())
            for k, v in pairs.items()
        )
        result["largest_difference_to_published"] = float(f"{apart:.2g}")
    return result


def compiled_module(folder: Path) -> ModuleType:
    """Import the module `metrics` from a folder; raises SystemExit if the import fails."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        return importlib.import_module("metrics")
    except ImportError as error:
        sys.exit(f"benchmarks.segments: cannot import `metrics` from {folder}: {error}")


def _timed(act: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def measure(
    shape: tuple[int, int],
    classes: int,
    smooth: tuple[float, float],
    module: ModuleType | None = None,
) -> dict[str, Any]:
    """Time all steps on one map; the methods run in turn."""
    p = noise(shape, classes, *smooth)
    entropy = probability_entropy(p)
    segments = label(entropy)
    steps: dict[str, Callable[[], Any]] = {
        "entropy_ms": lambda: probability_entropy(p),
        "labelling_ms": lambda: label(entropy),
        "features_ms": lambda: segment_features(p, segments, entropy=entropy),
        "extended_ms": lambda: segment_features(p, segments, extended=True, entropy=entropy),
        "all_ms": lambda: from_probabilities(p),
        "plain_ms": lambda: plain_features(p, segments),
    }
    if compiler():
        pixelwise = np.ascontiguousarray(p.transpose(1, 2, 0))
        steps["search_ms"] = lambda: search_features(pixelwise, THRESHOLD)
        steps["search_ms"]()  # compiles
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, act in steps.items():
            if name not in ("plain_ms", "search_ms") or len(times[name]) < 2:
                times[name].append(_timed(act))
    medians = {name: np.median(rows, axis=0) for name, rows in times.items()}
    labelling = medians["entropy_ms"] + medians["labelling_ms"]
    ours, extended = labelling + medians["features_ms"], labelling + medians["extended_ms"]
    ratio = {}
    if "search_ms" in medians:
        ratio["search_over_ours_extended_cpu"] = round(
            float(medians["search_ms"][1] / extended[1]), 1
        )
    return {
        "segments": int(segments.max()),
        "covered": round(float((segments > 0).mean()), 3),
        "wall": {name: round(float(v[0]), 1) for name, v in medians.items()},
        "cpu": {name: round(float(v[1]), 1) for name, v in medians.items()},
        "plain_over_ours_cpu": round(float((medians["plain_ms"] / ours)[1]), 1),
        **ratio,
        "extra_mib": round(_peak(lambda: segment_features(p, segments)), 1),
        "extra_mib_extended": round(_peak(lambda: segment_features(p, segments, True)), 1),
        **_errors(p, segments),
        **({} if module is None else beside(module, p)),
    }


def _peak(act: Callable[[], Any]) -> float:
    tracemalloc.start()
    act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def _errors(p: NDArray[Any], segments: NDArray[Any]) -> dict[str, float]:
    """Return the largest difference to the plain float64 table, of means and of variances."""
    ours = segment_features(p, segments, extended=True)
    plain = plain_features(p, segments, extended=True)
    scale = np.maximum(np.abs(plain), 1)
    relative = np.abs(ours.values - plain) / scale
    spread = [i for i, name in enumerate(ours.columns) if name[1:] in ("_var", "_var_bd")]
    whole = plain[:, spread]
    of_variance = np.abs(ours.values[:, spread] - whole) / np.where(whole > 0, whole, np.inf)
    return {
        "largest_difference": float(f"{relative.max():.2g}"),
        "largest_relative_variance_difference": float(f"{of_variance.max():.2g}"),
    }


def extremes() -> dict[str, float]:
    """Time extreme cases: 60,000 one-pixel segments, and one segment that fills the image."""
    p = noise((1024, 2048), 19, 24.0)
    dots = np.zeros((1024, 2048), np.int32)
    rows, cols = np.mgrid[0:1024:4, 0:2048:8]
    chosen = np.arange(rows.size)[:60000]
    dots[rows.ravel()[chosen], cols.ravel()[chosen]] = 1 + chosen
    cases = {"60000_one_pixel_segments": dots, "one_segment_is_the_image": np.ones_like(dots)}
    result = {}
    for name, segments in cases.items():
        times = [_timed(lambda s=segments: segment_features(p, s))[1] for _ in range(3)]  # type: ignore[misc]
        result[f"{name}_cpu_ms"] = round(float(np.median(times)), 1)
        peak = _peak(lambda s=segments: segment_features(p, s, True))  # type: ignore[misc]
        result[f"{name}_extended_extra_mib"] = round(peak, 1)
    return result


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--published", type=Path, help="folder of the authors' compiled module")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    module = compiled_module(given.published) if given.published else None
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} CPU cores, no GPU; one is used",
        "load_before": round(os.getloadavg()[0], 1),
        "cases": {},
    }
    for shape, classes in (((360, 480), 11), ((1024, 2048), 19)):
        for name, (sigma, size) in CASES.items():
            if shape[0] == 360 and "5000" in name:
                continue
            smooth = sigma if shape[0] == 1024 else sigma / 3.5
            row = measure(shape, classes, (smooth, size), module)
            result["cases"][f"{shape[1]}x{shape[0]}x{classes}, {name}"] = row
            sys.stderr.write(f"{shape} {name}: {row}\n")
    result |= extremes()
    text = json.dumps(result, indent=1)
    sys.stdout.write(text + "\n")
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
