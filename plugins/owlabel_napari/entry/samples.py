"""The sample street scenes, opened as a project."""

from __future__ import annotations

from owlabel_napari.entry import windows

URI = "owlabel://samples/street_scenes.owlabel"
"""What File > Open Sample gives our reader; the same stands in napari.yaml."""


def street_scenes() -> None:
    """Open the sample project in the panel; the panel makes the layers."""
    windows.current_panel().open_sample()
