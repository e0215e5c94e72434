"""Label a deer, train a head for the class (PLM), and adopt it if it is better."""

from __future__ import annotations

import numpy as np
from PIL import Image

import owlabel_samples
from owlabel import Session, open_project
from owlabel.classes import UNSET
from owlabel.jobs.drain import drain
from owlabel.jobs.requests.plm import PlmRequest

DEER = next(row["id"] for row in owlabel_samples.classes() if row["name"] == "deer")

project = open_project(owlabel_samples.images(), project="street.owlabel")
with Session(project, start_worker=False) as session:
    session.submit_embedding()
    list(drain(project))
    session.poll()

    deer = session.classes.find("deer") or session.labels.add_class("deer")
    for record in session.records:  # paint the first true deer, as an annotator would
        name = record.relative.replace(".jpg", ".png")
        truth = np.asarray(Image.open(owlabel_samples.labels() / name))
        if (truth == DEER).sum() > 500:
            session.go_to(record.id)
            session.labels.paint(np.where(truth == DEER, deer.id, UNSET).astype(np.uint8))
            break

    session.training.plm(PlmRequest(class_name="deer", iterations=100))  # 500 by default
    for job in drain(project):
        print(f"{job.kind}: {job.done} of {job.total}", end="\r")
    session.poll()
    result = session.training.result("plm")
    before, after = (result.comparison[when]["deer"] for when in ("before", "after"))
    print(f"IoU of deer on labelled pixels: {before:.2f} before, {after:.2f} after")
    settle = session.models.adopt if after > before else session.models.discard
    settle(result.model_id)
    print("in use:", session.models.active.name)
