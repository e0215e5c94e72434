"""What follows in a session from a job that has ended well: see `JobKind.on_done`."""

from __future__ import annotations

from typing import Any

from owlabel.jobs.queue import JobRow


def novel_classes_found(session: Any, _row: JobRow) -> None:
    """Show in how many images each novel class was found."""
    session.shots.read_occurrences()
    session.classes_changed.emit()


def meta_classifier_fitted(session: Any, _row: JobRow) -> None:
    """Rank the queue by the new classifier."""
    session.meta_classifier.use_fitted()


def scores_computed(session: Any, _row: JobRow) -> None:
    """Show scores on the new scale, or with the new residual energy."""
    session.scores.forget()
    session.scores.changed.emit()


def exported(session: Any, row: JobRow) -> None:
    """Report where the export is."""
    result = row.result or {}
    session.message.emit("info", f"Exported {result['images']} images to {result['folder']}")


def images_embedded(session: Any, row: JobRow) -> None:
    """Leave images that turned out unreadable; search the new ones for the novel classes."""
    session.reload_images()
    if row.result is not None and row.result.get("told"):
        session.message.emit(*row.result["told"])
    if session.worker.runs:
        session.search.submit()
        session.meta_classifier.fit_if_outdated()
