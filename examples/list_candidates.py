"""Open the sample street scenes as a project, embed them, and list the best candidates."""

from __future__ import annotations

import owlabel_samples
from owlabel import Session, open_project
from owlabel.jobs.drain import drain

project = open_project(owlabel_samples.images(), project="street.owlabel")
with Session(project, start_worker=False) as session:
    session.submit_embedding()
    for job in drain(project):  # a worker process runs all queued jobs
        print(f"{job.kind}: {job.done} of {job.total}", end="\r")
    session.poll()  # take over what the worker has done

    print(f"{len(session.records)} images, {len(session.queue.items())} open candidates")
    for item in session.queue.items(limit=10):
        row, col = item.peak
        print(f"{item.record.relative}  row {row:3}  column {col:3}  score {item.score:.2f}")
