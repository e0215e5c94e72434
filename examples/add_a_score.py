"""Write a score of your own, the Gini impurity of the class probabilities, and compare it.

An installed package adds it for good with one entry point.  The score then appears in the window,
on the command line, in the calibration and in the evaluation:

    [project.entry-points."owlabel.scores"]
    gini = "my_package:GINI"
"""

from __future__ import annotations

import numpy as np

import owlabel_samples
from owlabel import SCORES, Session, open_project
from owlabel.jobs.drain import drain
from owlabel.ood.registry import Score
from owlabel.ood.terms import Terms


def gini(image: Terms) -> np.ndarray:
    """Return 1 - sum p^2 of every pixel, (H, W); higher is stranger."""
    exponentials = np.exp(image.logits - image.logits.max(axis=0))  # (N, H, W)
    return 1 - np.sum((exponentials / exponentials.sum(axis=0)) ** 2, axis=0)


GINI = Score("gini", "Gini impurity", "1 - sum p^2", "0 .. 1 - 1/N", "Breiman et al. 1984", gini)

project = open_project(owlabel_samples.images(), project="street.owlabel")
with Session(project, start_worker=False) as session:
    session.submit_embedding()
    list(drain(project))
    session.poll()
    image = Terms(session.view.embedding(), session.models.header.prototype_length)
    mine, entropy = GINI.function(image), SCORES["entropy"].function(image)
    correlation = np.corrcoef(mine.ravel(), entropy.ravel())[0, 1]
    print(f"{GINI.title}: {mine.min():.3f} .. {mine.max():.3f}")
    print(f"correlation with entropy: {correlation:.3f}")
