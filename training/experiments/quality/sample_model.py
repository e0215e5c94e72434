"""How good the sample checkpoint is on the sample images.

Run it with ``python -m experiments.quality.sample_model``.

Known classes: IoU.  Strange kinds: how well each score tells their pixels apart, whether they are
among the candidates, and whether one shot of a kind (NPM) finds it in the other images.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: idle threads sleep

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from owlabel.arrays import embedding_grid
from owlabel.classes import VOID, Labels
from owlabel.metrics import ConfusionMatrix, PixelOod
from owlabel.models.embed import embed_image
from owlabel.models.weights import load
from owlabel.novel import prototypes as fewshot
from owlabel.ood import candidates
from owlabel.ood.registry import all_scores, available

FOUND = 0.25
"""A kind counts as found in an image where this share of its pixels is claimed."""


@dataclass(frozen=True)
class Case:
    """One image: embedding (N, h, w), prediction (H, W), truth (H, W) with strange ids from N."""

    name: str
    embedding: NDArray[np.float32]
    base: Labels
    truth: Labels

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.truth.shape[0], self.truth.shape[1]


def read_cases(checkpoint: Path, images: Path, labels: Path) -> list[Case]:
    """Embed every image that has labels of the same name."""
    segmenter, _ = load(checkpoint)
    cases = []
    for path in sorted(images.iterdir()):
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        with Image.open(labels / f"{path.stem}.png") as picture:
            truth = np.asarray(picture)
        embedding = embed_image(segmenter, image)[0].astype(np.float32)
        cases.append(
            Case(
                path.stem, embedding, embedding_grid.argmax_upsampled(embedding, truth.shape), truth
            )
        )
    return cases


def closed_set(cases: Sequence[Case], names: Sequence[str]) -> dict[str, Any]:
    """Return the IoU of the known classes; pixels of strange objects are left out."""
    n = len(names)
    matrix = ConfusionMatrix(n)
    for case in cases:
        matrix.update(np.where(case.truth < n, case.truth, np.uint8(VOID)), case.base)
    iou = dict(zip(names, _rounded(matrix.iou().tolist()), strict=True))
    return {"miou": round(matrix.miou(), 4), "iou": iou}


def open_set(cases: Sequence[Case], n: int, kinds: dict[int, str]) -> dict[str, Any]:
    """Return AUROC, AP and FPR95 of every score: all strange kinds, then one kind at a time."""
    pooled = {
        name: {kind: PixelOod() for kind in (0, *kinds)} for name in available({"metric head"})
    }
    for case in cases:
        for name, score in all_scores(case.embedding).items():
            full = embedding_grid.upsample(score, case.shape)
            strange = case.truth >= n
            pooled[name][0].update(full, strange)
            for kind in kinds:
                one = np.where(strange & (case.truth != kind), VOID, case.truth == kind)
                pooled[name][kind].update(full, one)
    result: dict[str, Any] = {}
    for name, by_kind in pooled.items():
        whole = by_kind[0].result()
        result[name] = {
            **{k: round(getattr(whole, k), 4) for k in ("auroc", "ap", "fpr95")},
            "ap_of_kind": {kinds[k]: round(by_kind[k].result().ap, 4) for k in kinds},
        }
    return result


def queue(cases: Sequence[Case], n: int, threshold: float) -> dict[str, Any]:
    """Return how many strange objects the queue holds, and how many of its first are strange."""
    ranked: list[tuple[float, bool]] = []
    hit, objects = 0, 0
    for case in cases:
        score = all_scores(case.embedding, names=["eds_absolute"])["eds_absolute"]
        base = case.embedding.argmax(0).astype(np.uint8)
        found = candidates.find(score, base, case.shape, threshold)
        peaks = {int(case.truth[c.peak]) for c in found}
        kinds = {int(k) for k in np.unique(case.truth) if k >= n}
        hit, objects = hit + len(kinds & peaks), objects + len(kinds)
        ranked += [(c.rank, bool(case.truth[c.peak] >= n)) for c in found]
    ranked.sort(reverse=True)
    first = [strange for _, strange in ranked[:objects]]
    return {
        "threshold": threshold,
        "objects": objects,
        "objects_hit": hit,
        "candidates": len(ranked),
        "strange_among_the_first": sum(first),
        "looked_at": len(first),
    }


def one_shot(cases: Sequence[Case], kind: int, lambda_novel: float) -> dict[str, Any]:
    """Return what one shot finds in the other images, averaged over every choice of the shot."""
    rows = [_shot(case, cases, kind, lambda_novel) for case in cases if (case.truth == kind).any()]
    found, present, false, iou = np.array(rows).T
    return {
        "shots": len(rows),
        "found": round(float(found.sum() / present.sum()), 4),
        "false_images": round(float(false.mean()), 2),
        "iou": round(float(iou.mean()), 4),
        "worst_iou": round(float(iou.min()), 4),
        "best_iou": round(float(iou.max()), 4),
    }


def _shot(
    shot: Case, cases: Sequence[Case], kind: int, lambda_novel: float
) -> tuple[int, int, int, float]:
    """Return images where the kind is found, where it is, where it is falsely seen, and the IoU."""
    mean = fewshot.image_mean(shot.embedding, shot.truth == kind)
    prototype = [fewshot.NovelPrototype(kind, mean, 1)]
    found, present, false, hits, union = 0, 0, 0, 0, 0
    for case in cases:
        if case is shot:
            continue
        claimed = fewshot.claim_novel(case.embedding, case.base, prototype, lambda_novel) == kind
        true = case.truth == kind
        hits += int((claimed & true).sum())
        union += int((claimed | true).sum())
        present += bool(true.any())
        found += bool(true.any() and (claimed & true).sum() >= FOUND * true.sum())
        false += bool(not true.any() and claimed.sum() > 0.002 * true.size)
    return found, present, false, hits / max(union, 1)


def report(
    checkpoint: Path, images: Path, labels: Path, kinds: dict[int, str], command: str
) -> dict[str, Any]:
    """Return all figures as plain values."""
    cases = read_cases(checkpoint, images, labels)
    _, header = load(checkpoint)
    names = [c.name for c in header.classes.base]
    shots = {
        str(radius): {kinds[k]: one_shot(cases, k, radius) for k in kinds}
        for radius in (0.5, 1.0, 1.5)
    }
    return {
        "command": command,
        "checkpoint": {
            "name": header.name,
            "architecture": header.architecture,
            "bytes": checkpoint.stat().st_size,
            "hash": header.heads[0].hash,
            "val_miou": round(float(header.recipe.get("val_miou", float("nan"))), 4),
        },
        "images": len(cases),
        "closed_set": closed_set(cases, names),
        "open_set": open_set(cases, len(names), kinds),
        "queue": [queue(cases, len(names), t) for t in (0.3, 0.5, 0.7)],
        "npm_one_shot_by_lambda": shots,
    }


def _rounded(values: Sequence[float]) -> Iterator[float]:
    return (round(value, 4) for value in values)


def main(
    checkpoint: Path,
    images: Path,
    labels: Path,
    kinds: Annotated[
        str, typer.Option(help="Names of the strange kinds, in the order of their ids.")
    ],
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure a checkpoint on images whose strange objects have ids from N on."""
    _, header = load(checkpoint)
    named = dict(enumerate(kinds.split(","), start=len(header.classes.base)))
    command = (
        f"python -m experiments.quality.sample_model {checkpoint} {images} {labels}"
        f" --kinds '{kinds}'" + (f" --out {out}" if out else "")
    )
    text = json.dumps(report(checkpoint, images, labels, named, command), indent=1)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
