"""Export the labels of all images as COCO instances, and count the regions of each class."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import owlabel_samples
from owlabel import Session, open_project
from owlabel.jobs.drain import drain

folder = Path("coco").resolve()
project = open_project(owlabel_samples.images(), project="street.owlabel")
with Session(project, start_worker=False) as session:
    session.submit_embedding()
    session.labels.review()  # freezes the labels of the current image
    list(drain(project))
    session.poll()

    session.export(folder, "coco", which="all", overwrite=True)  # which="reviewed": only these
    list(drain(project))

content = json.loads((folder / "instances.json").read_text())
names = {row["id"]: row["name"] for row in content["categories"]}
regions = Counter(names[row["category_id"]] for row in content["annotations"])
print(f"{len(content['images'])} images in {folder.name}/instances.json")
for name, count in regions.most_common():
    print(f"{count:5} {name}")
