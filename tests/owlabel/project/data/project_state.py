"""What a project says of itself, as plain JSON: the same today and in the version that made it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from typing import Any

from owlabel.jobs.queue import JobQueue
from owlabel.project.store import Project

SETTINGS = (
    "active_model", "lambda_novel", "threshold", "cache_limit_gib", "hide_above", "beta", "gamma",
    "mmsp_norm", "cluster_names",
)  # fmt: skip


def state(project: Project) -> dict[str, Any]:
    """Return classes, images, tags, proposals, history, queue, settings and models."""
    return json.loads(
        json.dumps(
            {
                "name": project.name,
                "images_root": project.images_root.name,
                "focus": project.focus(),
                "classes": [[c.id, c.name, c.color, c.novel] for c in project.classes().classes],
                "images": [_image(project, r) for r in project.images()],
                "tags": project.tags.all(),
                "proposals": _proposals(project),
                "candidates": _candidates(project),
                "events": [
                    [e.seq, e.kind, e.label, e.target, e.payload, len(e.changes)]
                    for e in project.events()
                ],
                "can_undo": project.can_undo,
                "can_redo": project.can_redo,
                "jobs": _jobs(project),
                "settings": {key: project.setting(key) for key in SETTINGS},
                "models": [
                    [m.id, m.name, m.kind, m.parent_id, m.path.name, m.hash, dict(m.metrics)]
                    for m in project.models()
                ],
            }
        )
    )


def walk(project: Project) -> list[dict[str, Any]]:
    """Undo everything, then redo everything; return what the project says after each step."""
    steps = []
    for turn in (project.undo, project.redo):
        while (event := turn()) is not None:
            now = state(project)
            shown = {k: now[k] for k in ("classes", "images", "tags", "proposals", "settings")}
            text = json.dumps(shown, sort_keys=True).encode()
            digest = hashlib.sha256(text).hexdigest()
            steps.append({"kind": event.kind, "label": event.label, "sha256": digest})
    return steps


def _image(project: Project, record: Any) -> dict[str, Any]:
    reviewed = project.reviewed(record.id)
    return {
        "relative": record.relative,
        "state": record.state,
        "shape": record.shape,
        "content": record.content_hash,
        "human": _digest(project.human_labels(record.id)),
        "reviewed": None if reviewed is None else [_digest(part) for part in reviewed],
    }


def _proposals(project: Project) -> list[Any]:
    proposals = []
    for number in range(1, 100):
        try:
            p = project.proposals.get(number)
        except ValueError:
            continue
        mask = _digest(project.proposals.mask(number))
        words = [p.id, p.image_id, p.class_id, p.source, p.origin, p.confidence, p.state]
        proposals.append([*words, mask])
    return proposals


def _candidates(project: Project) -> list[Any]:
    """Read the table itself: the method that ranks candidates has another name today."""
    path = f"file:{project.folder / 'project.db'}?mode=ro"
    with closing(sqlite3.connect(path, uri=True)) as connection:
        query = "select id, image_id, head_hash, peak, area, round(score, 6), claimed_by"
        return connection.execute(f"{query} from candidate order by id").fetchall()


def _jobs(project: Project) -> list[Any]:
    return [
        [j.id, j.kind, j.state, j.priority, j.payload, j.done, j.total, j.message, j.error,
         j.attempts, j.result]
        for j in JobQueue(project).recent()
    ]  # fmt: skip


def _digest(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]
