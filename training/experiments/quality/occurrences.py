"""How honest "found in n images" is, on images whose true labels are known.

python -m experiments.quality.occurrences MODEL IMAGES LABELS \
    --kinds '10=deer,11=hay bale' --out FILE

Every image that holds a kind is its one shot in turn (NPM, the true mask as the shot).  Told are
the mean numbers of images in which the kind is found, in which it is, and in which both hold; by
the rule of `owlabel.novel.occurrences` and, for comparison, by any pixel and by any pixel that is
no seam.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from experiments.quality.sample_model import Case, read_cases
from owlabel.checkpoints.header import read_header
from owlabel.novel import occurrences
from owlabel.novel.prototypes import LAMBDA_NOVEL, NovelPrototype, claim_novel, image_mean

Mask = NDArray[np.bool_]
ANY_WIDTH = occurrences.ShotSize(area=1, width=10**6)
"""A shot of which any piece that is no seam is large enough: the rule before this one."""

RULES: dict[str, Callable[[Mask, occurrences.ShotSize | None], bool]] = {
    "any pixel": lambda claim, _: bool(claim.any()),
    "no seam": lambda claim, _: occurrences.occurrence_pixels(claim, ANY_WIDTH) > 0,
    "one piece": lambda claim, shot: occurrences.occurrence_pixels(claim, shot) > 0,
}


def of_kind(cases: Sequence[Case], kind: int, lambda_novel: float) -> dict[str, Any]:
    """Return mean images found, true and both, by rule, over every choice of the one shot."""
    with_kind = [case for case in cases if (case.truth == kind).any()]
    counts = {name: np.zeros(2) for name in RULES}  # found, both
    for shot in with_kind:
        mask = shot.truth == kind
        prototype = NovelPrototype(kind, image_mean(shot.embedding, mask), 1)
        size = occurrences.shot_size(mask)
        for case in cases:
            claim = claim_novel(case.embedding, case.base, [prototype], lambda_novel) == kind
            holds = bool((case.truth == kind).any())
            for name, rule in RULES.items():
                found = rule(claim, size)
                counts[name] += (found, found and holds)
    means = {name: (count / max(len(with_kind), 1)).tolist() for name, count in counts.items()}
    return {
        "true": len(with_kind),
        **{name: {"found": round(f, 1), "both": round(b, 1)} for name, (f, b) in means.items()},
    }


def main(
    checkpoint: Path,
    images: Path,
    labels: Path,
    kinds: Annotated[str, typer.Option(help="Ids and names: '10=deer,11=hay bale'.")],
    radius: Annotated[
        float | None, typer.Option(help="Lambda of NPM; by default the model's own.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure on images whose labels lie in PNG files of the same name."""
    of_model = read_header(checkpoint).lambda_novel
    usual = LAMBDA_NOVEL if of_model is None else of_model
    lambda_novel = usual if radius is None else radius
    named = {int(part.split("=")[0]): part.split("=")[1] for part in kinds.split(",")}
    cases = read_cases(checkpoint, images, labels)
    result = {
        "command": f"python -m experiments.quality.occurrences {checkpoint.name} IMAGES LABELS "
        f"--kinds '{kinds}' --radius {lambda_novel}",
        "images": len(cases),
        "lambda_novel": lambda_novel,
        "kinds": {name: of_kind(cases, kind, lambda_novel) for kind, name in named.items()},
    }
    text = json.dumps(result, indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
