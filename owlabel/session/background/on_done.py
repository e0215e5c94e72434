"""What a session does after a job has finished, see `JobKind.on_done`."""

from __future__ import annotations

from typing import Any

from owlabel.jobs.queue import JobRow


def novel_classes_found(session: Any, _row: JobRow) -> None:
    """Show the number of images in which each novel class was found."""
    session.shots.read_occurrences()
    session.classes_changed.emit()


def meta_classifier_fitted(session: Any, _row: JobRow) -> None:
    """Rank the queue with the new classifier."""
    session.meta_classifier.use_fitted()


def scores_computed(session: Any, _row: JobRow) -> None:
    """Show the scores on the new scale, or with the new residual energy."""
    session.scores.forget()
    session.scores.changed.emit()


def exported(session: Any, row: JobRow) -> None:
    """Report the folder of the export."""
    result = row.result or {}
    session.message.emit("info", f"Exported {result['images']} images to {result['folder']}")


def images_embedded(session: Any, row: JobRow) -> None:
    """Drop images that turned out to be unreadable; search new ones for novel classes."""
    session.reload_images()
    if row.result is not None and row.result.get("told"):
        session.message.emit(*row.result["told"])
    if session.worker.runs:
        session.search.submit()
        session.meta_classifier.fit_if_outdated()
