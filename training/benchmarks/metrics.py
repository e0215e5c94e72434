"""Measure the cost of AUROC, AP and FPR95, compared with scikit-learn.

python -m benchmarks.metrics --out docs/results/metrics.json

The data are random float32 scores with 1 % positives in images of a million pixels; generating them
is not timed.  Every method runs in a separate process to measure its peak memory.  The plain method
joins all pixels and calls roc_auc_score, average_precision_score and roc_curve.  At 10^8 pixels
only our methods run, because scikit-learn would need more than 6 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.metrics import ExactPixelOod, OodResult, PixelOod, ood_scores

PIXELS = 1_000_000
SHARE = 0.01
ROUNDS = 3
Part = tuple[NDArray[np.float32], NDArray[np.uint8]]


def parts(images: int) -> Iterator[Part]:
    """Yield scores and truth of each image; the same at every call."""
    for seed in range(images):
        rng = np.random.default_rng(seed)
        truth = (rng.random(PIXELS, dtype=np.float32) < SHARE).astype(np.uint8)
        noise = rng.standard_normal(PIXELS, dtype=np.float32)
        yield noise + np.float32(1.5) * truth, truth


class Clock:
    """Add up the wall time and CPU time of the measured blocks."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._started[0]
        self.cpu += time.process_time() - self._started[1]


def bins(images: int, clock: Clock) -> OodResult:
    """Measure in 2^20 bins, one pass."""
    stream = PixelOod()
    for scores, truth in parts(images):
        with clock:
            stream.update(scores, truth)
    with clock:
        return stream.result()


def exact(images: int, clock: Clock) -> OodResult:
    """Measure exactly, two passes."""
    positives = []
    for scores, truth in parts(images):
        with clock:
            positives.append(ood_scores(scores, truth))
    with clock:
        stream = ExactPixelOod(np.concatenate(positives))
        positives.clear()
    for scores, truth in parts(images):
        with clock:
            stream.update(scores, truth)
    with clock:
        return stream.result()


def plain(images: int, clock: Clock) -> OodResult:
    """Measure with scikit-learn on all pixels at once."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    pairs = list(parts(images))
    scores = np.concatenate([pair[0] for pair in pairs])
    truth = np.concatenate([pair[1] for pair in pairs])
    pairs.clear()
    with clock:
        auroc = float(roc_auc_score(truth, scores))
        ap = float(average_precision_score(truth, scores))
        fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
        fpr95 = float(fpr[np.argmax(tpr >= 0.95)])
    positives = int(truth.sum())
    return OodResult(auroc, ap, fpr95, positives, truth.size - positives)


WAYS = {"exact": exact, "bins": bins, "plain": plain}


def one(way: str, images: int) -> dict[str, Any]:
    """Measure one method once in this process; peak memory includes all loaded libraries."""
    clock = Clock()
    result = WAYS[way](images, clock)
    return {
        "wall_s": clock.wall,
        "cpu_s": clock.cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "auroc": result.auroc,
        "ap": result.ap,
        "fpr95": result.fpr95,
    }


def in_process(way: str, images: int) -> dict[str, Any]:
    """Measure one method once in a new process."""
    command = [sys.executable, "-m", "benchmarks.metrics", "--way", way]
    done = subprocess.run(
        [*command, "--images", str(images)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def compare(images: int, ways: list[str], rounds: int) -> dict[str, Any]:
    """Run the methods in turn; return medians, and the ratio of CPU time to the plain method."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            runs[way].append(in_process(way, images))
    table = {
        way: {key: round(statistics.median(run[key] for run in rows), 6) for key in rows[0]}
        for way, rows in runs.items()
    }
    if "plain" in table:
        for way in ("exact", "bins"):
            ratios = [p["cpu_s"] / o["cpu_s"] for p, o in
                      zip(runs["plain"], runs[way], strict=True)]  # fmt: skip
            table[way]["times_faster"] = round(statistics.median(ratios), 1)
    return {"pixels": images * PIXELS, "rounds": rounds, "ways": table}


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/metrics.json"))
    parser.add_argument(
        "--way", choices=list(WAYS), help="measure this method once and print the result"
    )
    parser.add_argument("--images", type=int, default=10, help="millions of pixels")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(one(given.way, given.images)))
        return
    load = os.getloadavg()[0]
    small = compare(10, ["exact", "bins", "plain"], ROUNDS)
    large = compare(100, ["exact", "bins"], 1)
    content = {
        "command": "python -m benchmarks.metrics",
        "machine": f"{os.cpu_count()} CPU cores",
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "note": "float32 scores, 1 % positives; CPU seconds of one core count, wall time is "
        "inflated by other work on the same cores; peak memory of the process with numpy",
        "10^7": small,
        "10^8": large,
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
