"""Save every score of one image as a grey PNG: black is the lowest value, white the highest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import owlabel_samples
from owlabel import SCORES, Session, open_project
from owlabel.jobs.drain import drain
from owlabel.ood.registry import all_scores

folder = Path("scores")
folder.mkdir(exist_ok=True)
project = open_project(owlabel_samples.images(), project="street.owlabel")
with Session(project, start_worker=False) as session:
    session.submit_embedding()
    list(drain(project))
    session.poll()

    print(session.record().relative)
    embedding = session.view.embedding()  # (N, h, w), one channel for each known class
    maps = all_scores(embedding, session.models.header.prototype_length)  # (h, w) each
    for name, values in maps.items():
        low, high = values.min(), values.max()
        grey = 255 * (values - low) / max(high - low, 1e-6)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{name}.png")
        print(f"{name:16} {low:8.3f} .. {high:8.3f}  {SCORES[name].formula}")
