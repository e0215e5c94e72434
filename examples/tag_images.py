"""Tag whole images as holding a class or not, and export the tags as CSV and JSON."""

from __future__ import annotations

from pathlib import Path

import owlabel_samples
from owlabel import Session, open_project

with Session(
    open_project(owlabel_samples.images(), project="street.owlabel"), start_worker=False
) as session:
    deer = session.classes.find("deer") or session.labels.add_class("deer")
    with_deer, without, unknown, *_ = [record.id for record in session.records]

    session.tags.tag([with_deer], deer.id, "present")
    session.tags.tag([without, unknown], deer.id, "absent")
    session.undo()  # one act: takes back both tags
    session.tags.tag([without], deer.id, "absent")

    for name in ("tags.csv", "tags.json"):
        session.tags.export_file(name)
    print(Path("tags.csv").read_text())
    print(f"{deer.name}: {session.project.tags.counts()[deer.id]}")
