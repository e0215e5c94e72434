"""Opening the window from a command line or from another part of the plugin."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari.viewer

    from owlabel_napari.window.panel import OWLabelPanel

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

DOCK = "OWLabel (OWLabel)"
"""Name of the dock in napari's own menus, so that they show this panel and make no second one."""


def panel_of(viewer: napari.viewer.Viewer) -> OWLabelPanel:
    """Return the panel of a viewer; it is docked if it is not there yet, shown if it is hidden."""
    from owlabel_napari.window.panel import OWLabelPanel

    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, OWLabelPanel):
            widget.bring_up()
            return widget
    panel = OWLabelPanel(viewer)
    viewer.window.add_dock_widget(panel, name=DOCK)
    return panel


def current_panel() -> OWLabelPanel:
    """Return the panel of the current viewer, or of a new one."""
    import napari

    return panel_of(napari.current_viewer() or napari.Viewer())


def choose_folder() -> None:
    """Show the panel and let the annotator choose a folder of images (command palette)."""
    current_panel().choose_folder()


def show_training() -> None:
    """Show the panel with its tab for training."""
    panel = current_panel()
    if panel.workspace is not None:
        panel.workspace.show_training()


def show_gallery() -> None:
    """Show the panel and the gallery in which images are tagged; without a project, what to do."""
    panel = current_panel()
    if panel.workspace is None:
        panel.start.say("Open a project first. Then you can tag its images.")
    else:
        panel.workspace.show_gallery()


def new_window() -> tuple[napari.viewer.Viewer, OWLabelPanel]:
    """Return a new viewer with the panel.

    What is loaded by now stays as long as the window does, so garbage collections leave it out: a
    full one would stop the window for a tenth of a second, again and again.
    """
    import napari

    viewer = napari.Viewer(title="OWLabel")
    panel = panel_of(viewer)
    gc.collect()
    gc.freeze()
    return viewer, panel


def open_window(
    path: str | Path | None, model: str | Path | None = None, project: str | Path | None = None
) -> None:
    """Open the window on a folder of images or a project, and stay until it is closed.

    Parameters
    ----------
    path : path or None
        A folder; None shows the start page.
    model : path, optional
        Checkpoint for a new project; the sample model by default.
    project : path, optional
        Where a new project shall lie; beside the images by default.
    """
    import napari

    panel = new_window()[1]
    if path is not None:
        panel.open(path, model, None if project is None else Path(project))
    napari.run()
