"""Click an unknown object, name it, and search for it in all images (NPM).

The true labels of the sample play the annotator: they give the object's name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import owlabel_samples
from owlabel import Session, open_project
from owlabel.jobs.drain import drain

NOVEL = {row["id"]: row["name"] for row in owlabel_samples.classes() if row["novel"]}

project = open_project(owlabel_samples.images(), project="street.owlabel")
with Session(project, start_worker=False) as session:
    session.submit_embedding()
    list(drain(project))  # a worker process runs all queued jobs
    session.poll()

    for item in session.queue.items():
        name = f"{Path(item.record.relative).stem}.png"
        truth = np.asarray(Image.open(owlabel_samples.labels() / name))
        if int(truth[item.peak]) in NOVEL:  # the candidate is an object that the model never saw
            session.queue.select(item.key)
            session.labels.click(*item.peak)
            named = session.labels.accept(NOVEL[int(truth[item.peak])])
            break
    labels, source = session.labels.of()  # two uint8 arrays of the image's height and width
    print(f"{named.name}: {np.sum(labels == named.id)} pixels in {session.record().relative}")

    session.search.submit()
    list(drain(project))
    session.poll()
    print(f"found in {session.shots.occurrences[named.id]} of {len(session.records)} images")
