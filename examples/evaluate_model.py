"""Measure two scores of the sample model against the truth of eight generated scenes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import owlabel_samples
from owlabel.evaluation import layouts
from owlabel.evaluation.cases import check
from owlabel.evaluation.model import predictions_of
from owlabel.evaluation.run import Options, evaluate

NOVEL = [row["name"] for row in owlabel_samples.classes() if row["novel"]]


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing; a script could print how far it is."""


if not Path("test").exists():  # images/, labels/ and classes.json
    scenes = ["--strange", "test", "--count", "8", "--seed", "900000"]
    subprocess.run([sys.executable, "-m", "owlabel_samples.make", *scenes], check=True)
data = layouts.read("classes", Path("test"), held_out=NOVEL)
check(data, need_images=True)
scores = ["entropy", "eds_absolute"]
with predictions_of(owlabel_samples.checkpoint(), scores, data, quiet) as predictions:
    for prediction in predictions:
        pooled = evaluate(data, prediction, Options(), quiet).pooled
        print(f"{prediction.score}: AUROC {100 * pooled.auroc:.1f}  AP {100 * pooled.ap:.1f}")
