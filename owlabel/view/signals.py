"""What a sitting tells who listens.  psygnal: pure Python, no Qt."""

from __future__ import annotations

from psygnal import Signal


class SessionSignals:
    """One signal for each thing that a window shows; arguments are image ids unless said."""

    image_changed = Signal(int)
    labels_changed = Signal(int)
    region_changed = Signal()
    prediction_changed = Signal(int)
    scores_changed = Signal()
    classes_changed = Signal()
    model_changed = Signal()
    queue_changed = Signal()
    tags_changed = Signal(object)
    """Class id to image id to what is said now, of the tags that changed."""
    history_changed = Signal()
    jobs_changed = Signal()
    message = Signal(str, str)
    """Level ("info", "warning" or "error") and text."""
