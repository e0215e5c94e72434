"""Time five scores of one image in one pass against plain arithmetic and one read of the logits.

python -m benchmarks.scores --out docs/results/scores_speed.json

The pass uses NumPy on one core.  The plain method follows the formulas: each score computes a
separate softmax (torch, one thread), then uses NumPy over whole arrays and reuses nothing.  Both
methods and the read run in turn in one process; ratios are medians over the rounds.  CPU time is
that of the process.  Memory is the NumPy memory beyond the embedding, including results but not
the memory of torch.

``--torch cuda`` (or ``cpu``) measures the same functions on tensors instead: op by op, compiled
into few kernels by torch.compile, and one read.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from experiments.results import machine  # noqa: E402
from owlabel.ood.prototype_scores import BETA, CLIP_FACTOR, GAMMA, PROTOTYPE_LENGTH  # noqa: E402
from owlabel.ood.registry import all_scores  # noqa: E402

Floats = NDArray[np.float32]
SIZES = {"12x360x480": (12, 360, 480), "19x1024x2048": (19, 1024, 2048)}
SETS = {
    "metric": ("eds", "mmsp", "mixture", "entropy", "energy"),
    "logits": ("msp", "entropy", "max_logit", "energy", "eds"),
}
"""Five scores of a metric head; and four scores of any logits plus the distance sum."""
ROUNDS = 7
IN_A_ROW = 20
"""Calls on a GPU between two synchronisations, as in a loop over images."""


def embedding(shape: tuple[int, int, int], seed: int = 0) -> Floats:
    """Return a smooth embedding (N, H, W): most pixels near a prototype, seams between them."""
    import cv2

    rng = np.random.default_rng(seed)
    n, height, width = shape
    coarse = rng.normal(0, 1, (n, max(height // 40, 3), max(width // 40, 3)))
    smooth = np.empty(shape, np.float32)
    for channel, grid in zip(smooth, coarse.astype(np.float32), strict=True):
        cv2.resize(grid, (width, height), dst=channel, interpolation=cv2.INTER_CUBIC)
    smooth *= 2
    smooth += 0.1 * rng.standard_normal(shape, np.float32)
    return smooth


def plain_softmax(logits: Floats) -> Floats:
    """Return the softmax over the classes, (N, H, W), computed by torch."""
    import torch

    return torch.softmax(torch.from_numpy(logits), dim=0).numpy()


def plain_sums(f: Floats, length: float) -> Floats:
    """Return the sum of squared distances to the prototypes, (H, W), from all distances."""
    distances = (f**2).sum(0) - 2 * length * f + length**2  # (N, H, W)
    total: Floats = distances.sum(0)
    return total


def plain_eds(f: Floats, length: float) -> Floats:
    """Return clipped EDS, scaled by the smallest and the largest value of the image."""
    sums = np.clip(plain_sums(f, length), 0, CLIP_FACTOR * 2 * (len(f) - 1) * length**2)
    scaled: Floats = 1 - (sums - sums.min()) / (sums.max() - sums.min())
    return scaled


def plain_msp(f: Floats, length: float) -> Floats:
    """Return one minus the largest probability."""
    score: Floats = 1 - plain_softmax(2 * length * f).max(0)
    return score


def plain_mixture(f: Floats, length: float) -> Floats:
    """Return the mixture of EDS and MMSP; computes both again."""
    eds, mmsp = plain_eds(f, length), plain_msp(f, length)
    alpha = 1 / (1 + np.exp(-BETA * (eds - GAMMA)))
    mixed: Floats = alpha * eds + (1 - alpha) * mmsp
    return mixed


def plain_entropy(f: Floats, length: float) -> Floats:
    """Return the entropy over log N; a small constant keeps the logarithm finite."""
    p = plain_softmax(2 * length * f)
    score: Floats = -(p * np.log(p + 1e-30)).sum(0) / math.log(len(f))
    return score


def plain_energy(f: Floats, length: float) -> Floats:
    """Return the negative log-sum-exp, computed without overflow."""
    z = 2 * length * f
    peak = z.max(0)
    score: Floats = -(peak + np.log(np.exp(z - peak).sum(0)))
    return score


def plain_max_logit(f: Floats, length: float) -> Floats:
    """Return the negative of the largest logit."""
    score: Floats = -(2 * length * f).max(0)
    return score


PLAIN: Mapping[str, Callable[[Floats, float], Floats]] = {
    "eds": plain_eds,
    "mmsp": plain_msp,
    "msp": plain_msp,
    "mixture": plain_mixture,
    "entropy": plain_entropy,
    "energy": plain_energy,
    "max_logit": plain_max_logit,
}


def plainly(f: Floats, names: tuple[str, ...]) -> dict[str, Floats]:
    """Return the scores, each computed separately."""
    return {name: PLAIN[name](f, PROTOTYPE_LENGTH) for name in names}


def spent(act: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and CPU milliseconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def compare(f: Floats, names: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """Time both methods and one read in turn; return medians and ratios."""
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: all_scores(f, PROTOTYPE_LENGTH, names),
        "plain": lambda: plainly(f, names),
        "read": lambda: f.sum(),
    }
    for way in ways.values():
        way()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(spent(way))
    table = {name: np.array(rows) for name, rows in times.items()}  # (rounds, wall and cpu)
    result: dict[str, Any] = {
        f"{name}_{kind}_ms": {
            "median": round(float(np.median(rows[:, i])), 1),
            "least": round(float(rows[:, i].min()), 1),
        }
        for name, rows in table.items()
        for i, kind in enumerate(("wall", "cpu"))
    }
    for i, kind in enumerate(("wall", "cpu")):
        ratio = float(np.median(table["plain"][:, i] / table["ours"][:, i]))
        reads = float(np.median(table["ours"][:, i] / table["read"][:, i]))
        result[f"plain_over_ours_{kind}"] = round(ratio, 1)
        result[f"ours_over_read_{kind}"] = round(reads, 1)
    return result | {"largest_difference": differences(f, names)}


def differences(f: Floats, names: tuple[str, ...]) -> dict[str, float]:
    """Return the largest difference between the two methods, by score."""
    ours, plain = all_scores(f, PROTOTYPE_LENGTH, names), plainly(f, names)
    return {name: float(f"{np.abs(ours[name] - plain[name]).max():.1e}") for name in names}


def extra_mib(act: Callable[[], Any]) -> int:
    """Return the peak MiB of NumPy arrays during a call, including its results."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1] >> 20
    finally:
        tracemalloc.stop()


def compare_tensors(f: Floats, names: tuple[str, ...], place: str, rounds: int) -> dict[str, Any]:
    """Time the scores of a tensor, op by op and compiled, and one read; return medians."""
    import torch

    tensor = torch.from_numpy(f).to(place)
    plain = partial(all_scores, T=PROTOTYPE_LENGTH, names=names)
    compiled = torch.compile(plain, dynamic=False, fullgraph=True)
    ways: dict[str, Callable[[], Any]] = {
        "op_by_op": lambda: plain(tensor),
        "compiled": lambda: compiled(tensor),
        "read": lambda: tensor.sum(),
    }

    calls = IN_A_ROW if tensor.is_cuda else 1

    def finished(way: Callable[[], Any]) -> None:
        for _ in range(calls):
            way()
        if tensor.is_cuda:
            torch.cuda.synchronize(tensor.device)

    for way in ways.values():
        finished(way)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(spent(partial(finished, way))[0] / calls)
    table = {name: np.array(values) for name, values in times.items()}
    expected, maps = all_scores(f, PROTOTYPE_LENGTH, names), compiled(tensor)
    apart = {n: float(np.abs(maps[n].cpu().numpy() - expected[n]).max()) for n in names}
    return {f"{name}_ms": round(float(np.median(row)), 3) for name, row in table.items()} | {
        "compiled_over_read": round(float(np.median(table["compiled"] / table["read"])), 1),
        "op_by_op_over_compiled": round(float(np.median(table["op_by_op"] / table["compiled"])), 1),
        "largest_difference": {name: float(f"{value:.1e}") for name, value in apart.items()},
    }


def run(rounds: int) -> dict[str, Any]:
    """Measure all sizes and sets."""
    import torch

    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    for size, shape in SIZES.items():
        f = embedding(shape)
        for label, names in SETS.items():
            row = {"scores": list(names), **compare(f, names, rounds)}
            row["ours_extra_mib"] = extra_mib(partial(all_scores, f, PROTOTYPE_LENGTH, names))
            row["plain_extra_mib"] = extra_mib(partial(plainly, f, names))
            row["load_after"] = round(os.getloadavg()[0], 1)
            result[f"{size} {label}"] = row
    return result


def run_tensors(place: str, rounds: int) -> dict[str, Any]:
    """Measure all sizes and sets on tensors."""
    import torch

    torch.set_num_threads(1)
    return {"torch": torch.__version__, "device": place} | {
        f"{size} {label}": {"scores": list(names)} | compare_tensors(f, names, place, rounds)
        for size, shape in SIZES.items()
        for f in [embedding(shape)]
        for label, names in SETS.items()
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--torch", metavar="DEVICE", help="cpu or cuda: tensors instead of NumPy")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    about = {
        "machine": machine(),
        "numpy": np.__version__,
        "load_before": round(os.getloadavg()[0], 1),
        "rounds": given.rounds,
    }
    results = about | (run_tensors(given.torch, given.rounds) if given.torch else run(given.rounds))
    text = json.dumps(results, indent=1)
    sys.stdout.write(text + "\n")
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
